"""Every file that a scan is read from, so that none of them is written over."""

from __future__ import annotations

from collections.abc import Iterable
from os import PathLike
from pathlib import Path
from typing import Any

from ptycho_config import PartsConfig
from ptycho_torch.data.paths import inside_of
from ptycho_torch.data.recognition import recognised
from ptycho_torch.data.scan.contract import Scan
from ptycho_torch.errors import ConfigError, DataError

__all__ = ["files_read"]


def files_read(
    scans: Iterable[Any], reader: str | PathLike[str] | None = None, parts: PartsConfig | None = None
) -> tuple[Path, ...]:
    """Files and folders that scans are read from: those that were named, and those that these lead to.

    A pair, a text that names frames and positions, links out of an HDF5 file and virtual datasets lead to
    further files. What cannot be read is left to whoever reads it.

    Parameters
    ----------
    scans
        Paths, and scans in memory, which may have their frames in a file.
    reader
        Python file with a format of the caller's own.
    parts
        What is stated of the scans, which may lie in files of its own.
    """
    beside = (*(() if reader is None else (reader,)), *(() if parts is None else parts.files))
    found: dict[Path, None] = dict.fromkeys(inside_of(path)[0] for path in beside)
    for scan in scans:
        source = scan.source if isinstance(scan, Scan) else scan
        if isinstance(source, str | PathLike):
            found.update(dict.fromkeys((inside_of(source)[0], *_behind(source, reader, parts))))
    return tuple(found)


def _behind(
    source: str | PathLike[str], reader: str | PathLike[str] | None, parts: PartsConfig | None
) -> tuple[Path, ...]:
    from ptycho_torch.data.hdf5.links import linked_files

    try:
        files = recognised(source, reader, parts=parts)[1].files
    except (DataError, ConfigError, OSError):
        return ()
    return (*files, *(linked for file in files for linked in linked_files(file)))
