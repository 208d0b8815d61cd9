"""Frames that a detector has put into several datasets or files, as one stack."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ptycho_torch.data.scan.hdf5_frames import HDF5Frames
from ptycho_torch.data.scan.lazy import Block, Frames, FrameStack, Rows

__all__ = ["JoinedFrames", "JoinedStacks"]


class JoinedStacks(FrameStack):
    """Stacks and arrays one after the other.

    Parameters
    ----------
    parts
        At least one; frames of one size.
    rows
        int64, ``(n,)``: which frames of all, in which order; None: all as stored.

    Raises
    ------
    ValueError
        The sizes differ.
    """

    def __init__(self, parts: Sequence[Frames], rows: Rows | None = None) -> None:
        super().__init__()
        self.parts: tuple[Frames, ...] = tuple(parts)
        sizes = {part.shape[1:] for part in self.parts}
        if len(sizes) != 1:
            raise ValueError(f"frames of one size, got {sorted(sizes)}")
        self.bounds = np.cumsum([0, *(len(part) for part in self.parts)])
        self.rows = np.arange(self.bounds[-1]) if rows is None else np.asarray(rows, dtype=np.int64)
        self.dtype = np.result_type(*(part.dtype for part in self.parts))
        height, width = sizes.pop()
        self.shape = (len(self.rows), height, width)

    def __getitem__(self, index: Any) -> Block:
        wanted = self.rows[index]
        unique, inverse = np.unique(np.ravel(wanted), return_inverse=True)
        block = np.empty((len(unique), *self.shape[1:]), dtype=self.dtype)
        owners = np.searchsorted(self.bounds, unique, side="right") - 1
        for owner in np.unique(owners).tolist():
            here = owners == owner
            block[here] = self.parts[owner][unique[here] - self.bounds[owner]]
        return block[inverse].reshape((*np.shape(wanted), *self.shape[1:]))

    def take(self, indices: npt.ArrayLike) -> JoinedStacks:
        """Stack of the frames at ``indices``; nothing is read."""
        return JoinedStacks(self.parts, self.rows[np.asarray(indices)])

    def crop(self, N: int) -> FrameStack:
        """Refused: what is joined here was cropped before."""
        raise TypeError("crop the frames before they are joined")


class JoinedFrames(JoinedStacks):
    """Stacks of files, one after the other.

    Parameters
    ----------
    parts, rows
        As for :class:`JoinedStacks`.
    """

    def __init__(self, parts: Sequence[HDF5Frames], rows: Rows | None = None) -> None:
        super().__init__(parts, rows)
        self.files = tuple(parts)
        self.is_growing = any(part.is_growing for part in self.files)
        lacks = [part.unwritten for part in self.files]
        if any(lack is not None for lack in lacks):
            nothing = [np.zeros(len(part), dtype=np.bool_) for part in self.files]
            every = [no if lack is None else lack for lack, no in zip(lacks, nothing, strict=True)]
            self.unwritten = np.concatenate(every)[self.rows]
        without = [part.unmapped for part in self.files if part.unmapped is not None]
        self.unmapped = np.logical_or.reduce(without) if without else None

    def take(self, indices: npt.ArrayLike) -> JoinedFrames:
        """Stack of the frames at ``indices``; nothing is read."""
        return JoinedFrames(self.files, self.rows[np.asarray(indices)])

    def crop(self, N: int) -> JoinedFrames:
        """Stack of the central N x N pixels, of which alone is read."""
        return JoinedFrames([part.crop(N) for part in self.files], self.rows)

    def cut(self, top: int, left: int, N: int) -> JoinedFrames:
        """Stack of the N x N pixels from row ``top`` and column ``left`` on, which alone are read."""
        return JoinedFrames([part.cut(top, left, N) for part in self.files], self.rows)
