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

Its functions are described in `FormatModule`.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import logging
import sys
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from ptycho_config import OrientationConfig
from ptycho_config.errors import ConfigError, Problem, suggest
from ptycho_torch.data.format_facts import REQUIRED, endings, stated_facts
from ptycho_torch.errors import DataError

if TYPE_CHECKING:
    from ptycho_torch.control import Progress
    from ptycho_torch.data.recognition import Candidate
    from ptycho_torch.data.scan.contract import Scan
    from ptycho_torch.data.scan.header import Located, ScanHeader

__all__ = [
    "ENTRY_POINT_GROUP",
    "Format",
    "FormatModule",
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
_FUNCTIONS = ("recognise", "header", "read", "make_example")


class FormatModule(Protocol):
    """What a module of a format holds beside its facts.

    Optional: ``write(path, scan, *, progress)``, which writes what `read` gives back exactly, complete or not
    at all; ``files_of(path)``, the files that this writes, where they are not just ``path``; and
    ``read_to_convert``, as ``read``, for files that `read` refuses for a reason that a conversion mends.
    """

    def recognise(self, candidate: Candidate) -> Located | str:
        """Where the scan is, or the reason why this is none of this format. Decides by content."""

    def header(self, located: Located) -> ScanHeader:
        """Sizes and metadata; reads no frames. Counts the frames that `read` gives out."""

    def read(
        self, located: Located, *, measurement_domain: str, N: int | None, progress: Progress | None
    ) -> Scan:
        """The scan, checked against the data contract.

        Takes ``clean`` too where it lets its caller choose what is masked and left out: the names of
        `ptycho_torch.diagnosis.table.CLEANING` to apply, for ``assemble_scan``. Takes ``position_scale``
        where its positions are scaled before they are checked, for ``assemble_scan`` too.
        """

    def make_example(self, path: Path) -> None:
        """Write `ptycho_torch.data.scan.example.example_scan` at ``path``, as other programs would."""


@dataclass(frozen=True, kw_only=True)
class Format:
    """Facts of one format, and its module, which is loaded when a function is called.

    Attributes
    ----------
    name, help, suffixes, targets, refines
        As the module states them.
    is_writable
        Whether scans can be written in it.
    takes_parts
        Whether positions, probe and optics may be stated beside its files.
    is_stated
        Whether it is in a file that the user named, so that it is asked first and its word is final.
    lineage
        Names of the more general formats, the nearest first.
    origin
        Where it comes from, for a message.
    module
        Name of the module, or the file that holds it.
    problem
        Why it cannot be used; empty when it can.
    """

    name: str
    help: str = ""
    suffixes: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    refines: str | None = None
    is_writable: bool = False
    takes_parts: bool = False
    is_stated: bool = False
    lineage: tuple[str, ...] = ()
    origin: str = ""
    module: str | Path = field(default="", repr=False)
    problem: str = ""

    def load(self) -> FormatModule:
        """The module.

        Raises
        ------
        ImportError
            It, or something that it needs, cannot be imported.
        ConfigError
            It is a file of the user's own that lacks a function.
        """
        module = _run_file(self.module) if isinstance(self.module, Path) else _imported(self.module)
        missing = [name for name in _FUNCTIONS[:3] if not callable(getattr(module, name, None))]
        if missing:
            raise ConfigError(
                Problem(
                    "reader" if self.is_stated else self.name,
                    str(self.module),
                    f"functions {', '.join(_FUNCTIONS[:3])}",
                    f"{', '.join(missing)} is missing",
                )
            )
        return cast(FormatModule, module)

    def recognise(self, candidate: Candidate) -> Located | str:
        """As `FormatModule.recognise`; a format of another distribution that cannot be loaded says why."""
        if self.problem:
            return self.problem
        if self.is_stated:
            return self.load().recognise(candidate)
        try:
            module = self.load()
        except (ImportError, ConfigError) as error:
            return f"cannot be loaded ({self.origin}): {error}"
        return module.recognise(candidate)

    def header(self, located: Located) -> ScanHeader:
        """As `FormatModule.header`."""
        return self.load().header(located)

    def read(
        self,
        located: Located,
        *,
        measurement_domain: str = "auto",
        N: int | None = None,
        progress: Progress | None = None,
        clean: Collection[str] | None = None,
        orientation: OrientationConfig | None = None,
        to_convert: bool = False,
    ) -> Scan:
        """As `FormatModule.read` or its ``read_to_convert``, cleaned and turned as stated, or refused."""
        # Formats are listed by commands that answer without NumPy.
        from ptycho_torch.data.scan.orientation import oriented

        module: Any = self.load()
        read = getattr(module, "read_to_convert", module.read) if to_convert else module.read
        wanted: dict[str, Any] = {"measurement_domain": measurement_domain, "N": N, "progress": progress}
        takes = inspect.signature(read).parameters
        takes_all = any(one.kind is one.VAR_KEYWORD for one in takes.values())
        if clean is not None:
            if "clean" not in takes and not takes_all:
                expected = f"nothing stated: the format {self.name} always cleans"
                raise ConfigError(Problem("clean", ",".join(clean) or "off", expected))
            wanted["clean"] = clean
        scales = orientation is not None and (takes_all or "position_scale" in takes)
        if orientation is not None and scales:
            wanted["position_scale"] = orientation.position_scale
        return oriented(read(located, **wanted), orientation, is_scaled=scales)

    def write(self, path: str | PathLike[str], scan: Scan, *, progress: Progress | None = None) -> None:
        """Write a scan; complete or not at all.

        Raises
        ------
        DataError
            The scan lacks what the format needs, as its geometry for positions in metres.
        """
        module: Any = self.load()
        module.write(Path(path), scan, progress=progress)

    def files_of(self, path: str | PathLike[str]) -> tuple[Path, ...]:
        """Files that `write` makes."""
        found = getattr(self.load(), "files_of", None)
        return (Path(path),) if found is None else tuple(found(Path(path)))


def _imported(name: str) -> Any:
    return importlib.import_module(name)


@lru_cache(maxsize=8)
def _module_of(path: Path, changed_ns: int) -> Any:
    spec = importlib.util.spec_from_file_location(f"ptycho_torch_reader_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _run_file(path: Path) -> Any:
    """Module of a file of the user's own, run again only when it changed."""
    return _module_of(path, path.stat().st_mtime_ns)


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
        spec = importlib.util.find_spec(module)
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
        f"the suffix {suffix!r} stands for no format; expected {listed}, or state the format", target
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
