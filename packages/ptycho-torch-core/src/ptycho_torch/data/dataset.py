"""Frames as tensors, fetched a batch at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypedDict

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ptycho_torch.data.sampling import Indices

__all__ = ["Batch", "GroupDataset", "as_is"]


class Batch(TypedDict):
    """One batch of groups.

    ``counts`` is float32 ``(batch, channel, N, N)``; ``frame`` is int64 ``(batch, channel)``, the
    number of each frame in its scan.
    """

    counts: Tensor
    frame: Tensor


class GroupDataset(Dataset[Batch]):
    """Groups of frames of one scan.

    The frames are held once, in the dtype they came in; a group is a row of frame numbers.

    Parameters
    ----------
    frames
        Real, ``(n, N, N)``, counts.
    groups
        int64, ``(n_groups, channel)``: frame numbers.
    """

    def __init__(self, frames: np.ndarray, groups: Indices) -> None:
        self.frames = frames
        self.groups = groups

    def __len__(self) -> int:
        return len(self.groups)

    def __getitem__(self, index: int) -> Batch:
        return self.__getitems__([index])

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        """One batch; the data loader calls this instead of collecting single groups."""
        frame = self.groups[np.asarray(indices, dtype=np.int64)]
        counts = self.frames[frame].astype(np.float32)
        return Batch(counts=torch.from_numpy(counts), frame=torch.from_numpy(frame))


def as_is(batch: Any) -> Any:
    """Collate function for batches that come whole; a name of its own so that workers can pickle it."""
    return batch
