"""Read and write scans as NPZ. Nothing is ever run that a file holds."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Collection
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from ptycho_torch.atomic import atomic_write
from ptycho_torch.control import Progress
from ptycho_torch.data.advice import SQUARE_PROBE
from ptycho_torch.data.npz_archive import SUFFIX, Misfits, foreign, open_archive, read_arrays, read_headers
from ptycho_torch.data.recognition import Candidate
from ptycho_torch.data.scan.assemble import FRAME_KEYS, KNOWN_KEYS, assemble_scan, metadata_in
from ptycho_torch.data.scan.checks import probe_size_from_shape
from ptycho_torch.data.scan.contract import Scan, frame_chunks
from ptycho_torch.data.scan.example import example_scan
from ptycho_torch.data.scan.header import ArrayHeader, Located, ScanHeader
from ptycho_torch.data.scan.lazy import Frames
from ptycho_torch.data.scan.memory import contract_arrays
from ptycho_torch.data.scan.misfits import misfits
from ptycho_torch.data.scan.telling import tell
from ptycho_torch.diagnosis.table import CLEANING
from ptycho_torch.errors import DataError, Fault, fault

__all__ = [
    "header",
    "infer_probe_size",
    "load_scan",
    "make_example",
    "read",
    "read_npz_headers",
    "read_to_convert",
    "recognise",
    "save_scan",
    "write",
]

NAME = "npz"
HELP = "NumPy archive, frames loaded whole; positions in object pixels"
SUFFIXES = (".npz",)
TARGETS = (".npz",)
NEAR_FIELD = True
TAKES_PARTS = True

_RESULT = frozenset({"object", "weight", "origin"})
"""Arrays of a reconstruction of this program."""


def recognise(candidate: Candidate) -> Located | str:
    """A zip archive; whether a scan is in it is seen when it is read."""
    if candidate.is_folder:
        return "this is a directory, not a file"
    if candidate.start.startswith(b"PK"):
        return Located(NAME, (candidate.path,))
    return foreign(candidate.path)


def header(located: Located) -> ScanHeader:
    """Sizes and metadata; of the arrays only the headers are read, but for the metadata.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    DataError
        The file is no NPZ archive.
    """
    problems: list[str] = []
    with open_archive(located.frames) as (_, archive):
        found = read_headers(archive, problems)
    positions = next((found[key].shape for key in ("xcoords", "ycoords") if key in found), ())
    frames = next((found[key].shape for key in FRAME_KEYS if key in found), ())
    texts = read_arrays(located.frames, ("_metadata",))[0] if "_metadata" in found else {}
    # The middle axis is one of a frame, whether frames come first or last.
    N = int(frames[1]) if len(frames) == 3 else None
    probe_size = probe_size_from_shape(found["probeGuess"].shape) if "probeGuess" in found else None
    metadata = metadata_in(texts)
    if located.parts is not None or located.metadata:
        from ptycho_torch.data.hdf5.stated_arrays import stated_metadata, stated_probe_size

        metadata |= stated_metadata(located)
        positions = positions or frames[:1]
        probe_size = stated_probe_size(located, N) or probe_size
    return ScanHeader(
        n_frames=int(positions[0]) if positions else None,
        N=N,
        probe_size=probe_size,
        metadata=metadata,
        arrays=found,
        problems=tuple(problems),
    )


def read_npz_headers(path: str | PathLike[str]) -> dict[str, ArrayHeader]:
    """Shape and dtype of every array of an NPZ file; no array is loaded.

    Parameters
    ----------
    path
        NPZ file, compressed or not.

    Returns
    -------
    dict
        Key to ``(shape, dtype)``, in the order of the file.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    DataError
        The file is no NPZ archive, or arrays are damaged or hold objects.
    """
    problems: list[str] = []
    with open_archive(path) as (file, archive):
        headers = read_headers(archive, problems)
    if problems:
        raise DataError(problems, file)
    return headers


def infer_probe_size(path: str | PathLike[str]) -> int:
    """Edge N of ``probeGuess`` in px, from its header alone.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    DataError
        No NPZ archive, no ``probeGuess``, or one that is not made of square modes.
    """
    headers = read_npz_headers(path)
    if "probeGuess" not in headers:
        raise DataError(
            Fault(
                f"missing key probeGuess; keys found: {', '.join(sorted(headers)) or 'none'}", "probeGuess"
            ),
            path,
        )
    shape = headers["probeGuess"][0]
    size = probe_size_from_shape(shape)
    if size is None:
        raise DataError(fault("probeGuess", SQUARE_PROBE.format(shape=shape)), path)
    return size


def read(
    located: Located,
    *,
    measurement_domain: str = "auto",
    N: int | None = None,
    progress: Progress | None = None,
    clean: Collection[str] = CLEANING,
    position_scale: float = 1.0,
) -> Scan:
    """Scan of the archive, frames loaded; as `load_scan`."""
    return _load(
        located,
        measurement_domain=measurement_domain,
        N=N,
        progress=progress,
        clean=clean,
        position_scale=position_scale,
    )


def read_to_convert(
    located: Located,
    *,
    measurement_domain: str = "auto",
    N: int | None = None,
    progress: Progress | None = None,
    clean: Collection[str] = CLEANING,
    position_scale: float = 1.0,
) -> Scan:
    """As `read`, with metadata that PtychoPINN pickled."""
    return _load(
        located,
        measurement_domain=measurement_domain,
        N=N,
        progress=progress,
        pickled_text=True,
        clean=clean,
        position_scale=position_scale,
    )


def load_scan(
    path: str | PathLike[str],
    *,
    measurement_domain: str = "auto",
    N: int | None = None,
    progress: Progress | None = None,
    pickled_text: bool = False,
    clean: Collection[str] = CLEANING,
    position_scale: float = 1.0,
) -> Scan:
    """Read one scan, check it against the data contract and convert it to counts.

    Parameters
    ----------
    path
        NPZ file with ``diff3d`` (or ``diffraction``), ``xcoords``, ``ycoords`` and ``probeGuess``; optional
        keys as the data contract lists them.
    measurement_domain
        ``"auto"``, ``"counts"`` or ``"amplitude"``: what the caller states about the frames.
    N
        Edge of the frames wanted; px. Smaller than the frames: they are cropped around the zero frequency and
        probe, positions and object are brought to the larger object pixels (see
        `ptycho_torch.data.scan.crop`), with a `UserWarning`.
    progress
        Called with frames checked and frames in all.
    pickled_text
        Take single Python objects for the text or the plain data that they hold, as PtychoPINN stores its
        metadata. Nothing in them is run; without this they are a problem of the file.
    clean
        Names of the diagnoses whose findings are masked or left out, see `ptycho_torch.diagnosis.table`. What
        they say is in ``findings`` of the scan.
    position_scale
        Factor on the positions.

    Returns
    -------
    Scan
        Counts whatever the file held; ``scan.domain`` says what it held and why.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    DataError
        With every problem found; nothing was written.

    Warns
    -----
    ScanWarning
        For every finding that spoils a result, or would have, such as frames that are left out.
    """
    scan = _load(
        Located(NAME, (Path(path),)),
        measurement_domain=measurement_domain,
        N=N,
        progress=progress,
        pickled_text=pickled_text,
        clean=clean,
        position_scale=position_scale,
    )
    tell(scan, Path(path).name)
    return scan


def _load(located: Located, *, pickled_text: bool = False, **asked: Any) -> Scan:
    path = located.frames
    wanted = tuple(key for key in KNOWN_KEYS if key not in _replaced(located))
    arrays, keys, problems = read_arrays(path, wanted, pickled_text=pickled_text, misfits=_misfits(wanted))
    if set(keys) >= _RESULT and not set(keys) & set(FRAME_KEYS):
        raise DataError("a reconstruction of this program, not a scan; give the scan that it is of", path)
    if located.parts is not None or located.metadata:
        # HDF5 is loaded by what may read it.
        from ptycho_torch.data.hdf5.stated_arrays import stated_arrays

        arrays = stated_arrays(arrays, located, problems)
        keys = tuple({*keys, *arrays})
    return assemble_scan(arrays, source=path, problems=problems, keys=keys, owned=True, **asked)


def _replaced(located: Located) -> frozenset[str]:
    """Arrays of the archive that are not read, because others are stated."""
    parts, others = located.parts, {"mask": "bad_pixels", "probe": "probeGuess"}
    return frozenset(key for part, key in others.items() if getattr(parts, part, None) is not None)


def _misfits(wanted: tuple[str, ...]) -> Misfits:
    return lambda headers: misfits({name: found for name, found in headers.items() if name in wanted})


def _write_frames(archive: zipfile.ZipFile, frames: Frames, progress: Progress | None) -> None:
    """Add the frames to an open archive piece by piece, so that they need not fit in memory."""
    dtype = frames.dtype
    with archive.open(f"{FRAME_KEYS[0]}{SUFFIX}", "w", force_zip64=True) as stream:
        header = {
            "descr": np.lib.format.dtype_to_descr(dtype),
            "fortran_order": False,
            "shape": tuple(frames.shape),
        }
        np.lib.format.write_array_header_1_0(stream, header)
        for part in frame_chunks(frames):
            stream.write(np.ascontiguousarray(frames[part], dtype=dtype).data)
            if progress is not None:
                progress(min(part.stop, frames.shape[0]), frames.shape[0])


def save_scan(path: str | PathLike[str], scan: Scan, *, progress: Progress | None = None) -> None:
    """Write ``scan`` as compressed NPZ in counts; `load_scan` gives back the same arrays and metadata.

    The metadata state the measurement domain, ``counts``, and that the frame axis is the first. A truth whose
    origin is not zero is accompanied by the key ``objectGuess_origin``.

    Parameters
    ----------
    path
        File to create or replace; complete or not there at all.
    scan
        The scan; frames in a file are copied piece by piece.
    progress
        Called with frames written and frames in all.

    Raises
    ------
    DataError
        ``path`` does not end with ``.npz``, or the metadata cannot be written as JSON.
    FileNotFoundError
        The directory does not exist.
    """
    target = Path(path)
    if target.suffix != ".npz":
        raise DataError(f"the name of a scan ends with .npz, got {target.name!r}", target)
    try:
        arrays = contract_arrays(scan)
    except DataError as error:
        raise DataError(error.problems, target) from error
    frames = arrays.pop(FRAME_KEYS[0])
    with (
        atomic_write(target) as stream,
        zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, allowZip64=True) as archive,
    ):
        _write_frames(archive, frames, progress)
        for key, values in arrays.items():
            with archive.open(f"{key}{SUFFIX}", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asanyarray(values), allow_pickle=False)


def write(path: Path, scan: Scan, *, progress: Progress | None = None) -> None:
    """Write ``scan``; as `save_scan`."""
    save_scan(path, scan, progress=progress)


def make_example(path: Path) -> None:
    """Write the example scan with NumPy alone."""
    scan = example_scan()
    np.savez_compressed(
        path,
        diff3d=scan.diffraction[:],
        xcoords=scan.positions[:, 1],
        ycoords=scan.positions[:, 0],
        probeGuess=scan.probe,
        _metadata=np.array(json.dumps(dict(scan.metadata))),
    )
