"""One way to open a scan, whatever kind of file it is in; the content decides, not the name."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ptycho_torch.control import Progress
from ptycho_torch.data.formats.npz import Header, infer_probe_size, load_scan, read_arrays, read_npz_headers
from ptycho_torch.data.scan.assemble import FRAME_KEYS
from ptycho_torch.data.scan.checks import parse_metadata, probe_size_from_shape
from ptycho_torch.data.scan.contract import Scan
from ptycho_torch.data.scan.memory import InMemory, named_arrays, scan_of
from ptycho_torch.errors import DataError

__all__ = [
    "Located",
    "ScanFormat",
    "ScanHeader",
    "hdf5_scan_headers",
    "locate_scan",
    "open_scan",
    "read_scan_header",
    "scan_files",
]

logger = logging.getLogger(__name__)

ScanFormat = Literal["npz", "ptychodus", "ptychodus-training", "cxi"]

_SHOWN = 20
_SUFFIXES = frozenset({".npz", ".h5", ".hdf5", ".cxi"})
_PAIRS: tuple[tuple[ScanFormat, str, str], ...] = (
    ("ptychodus", "diffraction.h5", "product.h5"),
    ("cxi", "diffraction.cxi", "product.cxi"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Located:
    """Where a scan is and what kind of file holds it.

    Attributes
    ----------
    format
        Kind of file.
    frames
        File with the frames.
    product
        File with positions and probe, where it is another one.
    """

    format: ScanFormat
    frames: Path
    product: Path | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ScanHeader:
    """What can be said of a scan without reading its frames.

    Attributes
    ----------
    located
        The files; None: the scan is in memory.
    n_frames, N
        Frames that have a position, and their edge in px; None: cannot be told.
    probe_size
        Edge of the probe; px. None: cannot be told.
    metadata
        Entries that came with an NPZ file or with a scan in memory.
    """

    located: Located | None
    n_frames: int | None
    N: int | None
    probe_size: int | None
    metadata: dict[str, Any]


def locate_scan(path: str | PathLike[str]) -> Located:
    """Recognise the scan at ``path``.

    Parameters
    ----------
    path
        NPZ, CXI or ptychodus training file, one of the pair diffraction.h5 and product.h5, or a directory
        that holds such a pair.

    Raises
    ------
    FileNotFoundError
        There is nothing at ``path``.
    DataError
        It holds no scan of a known kind, or only half of a pair.
    """
    source = Path(path)
    if source.is_dir():
        return _in_directory(source)
    if not source.exists():
        raise FileNotFoundError(f"{source}: no such file or directory; give the path of a scan")
    with source.open("rb") as stream:
        start = stream.read(8)
    if start.startswith(b"PK") or (source.suffix == ".npz" and not start.startswith(b"\x89HDF")):
        return Located(format="npz", frames=source)
    from ptycho_torch.data.hdf5.files import is_hdf5

    if start.startswith(b"\x89HDF") or is_hdf5(source):
        return _in_hdf5(source)
    said = "the file is empty" if not start else "the content is neither NPZ nor HDF5"
    raise DataError(f"{said}; expected a scan as NPZ, CXI or HDF5 of ptychodus", source)


def scan_files(path: str | PathLike[str]) -> tuple[Path, ...]:
    """The scans that a path names: itself, or the files of a folder of scans in the order of their names.

    A folder that holds the pair of one scan is that scan. Otherwise every NPZ, HDF5 and CXI file directly in
    it is one, however it is named; other files and folders in it are left alone.

    Raises
    ------
    DataError
        The folder holds half of a pair, or no such file.
    """
    source = Path(path)
    if not source.is_dir():
        return (source,)
    pairs = {name for _, frames, product in _PAIRS for name in (frames, product)}
    names = sorted(entry.name for entry in source.iterdir() if entry.suffix.lower() in _SUFFIXES)
    if not names or pairs & set(names):
        _in_directory(source)
        return (source,)
    return tuple(source / name for name in names)


def _in_directory(folder: Path) -> Located:
    for kind, frames, product in _PAIRS:
        present = [name for name in (frames, product) if (folder / name).is_file()]
        if len(present) == 2:
            return Located(format=kind, frames=folder / frames, product=folder / product)
        if present:
            missing = product if present[0] == frames else frames
            raise DataError(f"{present[0]} is there without {missing}; put both into the directory", folder)
    names = sorted(entry.name for entry in folder.iterdir())
    listed = ", ".join(names[:_SHOWN]) or "nothing"
    raise DataError(
        f"no scan in this directory; expected diffraction.h5 and product.h5, or files of scans (.npz, .h5, "
        f".hdf5, .cxi); found: {listed}",
        folder,
    )


def _in_hdf5(source: Path) -> Located:
    from ptycho_torch.data.hdf5.files import Contents, opened

    with opened(source) as file:
        keys, listed = set(file), Contents(file, []).found()
        entry = file.get("entry_1")
        cxi = set(entry) if hasattr(entry, "keys") else set()
    if cxi or "cxi_version" in keys:
        return _cxi_parts(source, cxi)
    if keys & {"probe_position_x_px", "probe_position_y_px"} or {"patterns", "probe"} <= keys:
        return Located(format="ptychodus-training", frames=source)
    if "patterns" in keys:
        return Located(format="ptychodus", frames=source, product=_other(source, "diffraction", "product"))
    if keys & {"probe_position_x_m", "probe_position_y_m", "probe_position_indexes"}:
        return Located(format="ptychodus", frames=_other(source, "product", "diffraction"), product=source)
    raise DataError(
        "no layout that is known: expected patterns and indexes (diffraction.h5), probe_position_x_m "
        "(product.h5), probe_position_x_px (training file) or entry_1 (CXI); datasets found: "
        f"{listed}",
        source,
    )


def _cxi_parts(source: Path, groups: set[str]) -> Located:
    """A CXI file that has frames but no sample, or the other way round, has its other half beside it."""
    has_rest, has_frames = (
        bool(groups & {"sample_1", "image_1"}),
        "instrument_1" in groups or "data_1" in groups,
    )
    if not has_rest and has_frames:
        other = source.with_name(source.name.replace("diffraction", "product"))
        if other != source and other.is_file():
            return Located(format="cxi", frames=source, product=other)
    return Located(format="cxi", frames=source)


def _other(source: Path, mine: str, wanted: str) -> Path:
    """The other file of a pair, named alike or by its usual name."""
    alike = source.with_name(source.name.replace(mine, wanted))
    usual = source.with_name(f"{wanted}.h5")
    for candidate in (alike, usual):
        if candidate != source and candidate.is_file():
            return candidate
    holds = "frames" if mine == "diffraction" else "positions and probe"
    raise DataError(
        f"this file holds the {holds} only; put {usual.name} beside it",
        source,
    )


def open_scan(
    path: str | PathLike[str] | InMemory,
    *,
    measurement_domain: str = "auto",
    N: int | None = None,
    progress: Progress | None = None,
) -> Scan:
    """Open one scan, check it against the data contract and give it out in counts.

    Frames of HDF5 files stay in their file (`ptycho_torch.data.scan.lazy.FrameStack`) and are gone through
    once, in pieces, to be checked; frames of NPZ files are loaded.

    Parameters
    ----------
    path
        As for `locate_scan`, or a scan in memory, see `ptycho_torch.data.scan.memory`.
    measurement_domain
        ``"auto"``, ``"counts"`` or ``"amplitude"``: what the caller states about the frames. Frames of HDF5
        files are counts unless the caller says otherwise.
    N
        Edge of the frames wanted; px. Smaller than the frames: they are cropped around the zero frequency,
        see `ptycho_torch.data.scan.crop`, with a `UserWarning`.
    progress
        Called with frames checked and frames in all.

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
    """
    if isinstance(path, (Scan, Mapping)):
        return scan_of(path, measurement_domain=measurement_domain, N=N, progress=progress)
    located = locate_scan(path)
    logger.debug("%s: %s", path, located.format)
    asked: dict[str, Any] = {"measurement_domain": measurement_domain, "N": N, "progress": progress}
    if located.format == "npz":
        return load_scan(located.frames, **asked)
    if located.format == "cxi":
        from ptycho_torch.data.formats.cxi import read_cxi

        return read_cxi(located.frames, located.product, **asked)
    from ptycho_torch.data.formats.ptychodus_files import read_pair, read_training

    if located.format == "ptychodus-training":
        return read_training(located.frames, **asked)
    assert located.product is not None
    return read_pair(located.frames, located.product, **asked)


def hdf5_scan_headers(located: Located) -> dict[str, Header]:
    """Shape and dtype of every dataset of the one or two HDF5 files of a scan; no array is loaded.

    Raises
    ------
    DataError
        A file is damaged.
    """
    from ptycho_torch.data.hdf5.files import hdf5_headers

    first = hdf5_headers(located.frames)
    return first if located.product is None else {**first, **hdf5_headers(located.product)}


def read_scan_header(path: str | PathLike[str] | InMemory) -> ScanHeader:
    """Sizes of the scan at ``path``, or in memory, without looking at its frames.

    Raises
    ------
    FileNotFoundError
        There is nothing at ``path``.
    DataError
        It is no scan, or damaged.
    """
    if isinstance(path, (Scan, Mapping)):
        return _header_in_memory(path)
    located = locate_scan(path)
    if located.format == "npz":
        headers = read_npz_headers(located.frames)
        shape = next((headers[key][0] for key in ("xcoords", "ycoords") if key in headers), ())
        metadata: dict[str, Any] = {}
        if "_metadata" in headers:
            arrays, _, _ = read_arrays(located.frames, ("_metadata",))
            metadata = parse_metadata(arrays["_metadata"], []) if "_metadata" in arrays else {}
        frames = next((headers[key][0] for key in FRAME_KEYS if key in headers), ())
        return ScanHeader(
            located=located,
            n_frames=int(shape[0]) if shape else None,
            N=int(frames[1]) if len(frames) == 3 else None,
            probe_size=infer_probe_size(located.frames),
            metadata=metadata,
        )
    found = hdf5_scan_headers(located)
    frame_names = ("patterns", "entry_1/instrument_1/detector_1/data", "entry_1/data_1/data")
    probe_names = ("probe", "entry_1/image_1/data", "entry_1/instrument_1/source_1/illumination")
    shape = next((found[name][0] for name in frame_names if name in found), ())
    probe = next((found[name][0] for name in probe_names if name in found), ())
    return ScanHeader(
        located=located,
        n_frames=_n_paired(located) or (int(shape[0]) if len(shape) == 3 else None),
        N=int(shape[1]) if len(shape) == 3 else None,
        probe_size=probe_size_from_shape(probe[1:] if len(probe) == 4 else probe),
        metadata={},
    )


def _header_in_memory(data: InMemory) -> ScanHeader:
    if isinstance(data, Scan):
        return ScanHeader(
            located=None,
            n_frames=data.n_frames,
            N=data.N,
            probe_size=int(data.probe.shape[-1]),
            metadata=dict(data.metadata),
        )
    arrays, _ = named_arrays(data, ("xcoords", "probeGuess", "_metadata"))
    frames = next((np.shape(data[name]) for name in FRAME_KEYS if data.get(name) is not None), ())
    probe = arrays.get("probeGuess")
    return ScanHeader(
        located=None,
        n_frames=arrays["xcoords"].size if "xcoords" in arrays else None,
        N=int(frames[1]) if len(frames) == 3 else None,
        probe_size=None if probe is None else probe_size_from_shape(probe.shape),
        metadata=parse_metadata(arrays["_metadata"], []) if "_metadata" in arrays else {},
    )


def _n_paired(located: Located) -> int:
    """Frames of a ptychodus pair that have a position, by their numbers; 0 where that cannot be told."""
    if located.format != "ptychodus" or located.product is None:
        return 0
    from ptycho_torch.data.hdf5.files import Contents, opened

    numbers = []
    for path, name in ((located.frames, "indexes"), (located.product, "probe_position_indexes")):
        with opened(path) as file:
            numbers.append(Contents(file, []).array(name))
    first, second = numbers
    return 0 if first is None or second is None else int(np.isin(first, second).sum())
