"""Convert scans between NPZ, the files of ptychodus and CXI."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any, get_args

from ptycho_torch.control import Progress, stage_of
from ptycho_torch.data.formats.npz import save_scan
from ptycho_torch.data.opening import ScanFormat, locate_scan, open_scan
from ptycho_torch.errors import DataError

__all__ = ["FORMATS", "convert", "format_from_name"]

logger = logging.getLogger(__name__)

FORMATS: tuple[ScanFormat, ...] = get_args(ScanFormat)

_SUFFIXES: dict[str, ScanFormat] = {
    ".npz": "npz",
    ".cxi": "cxi",
    ".h5": "ptychodus-training",
    ".hdf5": "ptychodus-training",
    "": "ptychodus",
}


def format_from_name(target: str | PathLike[str]) -> ScanFormat:
    """Format that the name of a target means: a name without a suffix is the directory of a pair.

    Raises
    ------
    DataError
        The suffix means none.
    """
    suffix = Path(target).suffix.lower()
    if suffix not in _SUFFIXES:
        raise DataError(
            f"the suffix {suffix!r} stands for no format; end the name with .npz, .cxi or .h5 (training "
            "file), leave it away (directory with diffraction.h5 and product.h5), or state the format",
            target,
        )
    return _SUFFIXES[suffix]


def convert(
    source: str | PathLike[str],
    target: str | PathLike[str],
    format: ScanFormat | None = None,
    *,
    measurement_domain: str = "auto",
    N: int | None = None,
    metadata: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Write the scan at ``source`` again in another format; frames pass through in pieces.

    The target holds counts, and everything a scan has: converting back gives the same arrays and metadata.

    Parameters
    ----------
    source
        Anything that `ptycho_torch.data.opening.open_scan` opens.
    target
        File, or for ``"ptychodus"`` the directory that gets ``diffraction.h5`` and ``product.h5``.
    format
        One of `FORMATS`; from the name of ``target`` when left out.
    measurement_domain, N
        As for `open_scan`.
    metadata
        Entries to add or replace: formats in metres need ``photon_energy_eV``,
        ``detector_object_distance_m``, ``detector_pixel_width_m`` and ``detector_pixel_height_m``.
    overwrite
        Replace what is there.
    progress
        Called with frames written and frames in all; reading is a stage of its own.

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
        The source is refused, the target is the source, or metadata are missing; nothing is written.
    """
    kind = format_from_name(target) if format is None else format
    if kind not in FORMATS:
        raise DataError(f"format: expected one of {', '.join(FORMATS)}, got {kind!r}", target)
    destination = Path(target)
    located = locate_scan(source)
    written = _files(destination, kind)
    used = {path.resolve() for path in (located.frames, located.product) if path is not None}
    if used & {path.resolve() for path in written}:
        raise DataError("source and target are the same file; give another target", destination)
    there = [path for path in written if path.exists()]
    if there and not overwrite:
        raise FileExistsError(f"{there[0]}: exists already; give another target or ask to overwrite")
    reading = stage_of(progress, "reading", "frame")
    scan = open_scan(source, measurement_domain=measurement_domain, N=N, progress=reading)
    if metadata:
        scan = replace(scan, metadata={**scan.metadata, **metadata})
    _write(destination, scan, kind, progress)
    logger.info("%s: %d frames written as %s", destination, scan.n_frames, kind)
    return destination


def _files(target: Path, kind: ScanFormat) -> list[Path]:
    return [target / "diffraction.h5", target / "product.h5"] if kind == "ptychodus" else [target]


def _write(target: Path, scan: Any, kind: ScanFormat, progress: Progress | None) -> None:
    if kind == "npz":
        save_scan(target, scan, progress=progress)
        return
    if kind == "cxi":
        from ptycho_torch.data.formats.cxi import write_cxi

        write_cxi(target, scan, progress=progress)
        return
    from ptycho_torch.data.formats.ptychodus_files import write_pair, write_training
    from ptycho_torch.data.scan.geometry import ScanGeometry

    if kind == "ptychodus-training":
        write_training(target, scan, progress=progress)
        return
    ScanGeometry.from_entries(scan.metadata, scan.N)
    target.mkdir(exist_ok=True)
    write_pair(target, scan, progress=progress)
