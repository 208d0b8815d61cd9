"""Formats of scan files: found by walking a folder, by entry points, and in a file of the user's own.

A format is a module. Its facts are plain literals at the top of its source, so they can be read without
running it and without loading NumPy or HDF5, as the help texts of a command line need:

``NAME``
    Short name, lower case.
``HELP``
    One line that says what the files are.
``SUFFIXES``
    Endings of the names of its files.
``TARGETS`` (optional)
    Endings of the name of a file to write that mean this format; an empty ending is a folder.
``REFINES`` (optional)
    Name of the more general format that this one is a special case of. It is asked first, and wins.
``TAKES_PARTS`` (optional)
    True where positions, probe and optics may be stated beside the files: `Located.parts` outranks them.
``NEAR_FIELD`` (optional)
    True where the files say whether the detector is in the near field, so that such scans can be written.

Its functions are described in `ptycho_torch.data.format_module.FormatModule`.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from os import PathLike
from pathlib import Path
from typing import Any

from ptycho_config.errors import ConfigError, Problem, suggest
from ptycho_torch.data.format_facts import REQUIRED, endings, stated_facts
from ptycho_torch.data.format_module import Format
from ptycho_torch.errors import DataError

__all__ = [
    "ENTRY_POINT_GROUP",
    "built_in_formats",
    "format_for_target",
    "format_named",
    "format_of",
    "formats",
    "markdown_table",
    "writable_formats",
]

logger = logging.getLogger(__name__)

ENTRY_POINT_GROUP = "ptycho_torch.formats"
"""Entry points of other distributions: name of the format to the module that holds it."""

_FOLDER = Path(__file__).with_name("formats")
_PACKAGE = "ptycho_torch.data.formats"


def _format_of(source: str, **rest: Any) -> Format:
    facts = stated_facts(source)
    return Format(
        name=str(facts["NAME"]),
        help=str(facts["HELP"]),
        suffixes=endings(facts["SUFFIXES"], "SUFFIXES"),
        targets=endings(facts.get("TARGETS", ()), "TARGETS"),
        refines=facts.get("REFINES"),
        is_writable="write" in facts["functions"],
        takes_parts=bool(facts.get("TAKES_PARTS", False)),
        knows_near_field=bool(facts.get("NEAR_FIELD", False)),
        **rest,
    )


@lru_cache(maxsize=1)
def built_in_formats() -> tuple[Format, ...]:
    """Formats of this package, one per file of its folder, by name."""
    found = [
        _format_of(path.read_text(encoding="utf-8"), origin="built in", module=f"{_PACKAGE}.{path.stem}")
        for path in _FOLDER.glob("*.py")
        if not path.stem.startswith("_")
    ]
    return tuple(sorted(found, key=lambda format: format.name))


def _installed_format(entry: EntryPoint) -> Format:
    """Format of another distribution; what is wrong with it is kept as its problem."""
    origin = f"entry point {entry.name} = {entry.value}"
    module = entry.value.partition(":")[0].strip()
    try:
        spec = find_spec(module)
        if spec is None or spec.origin is None:
            raise ImportError(f"no module {module}")
        source = Path(spec.origin).read_text(encoding="utf-8")
        return _format_of(source, origin=origin, module=module)
    except (ImportError, OSError, ValueError) as error:
        return Format(name=entry.name, origin=origin, problem=f"cannot be used ({origin}): {error}")


@lru_cache(maxsize=4)
def _installed_formats(search_path: tuple[str, ...]) -> tuple[Format, ...]:
    """Formats of other distributions; looked up once for each search path, because that takes a while."""
    taken = {format.name for format in built_in_formats()}
    found: dict[str, Format] = {}
    for entry in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda entry: (entry.name, entry.value)):
        format = _installed_format(entry)
        if format.name in taken | set(found):
            problem = f"cannot be used ({format.origin}): the name {format.name} is taken"
            format = Format(name=f"{format.name} of {entry.value}", origin=format.origin, problem=problem)
        if format.problem:
            logger.warning("format %s %s", format.name, format.problem)
        found[format.name] = format
    return tuple(found.values())


def _reader_format(path: Path) -> Format:
    """Format in a file of the user's own.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ConfigError
        It does not state the facts of a format.
    """
    if not path.is_file():
        raise FileNotFoundError(f"reader: {path}: no such file; give a Python file with a format")
    try:
        source = path.read_text(encoding="utf-8")
        return _format_of(source, origin=str(path), module=path.resolve(), is_stated=True)
    except ValueError as error:
        expected = f"a Python file that states {', '.join(REQUIRED)} as plain text"
        raise ConfigError(Problem("reader", str(path), expected, str(error))) from error


def formats(reader: str | PathLike[str] | None = None) -> tuple[Format, ...]:
    """Every format, in the order in which they are asked: the user's own, then special before general.

    Parameters
    ----------
    reader
        Python file with a format of the user's own.

    Raises
    ------
    FileNotFoundError
        There is no such reader.
    ConfigError
        The reader states no format, or one whose name is taken.
    """
    found = [*built_in_formats(), *_installed_formats(tuple(sys.path))]
    if reader is not None:
        own = _reader_format(Path(reader))
        if own.name in {format.name for format in found}:
            raise ConfigError(
                Problem("reader", str(reader), "a format with a NAME of its own", f"{own.name} is taken")
            )
        found.insert(0, own)
    return _ordered(found)


def _ordered(found: Iterable[Format]) -> tuple[Format, ...]:
    """Formats with their lineage, special ones before the more general ones."""
    parents: Mapping[str, str | None] = {format.name: format.refines for format in found}
    known = []
    for format in found:
        lineage: list[str] = []
        parent = format.refines
        while parent is not None and parent not in lineage:
            lineage.append(parent)
            parent = parents.get(parent)
        known.append(replace(format, lineage=tuple(lineage)))
    return tuple(sorted(known, key=lambda format: (not format.is_stated, -len(format.lineage))))


def writable_formats(reader: str | PathLike[str] | None = None) -> tuple[Format, ...]:
    """Formats that scans can be written in, by name; raises as `formats`."""
    usable = [format for format in formats(reader) if format.is_writable and not format.problem]
    return tuple(sorted(usable, key=lambda format: format.name))


def format_of(name: str) -> Format:
    """The format of this package that has this name."""
    return next(format for format in built_in_formats() if format.name == name)


def format_named(name: str, reader: str | PathLike[str] | None = None, *, called: str = "format") -> Format:
    """The writable format of that name.

    Parameters
    ----------
    name, reader
        Name of the format, and as for `formats`.
    called
        Argument or flag that states the name, for the message.

    Raises
    ------
    ConfigError
        There is none.
    """
    known = {format.name: format for format in writable_formats(reader)}
    if name not in known:
        hint = suggest(name, list(known)) or ""
        raise ConfigError(Problem(called, name, f"one of {', '.join(known)}", hint))
    return known[name]


def format_for_target(target: str | PathLike[str], reader: str | PathLike[str] | None = None) -> Format:
    """The format that the name of a target means.

    Raises
    ------
    DataError
        Its ending means none, or several.
    """
    suffix = Path(target).suffix.lower()
    meant = [format for format in writable_formats(reader) if suffix in format.targets]
    # What the user names outranks what is there anyway.
    meant = [format for format in meant if format.is_stated] or meant
    if len(meant) == 1:
        return meant[0]
    if meant:
        names = ", ".join(format.name for format in meant)
        raise DataError(f"the suffix {suffix!r} stands for {names}; state the format", target)
    listed = ", ".join(
        f"{ending or 'no suffix'} ({format.name})"
        for format in writable_formats(reader)
        for ending in format.targets
    )
    raise DataError(
        f"the suffix {suffix!r} stands for no format, expected {listed}; state the format", target
    )


def markdown_table(found: Iterable[Format] | None = None) -> str:
    """Table of formats for a page: name, what the files are, endings, what `convert` writes it to."""
    lines = ["| format | files | endings | written when the target is |", "|---|---|---|---|"]
    for format in built_in_formats() if found is None else found:
        endings = ", ".join(f"`{ending}`" for ending in format.suffixes)
        targets = " or ".join(
            f"`name{ending}`" if ending else "a name without ending" for ending in format.targets
        )
        written = targets or (f"asked for with `--format {format.name}`" if format.is_writable else "never")
        lines.append(f"| [{format.name}](#{format.name}) | {format.help} | {endings} | {written} |")
    return "\n".join(lines) + "\n"
