"""Frames that stay in their file until they are indexed, so that a scan may be larger than memory.

A stack has the shape, dtype and indexing of an ``(n, N, N)`` array along its first axis; every read returns a
plain NumPy array. Stacks can be pickled and used after a fork: each process opens the file for itself.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

__all__ = ["ConvertedFrames", "FrameStack", "Frames", "scaled_frames", "take_frames"]

Rows = npt.NDArray[np.int64]
Block = npt.NDArray[Any]

_SUM_VALUES = 1 << 23


class Frames(Protocol):
    """Frames of a scan: what a NumPy array offers and a stack in a file offers too, and nothing beyond.

    Shape and dtype are known before anything is read; an index reads, and gives a NumPy array.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """``(n, N, N)``, or as stored before it was checked."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of what an index gives."""

    @property
    def ndim(self) -> int:
        """Number of axes."""

    @property
    def size(self) -> int:
        """Number of values."""

    @property
    def nbytes(self) -> int:
        """Bytes that all frames take in memory."""

    def __len__(self) -> int:
        """Number of frames."""

    def __getitem__(self, index: Any, /) -> Block:
        """Frames at an integer, a slice, a mask or an integer array along the first axis."""

    def __array__(self) -> Block:
        """All frames in memory."""


class FrameStack(ABC):
    """An ``(n, N, N)`` array of frames that is read piece by piece.

    Attributes
    ----------
    shape
        ``(n, N, N)``, before anything is read.
    dtype
        Of what a read returns.
    """

    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    ndim = 3
    is_growing = False
    """Whether a writer adds frames to the file; those that it held at first are the frames here."""
    raster: tuple[int, int] | None = None
    """Rows and columns, where frames are stored as those of a raster."""
    unwritten: npt.NDArray[np.bool_] | None = None
    """(n,) bool: frames whose values are not in the file, which gives a fill value for them; None: none."""
    unmapped: npt.NDArray[np.bool_] | None = None
    """(H, W) bool: pixels that no frame has a value for; None: none."""

    def __init__(self) -> None:
        self._totals: npt.NDArray[np.float64] | None = None

    @abstractmethod
    def __getitem__(self, index: Any) -> Block:
        """Frames at an integer, a slice, a mask or an integer array of any rank and order.

        The result has the shape of the index followed by ``(N, N)``, as NumPy has it.
        """

    @abstractmethod
    def take(self, indices: npt.ArrayLike) -> FrameStack:
        """Stack of the frames at ``indices`` (one axis), in that order; nothing is read."""

    @abstractmethod
    def crop(self, N: int) -> FrameStack:
        """Stack of the central N x N pixels; index N0 // 2 becomes index N // 2. Nothing is read."""

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def size(self) -> int:
        """Number of values."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes that the whole stack would take in memory."""
        return self.size * self.dtype.itemsize

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> Block:
        if copy is False:
            raise ValueError("frames in a file cannot become an array without a copy")
        values = self[:]
        return values if dtype is None else values.astype(dtype)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(shape={self.shape}, dtype={self.dtype})"

    def totals(self) -> npt.NDArray[np.float64]:
        """Sum of each frame, (n,) float64; computed in pieces, once."""
        if self._totals is None:
            step = max(1, _SUM_VALUES // (self.shape[1] * self.shape[2]))
            parts = [
                self[start : start + step].sum(axis=(1, 2), dtype=np.float64)
                for start in range(0, len(self), step)
            ]
            self._totals = np.concatenate(parts)
        return self._totals.copy()

    @property
    def knows_totals(self) -> bool:
        """Whether the sums were computed, or remembered, already."""
        return self._totals is not None

    def remember_totals(self, totals: npt.NDArray[np.float64]) -> None:
        """Keep sums that the caller has computed already, (n,) float64."""
        self._totals = totals.copy()


class ConvertedFrames(FrameStack):
    """Frames of another stack, converted as they are read.

    Parameters
    ----------
    source
        Where the frames come from.
    convert
        From ``(k, N, N)`` to ``(k, N, N)`` of ``dtype``; a function that can be pickled.
    dtype
        Of the result.
    """

    def __init__(self, source: FrameStack, convert: Callable[[Block], Block], dtype: np.dtype[Any]) -> None:
        super().__init__()
        self.source = source
        self.convert = convert
        self.dtype = dtype
        self.shape = source.shape
        self.unwritten = source.unwritten

    def __getitem__(self, index: Any) -> Block:
        block = self.source[index]
        return self.convert(block.reshape((-1, *self.shape[1:]))).reshape(block.shape)

    def take(self, indices: npt.ArrayLike) -> ConvertedFrames:
        """Stack of the frames at ``indices``; nothing is read."""
        other = ConvertedFrames(self.source.take(indices), self.convert, self.dtype)
        if self._totals is not None:
            other.remember_totals(self._totals[np.asarray(indices)])
        return other

    def crop(self, N: int) -> FrameStack:
        """Refused: a crop belongs before the conversion, which may depend on the pixel."""
        raise TypeError("crop the frames before they are converted")


def take_frames(frames: Frames, indices: npt.ArrayLike) -> Frames:
    """Frames at ``indices`` of an array (a copy) or of a stack (nothing is read)."""
    return frames.take(indices) if isinstance(frames, FrameStack) else frames[indices]


class _Times:
    """Multiply by a number in float32; a class so that it can be pickled."""

    def __init__(self, factor: float) -> None:
        self.factor = np.float32(factor)

    def __call__(self, block: Block) -> Block:
        return block.astype(np.float32) * self.factor


def scaled_frames(frames: Frames, factor: float) -> Frames:
    """Frames times ``factor`` as float32, of an array or of a stack (nothing is read).

    Parameters
    ----------
    frames
        ``(n, N, N)``, array or `FrameStack`.
    factor
        Positive number.
    """
    times = _Times(factor)
    if not isinstance(frames, FrameStack):
        return times(np.asarray(frames))
    scaled = ConvertedFrames(frames, times, np.dtype(np.float32))
    if frames._totals is not None:
        scaled.remember_totals(frames._totals * float(times.factor))
    return scaled
