"""Placed patches that are kept between the passes of a stitching."""

from __future__ import annotations

from torch import Tensor

from ptycho_torch.reassembly.resampling import ResampledPatches

__all__ = ["KeptPatches"]


class KeptPatches:
    """The first batches of a pass, in one block of memory.

    One block, because thousands of small ones, each freed at another time, would leave holes that the
    process never gives back.

    Parameters
    ----------
    room
        How many patches may be kept.
    """

    def __init__(self, room: int) -> None:
        self.room = room
        self._ends = [0]
        self._full = room == 0
        self._parts: tuple[Tensor, ...] = ()

    def __len__(self) -> int:
        """Number of batches that are kept."""
        return len(self._ends) - 1

    @property
    def n_patches(self) -> int:
        """Number of patches that are kept."""
        return self._ends[-1]

    def __getitem__(self, number: int) -> ResampledPatches:
        """Batch by number, as it was."""
        part = slice(self._ends[number], self._ends[number + 1])
        return ResampledPatches(*(whole[part] for whole in self._parts))

    def offer(self, resampled: ResampledPatches) -> None:
        """Keep a batch, unless it or one before it did not fit."""
        start, stop = self.n_patches, self.n_patches + len(resampled)
        self._full = self._full or stop > self.room
        if self._full:
            return
        given = (resampled.values, resampled.corner, resampled.rest)
        if not self._parts:
            # Memory that is never written to is never taken from the system.
            self._parts = tuple(part.new_empty((self.room, *part.shape[1:])) for part in given)
        for whole, part in zip(self._parts, given, strict=True):
            whole[start:stop] = part
        self._ends.append(stop)
