"""Read and write scans as NPZ. Nothing is ever unpickled."""

from __future__ import annotations

import json
import logging
import math
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from ptycho_torch.atomic import atomic_write
from ptycho_torch.control import Progress
from ptycho_torch.data.limits import largest_array_bytes, memory_bytes, too_large
from ptycho_torch.data.recognition import Candidate
from ptycho_torch.data.scan.assemble import FRAME_KEYS, KNOWN_KEYS, assemble_scan, metadata_in
from ptycho_torch.data.scan.checks import probe_size_from_shape
from ptycho_torch.data.scan.contract import Scan, frame_chunks
from ptycho_torch.data.scan.example import example_scan
from ptycho_torch.data.scan.header import ArrayHeader, Located, ScanHeader
from ptycho_torch.data.scan.lazy import Frames
from ptycho_torch.data.scan.memory import contract_arrays
from ptycho_torch.errors import DataError, Fault, fault

__all__ = [
    "header",
    "infer_probe_size",
    "load_scan",
    "make_example",
    "read",
    "read_arrays",
    "read_npz_headers",
    "recognise",
    "save_scan",
    "write",
]

NAME = "npz"
HELP = "NumPy archive, frames loaded whole; positions in object pixels"
SUFFIXES = (".npz",)
TARGETS = (".npz",)

logger = logging.getLogger(__name__)

_SUFFIX = ".npy"
_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError, RuntimeError)
"""What zipfile and numpy raise on damaged, encrypted or unsupported members."""


def _foreign(path: Path) -> str:
    """Sentence for a file that is no zip archive."""
    with path.open("rb") as stream:
        start = stream.read(8)
    if not start:
        return "the file is empty; expected an NPZ archive"
    if start.startswith(b"PK\x03\x04"):
        return (
            "truncated zip archive: its table of contents at the end is missing; copy or write the file again"
        )
    kind = "not a zip archive"
    if start.startswith(b"\x89HDF"):
        kind = "an HDF5 file"
    elif start.startswith(b"\x93NUMPY"):
        kind = "a single .npy array"
    return f"the content is {kind}, expected an NPZ archive as numpy.savez writes it"


@contextmanager
def _archive(path: str | PathLike[str]) -> Iterator[tuple[Path, zipfile.ZipFile]]:
    file = Path(path)
    if not file.exists():
        raise FileNotFoundError(f"{file}: no such file; give the path of an NPZ scan")
    if not file.is_file():
        raise DataError("not a file; give the path of one NPZ scan", file)
    try:
        archive = zipfile.ZipFile(file)
    except PermissionError:
        raise
    except zipfile.BadZipFile as error:
        raise DataError(_foreign(file), file) from error
    except _DAMAGED as error:
        raise DataError(f"damaged zip archive ({error}); copy or write the file again", file) from error
    with archive:
        yield file, archive


def _header(stream: IO[bytes]) -> tuple[ArrayHeader, int]:
    """Shape and dtype from the start of a .npy stream, and the number of bytes read."""
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
    elif version == (2, 0):
        shape, _, dtype = np.lib.format.read_array_header_2_0(stream)
    else:
        raise ValueError(f"npy format {version[0]}.{version[1]}, expected 1.0 or 2.0")
    return ArrayHeader(tuple(int(length) for length in shape), dtype), stream.tell()


def _members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    return {
        info.filename.removesuffix(_SUFFIX): info
        for info in archive.infolist()
        if info.filename.endswith(_SUFFIX)
    }


def _read_headers(archive: zipfile.ZipFile, problems: list[str]) -> dict[str, ArrayHeader]:
    headers: dict[str, ArrayHeader] = {}
    for key, info in _members(archive).items():
        try:
            with archive.open(info) as stream:
                (shape, dtype), offset = _header(stream)
        except _DAMAGED as error:
            problems.append(fault(key, f"damaged array ({error}); copy or write the file again"))
            continue
        if dtype.hasobject:
            problems.append(
                fault(
                    key,
                    f"holds Python objects (dtype {dtype}), which are pickled and never loaded; store "
                    "numbers, or text as a string array",
                )
            )
        elif offset + math.prod(shape) * dtype.itemsize != info.file_size:
            problems.append(
                fault(
                    key,
                    f"damaged array, its header promises shape {shape} but {info.file_size} bytes are stored",
                )
            )
        else:
            headers[key] = ArrayHeader(shape, dtype)
    return headers


def _limit(key: str) -> int:
    """Bytes that an array may take: frames fill the memory at most, all others a part of it."""
    largest = largest_array_bytes()
    return max(largest, memory_bytes()) if key in (*FRAME_KEYS, "Y") else largest


def recognise(candidate: Candidate) -> Located | str:
    """A zip archive; whether a scan is in it is seen when it is read."""
    if candidate.is_folder:
        return "this is a directory, not a file"
    if candidate.start.startswith(b"PK"):
        return Located(NAME, (candidate.path,))
    return _foreign(candidate.path)


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
    with _archive(located.frames) as (_, archive):
        found = _read_headers(archive, problems)
    positions = next((found[key].shape for key in ("xcoords", "ycoords") if key in found), ())
    frames = next((found[key].shape for key in FRAME_KEYS if key in found), ())
    texts = read_arrays(located.frames, ("_metadata",))[0] if "_metadata" in found else {}
    return ScanHeader(
        located=located,
        n_frames=int(positions[0]) if positions else None,
        # The middle axis is one of a frame, whether frames come first or last.
        N=int(frames[1]) if len(frames) == 3 else None,
        probe_size=probe_size_from_shape(found["probeGuess"].shape) if "probeGuess" in found else None,
        metadata=metadata_in(texts),
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
    with _archive(path) as (file, archive):
        headers = _read_headers(archive, problems)
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
        raise DataError(
            fault("probeGuess", f"expected square modes (N, N), (P, N, N) or (N, N, 1), got {shape}"), path
        )
    return size


def read_arrays(
    path: str | PathLike[str], keys: tuple[str, ...] | None = None
) -> tuple[dict[str, npt.NDArray[Any]], tuple[str, ...], list[str]]:
    """Load arrays from an NPZ file without unpickling anything.

    Parameters
    ----------
    path
        NPZ file, compressed or not.
    keys
        Which to load if present; None: all.

    Returns
    -------
    arrays, found, problems
        Arrays by key, every key of the file, and a sentence for each that could not be read.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    DataError
        The file is no NPZ archive.
    """
    problems: list[str] = []
    arrays: dict[str, npt.NDArray[Any]] = {}
    with _archive(path) as (_, archive):
        members = _members(archive)
        for key, (shape, dtype) in _read_headers(archive, problems).items():
            if keys is not None and key not in keys:
                logger.debug("%s: key %s is not part of the data contract and is not read", path, key)
                continue
            said = too_large(math.prod(shape) * dtype.itemsize, limit=_limit(key))
            if said is not None:
                problems.append(fault(key, f"an array of shape {shape} {said}"))
                continue
            try:
                with archive.open(members[key]) as stream:
                    arrays[key] = np.lib.format.read_array(stream, allow_pickle=False)
                    # The checksum of a member is only compared at its end.
                    stream.read()
            except _DAMAGED as error:
                problems.append(fault(key, f"damaged array ({error}); copy or write the file again"))
    return arrays, tuple(members), problems


def read(
    located: Located,
    *,
    measurement_domain: str = "auto",
    N: int | None = None,
    progress: Progress | None = None,
) -> Scan:
    """Scan of the archive, frames loaded; as `load_scan`."""
    return load_scan(located.frames, measurement_domain=measurement_domain, N=N, progress=progress)


def load_scan(
    path: str | PathLike[str],
    *,
    measurement_domain: str = "auto",
    N: int | None = None,
    progress: Progress | None = None,
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
    """
    arrays, keys, problems = read_arrays(path, KNOWN_KEYS)
    return assemble_scan(
        arrays,
        measurement_domain=measurement_domain,
        N=N,
        source=Path(path),
        problems=problems,
        keys=keys,
        owned=True,
        progress=progress,
    )


def _write_frames(archive: zipfile.ZipFile, frames: Frames, progress: Progress | None) -> None:
    """Add the frames to an open archive piece by piece, so that they need not fit in memory."""
    dtype = frames.dtype
    with archive.open(f"{FRAME_KEYS[0]}{_SUFFIX}", "w", force_zip64=True) as stream:
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
            with archive.open(f"{key}{_SUFFIX}", "w", force_zip64=True) as member:
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
