"""Write scans in any format that can be written, and convert between formats."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

from ptycho_config import OrientationConfig, PartsConfig
from ptycho_torch.control import Progress, stage_of
from ptycho_torch.data.format_module import Format
from ptycho_torch.data.format_registry import format_for_target, format_named
from ptycho_torch.data.inputs import files_read
from ptycho_torch.data.recognition import recognised
from ptycho_torch.data.scan.contract import Scan
from ptycho_torch.errors import ConfigError
from ptycho_torch.outputs import output_problems

__all__ = ["convert", "target_format", "write_scan"]

logger = logging.getLogger(__name__)


def target_format(
    target: str | PathLike[str],
    format: str | None = None,
    *,
    overwrite: bool = False,
    reader: str | PathLike[str] | None = None,
    inputs: Iterable[str | PathLike[str]] = (),
) -> Format:
    """Format that a scan is to be written in, once nothing stands in its way; nothing is written.

    Parameters
    ----------
    target
        File, or the folder of a format that has several files.
    format
        Name of a format; from the name of ``target`` when left out.
    overwrite
        Whether files may be there.
    reader
        Python file with a format of the caller's own.
    inputs
        Files that are read in the same call.

    Raises
    ------
    FileExistsError
        A file is there and ``overwrite`` is not set.
    FileNotFoundError
        There is no directory to write to.
    IsADirectoryError
        A directory is where a file is to go.
    DataError
        The name of the target means no format.
    ConfigError
        No format has that name, the reader is none, or the target is an input or a file of another kind.
    """
    found = format_for_target(target, reader) if format is None else format_named(format, reader)
    for path in found.files_of(target):
        if path.is_dir():
            raise IsADirectoryError(f"{path}: this is a directory; give the name of a file")
    parent = Path(target).parent
    if not parent.is_dir():
        raise FileNotFoundError(f"{parent}: no such directory; create it, or give another target")
    read = [*inputs, *([] if reader is None else [reader])]
    problems = [item for path in found.files_of(target) for item in output_problems("target", path, read)]
    if problems:
        raise ConfigError(problems)
    there = [path for path in found.files_of(target) if path.exists()]
    if there and not overwrite:
        raise FileExistsError(f"{there[0]}: exists already; give another target or ask to overwrite")
    return found


def write_scan(
    target: str | PathLike[str],
    scan: Scan,
    *,
    format: str | None = None,
    overwrite: bool = False,
    reader: str | PathLike[str] | None = None,
    progress: Progress | None = None,
) -> str:
    """Write a scan in any format that can be written; complete or not at all.

    Parameters
    ----------
    target, format, overwrite, reader
        As for `target_format`.
    scan
        The scan. Formats in metres need its geometry in the metadata.
    progress
        Called with frames written and frames in all.

    Returns
    -------
    str
        Name of the format.

    Raises
    ------
    MissingMetadata
        The format needs metadata that the scan does not have; a `DataError`.

    Notes
    -----
    Everything that `target_format` raises comes from here too.
    """
    found = target_format(target, format, overwrite=overwrite, reader=reader)
    found.write(target, scan, progress=progress)
    return found.name


def convert(
    source: str | PathLike[str],
    target: str | PathLike[str],
    format: str | None = None,
    *,
    measurement_domain: str = "auto",
    N: int | None = None,
    metadata: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
    reader: str | PathLike[str] | None = None,
    orientation: OrientationConfig | None = None,
    parts: PartsConfig | None = None,
) -> Path:
    """Write the scan at ``source`` in another format, in counts.

    A format keeps everything that a scan holds: converting back gives the same arrays and metadata. Metadata
    that PtychoPINN pickled are read here, and nowhere else; they are written as text.

    Parameters
    ----------
    source
        Anything that `ptycho_torch.data.opening.open_scan` opens.
    target
        File, or for ``"ptychodus"`` the directory that gets ``diffraction.h5`` and ``product.h5``.
    format
        Name of a format that can be written; from the name of ``target`` when left out.
    measurement_domain, N
        As for `open_scan`.
    metadata
        Entries to add or replace: formats in metres need ``photon_energy_eV``,
        ``detector_object_distance_m``, ``detector_pixel_width_m`` and ``detector_pixel_height_m``.
    overwrite
        Replace what is there.
    progress
        Called with frames written and frames in all; reading is a stage of its own.
    reader
        Python file with a format of the caller's own, to read or to write.
    orientation
        How frames and positions are turned and scaled; the target holds them so.
    parts
        What the source lacks, or states wrong; the target holds it.

    Returns
    -------
    Path
        The target.

    Raises
    ------
    FileNotFoundError
        There is no ``source``, or no directory to write to.
    FileExistsError
        The target exists and ``overwrite`` is not set.
    DataError
        The source is refused, or metadata are missing; nothing is written.
    ConfigError
        No format has that name, the reader is none, or the target is the source or a file of another kind.
    """
    destination = Path(target)
    kind = target_format(destination, format, overwrite=True, reader=reader)
    origin, located = recognised(source, reader, parts=parts)
    read = files_read((source,), reader, parts)
    target_format(destination, kind.name, overwrite=overwrite, reader=reader, inputs=read)
    reading = stage_of(progress, "reading", "frame")
    scan = origin.read(
        located,
        measurement_domain=measurement_domain,
        N=N,
        progress=reading,
        orientation=orientation,
        to_convert=True,
    )
    if metadata:
        scan = replace(scan, metadata={**scan.metadata, **metadata})
    write_scan(destination, scan, format=kind.name, overwrite=overwrite, reader=reader, progress=progress)
    logger.info("%s: %d frames written as %s", destination, scan.n_frames, kind.name)
    return destination
