"""Arrays of NPZ archives, as safe to read as numbers are: nothing is ever run that a file holds."""

from __future__ import annotations

import logging
import math
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import IO, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from ptycho_torch.data.limits import largest_array_bytes, memory_bytes, too_large
from ptycho_torch.data.paths import permitted
from ptycho_torch.data.plain_pickle import plain_text
from ptycho_torch.data.scan.assemble import FRAME_KEYS
from ptycho_torch.data.scan.header import ArrayHeader
from ptycho_torch.errors import DataError, Fault, fault

__all__ = ["SUFFIX", "Misfits", "foreign", "open_archive", "read_arrays", "read_headers"]

logger = logging.getLogger(__name__)

SUFFIX = ".npy"
"""Ending of the name of a member that is an array."""

Misfits: TypeAlias = Callable[[Mapping[str, ArrayHeader]], Mapping[str, Fault]]
"""From shapes and dtypes by key to what is wrong with some of them."""

_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError, RuntimeError)
"""What zipfile and numpy raise on damaged, encrypted or unsupported members."""


def foreign(path: Path) -> str:
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
def open_archive(path: str | PathLike[str]) -> Iterator[tuple[Path, zipfile.ZipFile]]:
    """The archive at a path, while the block runs.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    DataError
        The file is no NPZ archive.
    """
    file = Path(path)
    if not file.exists():
        raise FileNotFoundError(f"{file}: no such file; give the path of an NPZ scan")
    if not file.is_file():
        raise DataError("not a file; give the path of one NPZ scan", file)
    try:
        with permitted(file):
            archive = zipfile.ZipFile(file)
    except PermissionError:
        raise
    except zipfile.BadZipFile as error:
        raise DataError(foreign(file), file) from error
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
        info.filename.removesuffix(SUFFIX): info
        for info in archive.infolist()
        if info.filename.endswith(SUFFIX)
    }


def read_headers(
    archive: zipfile.ZipFile, problems: list[str], pickled: dict[str, int] | None = None
) -> dict[str, ArrayHeader]:
    """Shape and dtype of every sound array, by key.

    Parameters
    ----------
    archive
        As `open_archive` gives it.
    problems
        Gets a sentence for every other array.
    pickled
        If given, single Python objects are no problem: it gets their keys, with where their headers end.
    """
    headers: dict[str, ArrayHeader] = {}
    for key, info in _members(archive).items():
        try:
            with archive.open(info) as stream:
                (shape, dtype), offset = _header(stream)
        except _DAMAGED as error:
            problems.append(fault(key, f"damaged array ({error}); copy or write the file again"))
            continue
        if pickled is not None and shape == () and dtype.kind == "O":
            pickled[key] = offset
        elif dtype.hasobject:
            single = "; `ptycho-torch convert` reads a single text, and writes it as one" * (shape == ())
            problems.append(
                fault(
                    key,
                    f"holds Python objects (dtype {dtype}), which are pickled and never loaded; store "
                    f"numbers, or text as a string array{single}",
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


def _texts(
    archive: zipfile.ZipFile,
    pickled: Mapping[str, int],
    members: dict[str, zipfile.ZipInfo],
    problems: list[str],
) -> dict[str, npt.NDArray[Any]]:
    """Single objects as text; those that are ``None`` are taken from ``members``, since nothing is there."""
    texts: dict[str, npt.NDArray[Any]] = {}
    for key, offset in pickled.items():
        try:
            with archive.open(members[key]) as stream:
                text = plain_text(stream, offset)
        except _DAMAGED as error:
            problems.append(fault(key, f"a Python object that cannot be converted: {error}"))
            continue
        if text is None:
            del members[key]
        else:
            texts[key] = np.array(text)
    return texts


def read_arrays(
    path: str | PathLike[str],
    keys: tuple[str, ...] | None = None,
    *,
    pickled_text: bool = False,
    misfits: Misfits | None = None,
) -> tuple[dict[str, npt.NDArray[Any]], tuple[str, ...], list[str]]:
    """Load arrays from an NPZ file without unpickling anything.

    Parameters
    ----------
    path
        NPZ file, compressed or not.
    keys
        Which to load if present; None: all.
    pickled_text
        Take single Python objects for the text or the plain data that they hold, see
        `ptycho_torch.data.plain_pickle`; without this they are a problem.
    misfits
        From shapes and dtypes to what is wrong with some of them, by their keys; these are not loaded.

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
    pickled: dict[str, int] | None = {} if pickled_text else None
    with open_archive(path) as (_, archive):
        members = _members(archive)
        headers = read_headers(archive, problems, pickled)
        arrays |= _texts(archive, pickled or {}, members, problems)
        misfit = {} if misfits is None else misfits(headers)
        problems += misfit.values()
        for key, (shape, dtype) in headers.items():
            if keys is not None and key not in keys:
                logger.debug("%s: key %s is not part of the data contract and is not read", path, key)
                continue
            if key in misfit:
                continue
            said = too_large(math.prod(shape) * dtype.itemsize, limit=_limit(key))
            if said is not None:
                problems.append(fault(key, said.reworded(f"an array of shape {shape} {said}")))
                continue
            try:
                with archive.open(members[key]) as stream:
                    arrays[key] = np.lib.format.read_array(stream, allow_pickle=False)
                    # The checksum of a member is only compared at its end.
                    stream.read()
            except _DAMAGED as error:
                problems.append(fault(key, f"damaged array ({error}); copy or write the file again"))
    return arrays, tuple(members), problems
