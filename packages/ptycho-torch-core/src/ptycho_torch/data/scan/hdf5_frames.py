"""Frames of a dataset in an HDF5 file, read when they are indexed."""

from __future__ import annotations

import logging
import os
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ptycho_torch.data.advice import AS_STACK
from ptycho_torch.data.scan.lazy import Block, FrameStack, Rows
from ptycho_torch.errors import DataError, fault

__all__ = ["HDF5Frames"]

logger = logging.getLogger(__name__)

_LARGEST_BLOCK_BYTES = 512 << 20
_LARGE_BYTES = 256 << 20
_MANY_FRAMES = 8
_LONG_RUN = 4


class HDF5Frames(FrameStack):
    """Frames of one HDF5 dataset, as stored.

    Consecutive frames are read in one go, each of the others once, in the order of the file, whatever the
    order of the index. Frames that are packed together in the file are unpacked together, and the last such
    block is kept for its neighbours.

    Parameters
    ----------
    path
        HDF5 file.
    dataset
        Name of a dataset ``(n, H, W)``, or ``(rows, columns, H, W)`` of a raster.
    rows
        int64, ``(n,)``: which frames, in which order; None: all as stored.
    last
        Whether the dataset is ``(H, W, n)``.
    filled
        Frames (n,) and pixels (H, W) that hold values; None: all.

    Raises
    ------
    DataError
        On reading: the file changed since this object was made, or frames cannot be read.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        dataset: str,
        rows: Rows | None = None,
        *,
        last: bool = False,
        filled: tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]] | None = None,
    ) -> None:
        super().__init__()
        self.path = Path(path).resolve()
        self.dataset = dataset
        self._filled = filled
        self._fingerprint = self._identify()
        self.is_growing = self._is_virtual = False
        self._prepared = 0
        self._handle: tuple[int, Any, Any] | None = None
        data = self._data()
        if data.ndim not in (3, 4):
            raise DataError(
                fault(dataset, f"expected shape (frames, N, N), got {data.shape}; {AS_STACK}"), self.path
            )
        self.dtype = data.dtype
        self._line = int(data.shape[1]) if data.ndim == 4 else 0
        self.raster = (int(data.shape[0]), int(data.shape[1])) if data.ndim == 4 else None
        self._last = last and not self._line
        axis = 2 if self._last else 0
        self._stored = int(data.shape[axis]) * (self._line or 1)
        self.rows = np.arange(self._stored) if rows is None else np.asarray(rows, dtype=np.int64)
        self.frames_per_chunk = 1 if data.chunks is None or self._line else int(data.chunks[axis])
        self._block: tuple[int, Block] | None = None
        self._window = (0, 0)
        height, width = data.shape[:2] if self._last else data.shape[-2:]
        self.shape = (len(self.rows), int(height), int(width))
        if self.frames_per_chunk > _MANY_FRAMES and data.size * data.dtype.itemsize > _LARGE_BYTES:
            logger.warning(
                "%s: %d frames are packed together in %s, so reading frames in random order unpacks each "
                "many times; convert the scan once to train faster",
                self.path,
                self.frames_per_chunk,
                dataset,
            )
        self._let_go()

    @property
    def unwritten(self) -> npt.NDArray[np.bool_] | None:  # type: ignore[override]
        return None if self._filled is None else ~self._filled[0][self.rows]

    @property
    def unmapped(self) -> npt.NDArray[np.bool_] | None:  # type: ignore[override]
        top, left = self._window
        window = np.s_[top : top + self.shape[1], left : left + self.shape[2]]
        return None if self._filled is None else ~self._filled[1][window]

    def _identify(self) -> tuple[int, int]:
        status = self.path.stat()
        return status.st_size, status.st_mtime_ns

    def _data(self) -> Any:
        if self._handle is None or self._handle[0] != os.getpid():
            # An HDF5 handle cannot be shared with a forked process, so each process has its own.
            self._handle = (os.getpid(), *self._open())
        return self._handle[2]

    def _open(self) -> tuple[Any, Any]:
        from ptycho_torch.data.scan.stored import missing_filters, open_hdf5

        if not self.is_growing and self._identify() != self._fingerprint:
            raise DataError("the file changed while it was in use; read the scan again", self.path)
        # The library's own cache of chunks scatters what it keeps over the heap, which then grows with the
        # file instead of the cache; blocks are kept here instead.
        file = open_hdf5(self.path, rdcc_nbytes=0)
        self.is_growing = self.is_growing or bool(file.swmr_mode)
        data = file[self.dataset]
        if self._prepared != os.getpid():
            missing_filters(data)  # each process that reads loads them for itself
            self._prepared = os.getpid()
        self._is_virtual = bool(data.is_virtual)
        return file, data

    def close(self) -> None:
        """Release the file; the next read opens it again."""
        if self._handle is not None and self._handle[0] == os.getpid():
            self._handle[1].close()
        self._handle = self._block = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_handle": None, "_block": None}

    def __getitem__(self, index: Any) -> Block:
        wanted = self.rows[index]
        height, width = self.shape[1:]
        unique, inverse = np.unique(np.ravel(wanted), return_inverse=True)
        block = self._read(unique)
        if not np.array_equal(inverse, np.arange(len(unique))):
            block = block[inverse]
        return block.reshape((*np.shape(wanted), height, width))

    def _read(self, rows: Rows) -> Block:
        """Frames at ascending ``rows``, each once."""
        out = np.empty((len(rows), *self.shape[1:]), dtype=self.dtype)
        together = self.frames_per_chunk
        block_bytes = together * self.shape[1] * self.shape[2] * self.dtype.itemsize
        straight = together == 1 or block_bytes > _LARGEST_BLOCK_BYTES
        for start, stop in _runs(rows):
            if straight or stop - start >= _LONG_RUN * together:
                self._fetch(int(rows[start]), int(rows[stop - 1]) + 1, out[start:stop])
                continue
            numbers = rows[start:stop] // together
            for number in np.unique(numbers).tolist():
                here = slice(*(start + np.searchsorted(numbers, [number, number + 1])).tolist())
                out[here] = self._block_of(number)[rows[here] - number * together]
        return out

    def _block_of(self, number: int) -> Block:
        """The frames that are packed together under this number; the last one asked for is kept."""
        if self._block is None or self._block[0] != number:
            first = number * self.frames_per_chunk
            last = min(first + self.frames_per_chunk, self._stored)
            # Given up first, so that two blocks are never there at once.
            self._block = None
            block = np.empty((last - first, *self.shape[1:]), dtype=self.dtype)
            self._fetch(first, last, block)
            self._block = (number, block)
        return self._block[1]

    def _fetch(self, first: int, last: int, out: Block) -> None:
        """Read stored frames ``first`` to ``last - 1`` into ``out``."""
        height, width = self.shape[1:]
        top, left = self._window
        window = np.s_[top : top + height, left : left + width]
        try:
            data = self._data()
            if self._last:
                out[...] = np.moveaxis(data[(*window, slice(first, last))], -1, 0)
            elif not self._line:
                data.read_direct(out, (slice(first, last), *window))
            for number in range(first, last) if self._line else ():
                out[number - first] = data[(*divmod(number, self._line), *window)]
        except OSError as error:
            raise DataError(
                fault(
                    self.dataset,
                    f"frames {first} to {last - 1} cannot be read ({error}); copy or write the file again",
                ),
                self.path,
            ) from error
        self._let_go()

    def _let_go(self) -> None:
        """Close after a look what must not stay open.

        Of a file that grows the library would keep the length that it has seen first. Over a virtual dataset
        that is open when a worker process ends, it crashes.
        """
        if (self.is_growing or self._is_virtual) and self._handle is not None:
            self._handle[1].close()
            self._handle = None

    def _like(self, rows: Rows, shape: tuple[int, int, int], window: tuple[int, int]) -> HDF5Frames:
        other = object.__new__(HDF5Frames)
        other.__dict__.update(self.__getstate__(), rows=rows, shape=shape, _window=window, _totals=None)
        return other

    def take(self, indices: npt.ArrayLike) -> HDF5Frames:
        """Stack of the frames at ``indices``; nothing is read."""
        rows = self.rows[np.asarray(indices)]
        return self._like(rows, (len(rows), *self.shape[1:]), self._window)

    def crop(self, N: int) -> HDF5Frames:
        """Stack of the central N x N pixels, of which alone is read."""
        top, left = (size // 2 - N // 2 for size in self.shape[1:])
        return self.cut(top, left, N)

    def cut(self, top: int, left: int, N: int) -> HDF5Frames:
        """Stack of the N x N pixels from row ``top`` and column ``left`` on, which alone are read."""
        window = (self._window[0] + top, self._window[1] + left)
        return self._like(self.rows, (self.shape[0], N, N), window)


def _runs(rows: Rows) -> list[tuple[int, int]]:
    """Start and stop of the pieces of ascending ``rows`` without a gap."""
    bounds = [*np.flatnonzero(np.diff(rows, prepend=-2) > 1).tolist(), len(rows)]
    return list(pairwise(bounds))
