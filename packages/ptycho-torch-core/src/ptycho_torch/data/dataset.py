"""Frames as tensors, fetched a batch at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NotRequired, TypedDict

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ptycho_torch.data.labels import LabelSource
from ptycho_torch.data.sampling import Indices

__all__ = ["Batch", "GroupDataset", "as_is"]


class Batch(TypedDict):
    """One batch of groups.

    ``counts`` is float32 ``(batch, channel, N, N)``; ``frame`` is int64 ``(batch, channel)``, the
    number of each frame in its scan; ``offsets`` is float32 ``(batch, channel, 2)``, ``[y, x]`` in px,
    the position of each frame less the centre of its group. ``labels``, if known, are complex64
    ``(batch, channel, N, N)``.
    """

    counts: Tensor
    offsets: Tensor
    frame: Tensor
    labels: NotRequired[Tensor]


class GroupDataset(Dataset[Batch]):
    """Groups of frames of one scan.

    The frames are held once, in the dtype they came in; a group is a row of frame numbers.

    Parameters
    ----------
    frames
        Real, ``(n, N, N)``, counts.
    groups
        int64, ``(n_groups, channel)``: frame numbers.
    offsets
        Float, ``(n_groups, channel, 2)``, ``[y, x]`` in px, from the centre of each group; zero if not
        given.
    labels
        Gives the known patches of frames; ``None`` if there are none.
    """

    def __init__(
        self,
        frames: np.ndarray,
        groups: Indices,
        offsets: np.ndarray | None = None,
        labels: LabelSource | None = None,
    ) -> None:
        self.frames = frames
        self.groups = groups
        self.offsets = np.zeros((*groups.shape, 2)) if offsets is None else offsets
        self.labels = labels

    def __len__(self) -> int:
        return len(self.groups)

    def __getitem__(self, index: int) -> Batch:
        return self.__getitems__([index])

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        """One batch; the data loader calls this instead of collecting single groups."""
        chosen = np.asarray(indices, dtype=np.int64)
        frame = self.groups[chosen]
        # One row of frames after the other: a lazily read source takes a plain list of numbers.
        counts = (
            self.frames[frame.reshape(-1)].astype(np.float32).reshape(*frame.shape, *self.frames.shape[1:])
        )
        batch = Batch(
            counts=torch.from_numpy(counts),
            offsets=torch.from_numpy(self.offsets[chosen].astype(np.float32)),
            frame=torch.from_numpy(frame),
        )
        if self.labels is not None:
            batch["labels"] = self.labels.patches(frame)
        return batch


def as_is(batch: Any) -> Any:
    """Collate function for batches that come whole; a name of its own so that workers can pickle it."""
    return batch
