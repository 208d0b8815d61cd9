"""Recognise the format of a scan by its content: every format is asked, and each says why not."""

from __future__ import annotations

import logging
import zipfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from functools import cached_property
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ptycho_config import ConfigError, PartsConfig, Problem
from ptycho_torch.data.format_module import Format
from ptycho_torch.data.format_registry import format_of, formats
from ptycho_torch.data.naming import named
from ptycho_torch.data.paths import inside_of, permitted
from ptycho_torch.data.scan.header import Located
from ptycho_torch.errors import DataError, fault

if TYPE_CHECKING:
    import h5py

__all__ = ["Candidate", "recognised", "scan_files"]

logger = logging.getLogger(__name__)

_ALONE = "parts"
"""Name of the format that frames alone are, where their positions are stated."""

_START_BYTES = 512
_SHOWN = 20
_NOT_HDF5 = "the content is not HDF5"
_IS_FOLDER = "this is a directory, not a file"
_IS_FILE = "this is a file, not a directory"


class Candidate:
    """A path that may be a scan, opened once for all formats that look at it.

    Used as a context manager, which closes what was opened.

    Parameters
    ----------
    path
        File or directory that exists, or a group in a file, ``scan.cxi:/entry_2``.

    Attributes
    ----------
    path
        The file or directory.
    inside
        What is meant in the file; empty when the path says nothing about it.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        self.path, self.inside = inside_of(path)
        self._stack = ExitStack()

    def __enter__(self) -> Candidate:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return self._stack.__exit__(kind, error, trace)

    @cached_property
    def is_folder(self) -> bool:
        """Whether the path is a directory."""
        return self.path.is_dir()

    @cached_property
    def start(self) -> bytes:
        """First bytes of the file, at most 512; empty for a directory."""
        if self.is_folder:
            return b""
        with permitted(self.path), self.path.open("rb") as stream:
            return stream.read(_START_BYTES)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names in the directory, sorted; empty for a file."""
        if not self.is_folder:
            return ()
        with permitted(self.path):
            return tuple(sorted(entry.name for entry in self.path.iterdir()))

    @cached_property
    def hdf5(self) -> h5py.File | None:
        """The open HDF5 file, None when this is none.

        Raises
        ------
        DataError
            It is HDF5, but truncated, damaged or in use by a writer.
        """
        if self.is_folder:
            return None
        from ptycho_torch.data.hdf5.files import is_hdf5, opened

        # The signature may lie behind a block of another program.
        if not (self.start.startswith(b"\x89HDF") or is_hdf5(self.path)):
            return None
        return self._stack.enter_context(opened(self.path))

    def hdf5_names(self, group: str = "/") -> frozenset[str]:
        """Names in a group of the HDF5 file; empty when there is no such group, or no such file."""
        try:
            item: Any = None if self.hdf5 is None else self.hdf5.get(group)
        except (KeyError, OSError):  # a link that leads out of the file to nowhere
            item = None
        if not hasattr(item, "keys"):
            return frozenset()
        # A name that is no UTF-8, as in a damaged file, comes as bytes.
        return frozenset(n.decode(errors="replace") if isinstance(n, bytes) else n for n in item)

    def holds(self, name: str) -> bool:
        """Whether the HDF5 file has something of that name, be it a link that leads nowhere."""
        group, _, last = name.rpartition("/")
        return last in self.hdf5_names(group or "/")

    def npz_names(self) -> frozenset[str]:
        """Names of the arrays of an NPZ archive; empty when this is none, or a damaged one."""
        try:
            with zipfile.ZipFile(self.path) as archive:
                return frozenset(name.removesuffix(".npy") for name in archive.namelist())
        except (zipfile.BadZipFile, OSError):
            return frozenset()

    def why_not_hdf5(self) -> str | None:
        """Reason for a format in HDF5 not to look further; None when the file is HDF5."""
        if self.is_folder:
            return _IS_FOLDER
        return _NOT_HDF5 if self.hdf5 is None else None

    def half_pair(self, first: str, second: str) -> str:
        """Reason for a format of two files in one folder, of which one or both are missing."""
        if not self.is_folder:
            return _IS_FILE
        present = [name for name in (first, second) if name in self.names]
        if not present:
            return f"neither {first} nor {second} is there"
        missing = second if present[0] == first else first
        return f"{present[0]} is there without {missing}; put both into the directory"


def recognised(
    path: str | PathLike[str],
    reader: str | PathLike[str] | None = None,
    *,
    parts: PartsConfig | None = None,
    metadata: Mapping[str, Any] | None = None,
    plain: bool = False,
) -> tuple[Format, Located]:
    """The format that knows what is at ``path``, and where the scan is.

    Parameters
    ----------
    path
        File or directory of any format.
    reader
        Python file with a format of the caller's own, which is asked first.
    parts
        What lies elsewhere. With positions, ``path`` may be frames alone: a dataset in an HDF5 file, a master
        file of a DECTRIS detector, a ``.npy`` or TIFF file, or a folder with a file for each frame.
    metadata
        Entries that outrank those of the files.
    plain
        Frames that no format knows are the scan, whether their positions are stated or not.

    Raises
    ------
    FileNotFoundError
        There is nothing at ``path``, or no such reader.
    DataError
        No format recognises it; ``problems`` holds the reasons of all formats. Or two formats do that have
        nothing to do with each other.
    ConfigError
        The reader is none, or the format takes nothing that is stated beside its files.
    """
    source = inside_of(path)[0]
    if not source.exists():
        raise FileNotFoundError(f"{source}: no such file or directory; give the path of a scan")
    if not (source.is_file() or source.is_dir()):
        # Opening a pipe would wait for somebody who writes.
        raise DataError(
            "a pipe, socket or device, expected a file or a folder; copy its content to a file", source
        )
    with Candidate(path) as candidate:
        if not candidate.is_folder and not candidate.start:
            raise DataError("the file is empty, expected a scan; copy or write it again", source)
        found, reasons = _asked(candidate, reader)
        # A dataset that is named in a file is frames, where the format knows nothing inside.
        found = [item for item in found if not candidate.inside or item[1].inside] or found
        meant = not candidate.inside or any(located.inside for _, located in found)
        if (plain or _states_positions(parts)) and not (found and meant):
            located = Located(_ALONE, (candidate.path,), candidate.inside)
            return _stated(format_of(_ALONE), located, parts, metadata)
        if len(found) == 1:
            format, located = found[0]
            if reader is not None and not format.is_stated:
                logger.info("%s: read as %s, not with %s", source, format.name, reader)
            if not meant:
                raise DataError(
                    fault(
                        candidate.inside,
                        f"a file of the format {format.name} holds one scan; give the path of the file",
                    ),
                    source,
                )
            return _stated(format, located, parts, metadata)
        if found:
            raise DataError(_two_formats(candidate, [format.name for format, _ in found]), source)
        head = _head(candidate)
    raise DataError([head, *(fault(", ".join(names), reason) for reason, names in reasons.items())], source)


def _states_positions(parts: PartsConfig | None) -> bool:
    return parts is not None and (parts.positions is not None or parts.raster_step is not None)


def _stated(
    format: Format, located: Located, parts: PartsConfig | None, metadata: Mapping[str, Any] | None
) -> tuple[Format, Located]:
    """The scan with what is stated beside it.

    Raises
    ------
    ConfigError
        The format takes nothing that is stated beside it.
    """
    # Here, because it loads HDF5, which recognising a scan need not.
    from ptycho_torch.data.hdf5.stated import record_of

    stated = record_of(parts)
    if not stated and not metadata:
        return format, located
    if stated and not format.takes_parts:
        name = next(iter(stated))
        expected = f"nothing stated: the format {format.name} gives positions, probe and optics itself"
        raise ConfigError(Problem(name, stated[name], expected))
    return format, replace(located, parts=parts, metadata=dict(metadata or {}))


def _asked(
    candidate: Candidate, reader: str | PathLike[str] | None
) -> tuple[list[tuple[Format, Located]], dict[str, list[str]]]:
    """Formats that recognise the candidate, the most special ones only, and the reasons of the others.

    Returns
    -------
    found, reasons
        Formats with their located scans, and reason to names of the formats that gave it.
    """
    reasons: dict[str, list[str]] = {}
    found: list[tuple[Format, Located]] = []
    for format in formats(reader):
        # Special ones come before the more general ones, which then need not be asked.
        if any(format.name in special.lineage for special, _ in found):
            continue
        answer = format.recognise(candidate)
        if isinstance(answer, str):
            reasons.setdefault(answer, []).append(format.name)
            continue
        logger.debug("%s: %s", candidate.path, format.name)
        found.append((format, answer))
        if format.is_stated:
            break
    return found, reasons


def _two_formats(candidate: Candidate, names: list[str]) -> str:
    what = f"recognised as {' and as '.join(sorted(names))}"
    if candidate.is_folder:
        return f"{what}; give the path of one file of the scan instead of the directory"
    return f"{what}; say which one is meant with a reader of your own"


def _head(candidate: Candidate) -> str:
    """What lies at the path, where no format knows it."""
    known = named(candidate)
    if known is not None:
        return known
    if candidate.is_folder:
        listed = ", ".join(candidate.names[:_SHOWN]) or "nothing"
        return f"no scan in this directory; found: {listed}"
    if candidate.hdf5 is None:
        return "the content is neither NPZ nor HDF5, nor of another format that is known"
    from ptycho_torch.data.hdf5.files import Contents

    return f"no layout that is known; datasets found: {Contents(candidate.hdf5, []).found()}"


def scan_files(
    path: str | PathLike[str],
    *,
    reader: str | PathLike[str] | None = None,
    parts: PartsConfig | None = None,
) -> tuple[Path, ...]:
    """The scans that a path names: itself, or the files of a folder of scans in the order of their names.

    A folder that is a scan, such as that of a pair, is that scan. Otherwise every file directly in it whose
    name ends as those of a format do is one; other files and folders in it are left alone. With positions
    that are stated, a folder is one scan.

    Parameters
    ----------
    path, reader, parts
        As for `recognised`.

    Raises
    ------
    DataError
        The folder is no scan and holds no such file.
    """
    source = Path(path)
    if not source.is_dir() or _states_positions(parts):
        return (source,)
    with Candidate(source) as candidate:
        found, _ = _asked(candidate, reader)
    if not found:
        endings = {suffix for format in formats(reader) for suffix in format.suffixes}
        names = sorted(entry.name for entry in source.iterdir() if entry.suffix.lower() in endings)
        if names:
            return tuple(source / name for name in names)
    recognised(source, reader)
    return (source,)
