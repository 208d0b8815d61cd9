"""One way to open a scan, whatever kind of file it is in; the content decides, not the name."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from os import PathLike
from pathlib import Path

import numpy as np

from ptycho_config import ConfigError, OrientationConfig, PartsConfig, Problem, stated_fields
from ptycho_torch.control import Progress
from ptycho_torch.data.recognition import recognised, scan_files
from ptycho_torch.data.scan.assemble import FRAME_KEYS, metadata_in
from ptycho_torch.data.scan.checks import probe_size_from_shape
from ptycho_torch.data.scan.contract import Scan
from ptycho_torch.data.scan.header import Located, ScanHeader
from ptycho_torch.data.scan.memory import (
    HoldsScan,
    InMemory,
    in_memory,
    name_of,
    named_arrays,
    not_in_memory,
    scan_of,
)
from ptycho_torch.data.scan.orientation import oriented
from ptycho_torch.data.scan.telling import tell
from ptycho_torch.diagnosis.table import CLEANING
from ptycho_torch.errors import DataError, Fault

__all__ = ["Located", "ScanHeader", "open_scan", "read_scan_header", "scan_files"]


def open_scan(
    path: str | PathLike[str] | InMemory | HoldsScan,
    *,
    measurement_domain: str = "auto",
    N: int | None = None,
    progress: Progress | None = None,
    reader: str | PathLike[str] | None = None,
    orientation: OrientationConfig | None = None,
    clean: Collection[str] | None = None,
    parts: PartsConfig | None = None,
) -> Scan:
    """Open one scan, check it against the data contract and give it out in counts.

    Pixels that did not measure are added to its mask, and frames that are none are left out. What was found
    is told, and in ``findings`` of the scan.

    Frames of HDF5 files stay in their file (`ptycho_torch.data.scan.lazy.FrameStack`) and are gone through
    once, in pieces, to be checked; frames of NPZ files are loaded.

    Parameters
    ----------
    path
        As for `recognised`, or a scan in memory, see `ptycho_torch.data.scan.memory`: a `Scan`, arrays by
        name, or an object that has them as attributes.
    measurement_domain
        ``"auto"``, ``"counts"`` or ``"amplitude"``: what the caller states about the frames. Frames of HDF5
        files are counts unless the caller says otherwise.
    N
        Edge of the frames wanted; px. Smaller than the frames: they are cropped around the zero frequency,
        see `ptycho_torch.data.scan.crop`, with a `UserWarning`.
    progress
        Called with frames checked and frames in all.
    reader
        Python file with a format of the caller's own, see `ptycho_torch.data.format_registry`.
    orientation
        How frames and positions are turned and scaled; as they are when left out. Noted in the metadata, see
        `ptycho_torch.data.scan.orientation`.
    clean
        Names of `ptycho_torch.diagnosis.table.CLEANING`: what is masked and left out; all of them by default.
    parts
        What the files lack, or state wrong: positions, probe, mask, optics. See
        `ptycho_torch.data.recognition.recognised`.

    Returns
    -------
    Scan
        Positions are object pixels whatever the file held; energy, distance and pixel sizes are in the
        metadata, see `ptycho_torch.data.scan.geometry`.

    Raises
    ------
    FileNotFoundError
        There is nothing at ``path``.
    DataError
        With every problem found; nothing was written.
    ConfigError
        The reader is none, or parts are stated that the format, or a scan in memory, does not take.

    Warns
    -----
    ScanWarning
        For every finding that spoils a result, or would have.
    """
    source = _path_or_scan(path)
    if isinstance(source, (Scan, Mapping)):
        cleaning = CLEANING if clean is None else clean
        _refuse_parts(parts)
        scale = 1.0 if orientation is None else orientation.position_scale
        scan = scan_of(
            source,
            measurement_domain=measurement_domain,
            N=N,
            progress=progress,
            clean=cleaning,
            position_scale=scale,
        )
        scan = oriented(scan, orientation, is_scaled=True)
    else:
        format, located = recognised(source, reader, parts=parts)
        scan = format.read(
            located,
            measurement_domain=measurement_domain,
            N=N,
            progress=progress,
            clean=clean,
            orientation=orientation,
        )
    tell(scan, name_of(source if isinstance(source, (Scan, Mapping)) else Path(source)))
    return scan


def _refuse_parts(parts: PartsConfig | None) -> None:
    stated = {} if parts is None else stated_fields(parts)
    for name, value in stated.items():
        if value is not None:
            raise ConfigError(
                Problem(name, value, "nothing stated beside a scan in memory", "put it in there")
            )


def read_scan_header(
    path: str | PathLike[str] | InMemory | HoldsScan,
    *,
    reader: str | PathLike[str] | None = None,
    parts: PartsConfig | None = None,
) -> ScanHeader:
    """Sizes of the scan at ``path``, or in memory, without looking at its frames.

    Parameters
    ----------
    path, reader, parts
        As for `open_scan`.

    Raises
    ------
    FileNotFoundError
        There is nothing at ``path``.
    DataError
        It is no scan, or damaged.
    ConfigError
        The reader is none.
    """
    source = _path_or_scan(path)
    if isinstance(source, (Scan, Mapping)):
        return _header_in_memory(source)
    format, located = recognised(source, reader, parts=parts)
    header = format.header(located)
    if header.problems:
        raise DataError(header.problems, located.frames)
    return header


def _path_or_scan(given: str | PathLike[str] | InMemory | HoldsScan) -> str | PathLike[str] | InMemory:
    if isinstance(given, (str, PathLike)):
        return given
    scan = in_memory(given)
    if scan is None:
        lacks = ", ".join(not_in_memory(given))
        said = "expected a path, a Scan, arrays by their names, or an object with these attributes"
        raise DataError(Fault(f"{said}; {type(given).__name__} has no {lacks}", type(given).__name__))
    return scan


def _header_in_memory(data: InMemory) -> ScanHeader:
    if isinstance(data, Scan):
        return ScanHeader(
            n_frames=data.n_frames,
            N=data.N,
            probe_size=int(data.probe.shape[-1]),
            metadata=dict(data.metadata),
        )
    arrays, _ = named_arrays(data, ("xcoords", "probeGuess", "_metadata"))
    frames = next((np.shape(data[name]) for name in FRAME_KEYS if data.get(name) is not None), ())
    probe = arrays.get("probeGuess")
    return ScanHeader(
        n_frames=arrays["xcoords"].size if "xcoords" in arrays else None,
        N=int(frames[1]) if len(frames) == 3 else None,
        probe_size=None if probe is None else probe_size_from_shape(probe.shape),
        metadata=metadata_in(arrays),
    )
