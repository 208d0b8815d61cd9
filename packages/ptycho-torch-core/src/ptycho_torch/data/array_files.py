"""Arrays in ``.npy`` and TIFF files: a size is looked at before memory is taken, and damage is one error."""

from __future__ import annotations

import logging
import math
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ptycho_torch.data.limits import LARGEST_FRAME_PX, memory_bytes, too_large

__all__ = ["TIFF", "Fits", "fits_frames", "fits_memory", "read_npy", "read_tiff"]

TIFF = (".tif", ".tiff")
"""How names of TIFF files end."""

Fits = Callable[[tuple[int, ...], np.dtype[Any]], None]
"""Raises ValueError for a shape and dtype that are not to be loaded."""

_BEST_PACKING = 4096
# What NumPy and tifffile raise on content that is no such file, or was damaged.
_DAMAGED = (
    *(LookupError, TypeError, AttributeError, ArithmeticError, AssertionError, RuntimeError, EOFError),
    *(SyntaxError, MemoryError, struct.error, zlib.error),
)


def fits_memory(shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Refuse an array that is larger than one beside the frames may be."""
    said = too_large(math.prod(shape) * dtype.itemsize)
    if said is not None:
        raise ValueError(f"an array of shape {shape} {said}")


def fits_frames(shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Refuse frames that no detector makes, or more of them than there is memory for."""
    if len(shape) >= 2 and max(shape[-2:]) > LARGEST_FRAME_PX:
        edges = " x ".join(map(str, shape[-2:]))
        raise ValueError(f"frames of {edges} px, expected at most {LARGEST_FRAME_PX} px; crop or bin them")
    said = too_large(math.prod(shape) * dtype.itemsize, limit=memory_bytes() // 2)
    if said is not None:
        raise ValueError(f"an array of shape {shape} {said}")


def read_npy(path: Path, fits: Fits = fits_memory, *, mapped: bool = False) -> npt.NDArray[Any]:
    """Array of a ``.npy`` file.

    Parameters
    ----------
    path
        The file.
    fits
        Says what may be loaded.
    mapped
        Leave the values in the file.

    Raises
    ------
    ValueError
        It holds something else, claims more than there is, or is larger than may be.
    OSError
        It cannot be read.
    """
    _require_file(path)
    try:
        _require_all_there(path)
        stored = np.load(path, mmap_mode="r", allow_pickle=False)
    except _DAMAGED as error:
        raise ValueError(f"damaged ({type(error).__name__}: {error})") from error
    if not isinstance(stored, np.ndarray):
        stored.close()
        raise ValueError("an archive, expected one array")
    if not mapped:
        fits(stored.shape, stored.dtype)
    return stored if mapped else np.array(stored)


def read_tiff(path: Path, fits: Fits = fits_memory) -> npt.NDArray[Any]:
    """First series of images of a TIFF file.

    Parameters
    ----------
    path
        The file.
    fits
        Says what may be loaded.

    Raises
    ------
    ValueError
        It holds something else, claims far more than there is, or is larger than may be.
    OSError
        It cannot be read.
    """
    import tifffile

    _require_file(path)
    try:
        with _unheard("tifffile"), tifffile.TiffFile(path) as tiff:
            series = tiff.series[0]
            if series.dtype is None:
                raise ValueError("values of no type that is known")
            fits(series.shape, series.dtype)
            claimed, stored = math.prod(series.shape) * series.dtype.itemsize, path.stat().st_size
            is_plain = all(page is None or page.compression == 1 for page in series.pages)
            if claimed > (1 if is_plain else _BEST_PACKING) * stored:
                raise ValueError(f"claims {claimed} bytes of values, and has {stored} bytes in all")
            return np.asarray(series.asarray())
    except _DAMAGED as error:
        raise ValueError(f"damaged ({type(error).__name__}: {error})") from error


def _require_all_there(path: Path) -> None:
    """Refuse a header that claims more than there is."""
    with path.open("rb") as stream:
        if not stream.read(6).startswith(b"\x93NUMPY"):
            return
        stream.seek(0)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        version = np.lib.format.read_magic(stream)
        if version not in read:
            return
        shape, _, dtype = read[version](stream)
        claimed, stored = math.prod(shape) * dtype.itemsize, path.stat().st_size - stream.tell()
        if min(shape, default=1) < 0 or claimed > stored:
            raise ValueError(f"claims an array of shape {shape}, {claimed} bytes, and has {stored}")


def _require_file(path: Path) -> None:
    if path.exists() and not path.is_file():
        # Opening a pipe would wait for somebody who writes.
        raise ValueError("a folder, pipe, socket or device, expected a file")


@contextmanager
def _unheard(name: str) -> Iterator[None]:
    """Drop what a library logs of a damaged file, which is said in an error."""
    logger = logging.getLogger(name)
    logger.addFilter(_nothing)
    try:
        yield
    finally:
        logger.removeFilter(_nothing)


def _nothing(record: logging.LogRecord) -> bool:
    return False
