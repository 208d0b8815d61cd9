"""Frames as tensors, fetched a batch at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NotRequired, TypeAlias, TypedDict

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ptycho_torch.data.groups.labels import LabelSource
from ptycho_torch.data.groups.sampling import Indices
from ptycho_torch.data.scan.lazy import Frames

__all__ = ["Batch", "GroupDataset", "ScanGroups", "SeveralScans", "as_is"]


class Batch(TypedDict):
    """One batch of groups.

    All groups of a batch are of one scan, ``scan``, counted from 0. ``counts`` is float32
    ``(batch, channel, N, N)``; ``frame`` is int64 ``(batch, channel)``, the number of each frame in its
    scan; ``offsets`` is float32 ``(batch, channel, 2)``, ``[y, x]`` in px, the position of each frame less
    the centre of its group. ``labels``, if known, are complex64 ``(batch, channel, N, N)``.
    """

    counts: Tensor
    offsets: Tensor
    frame: Tensor
    scan: int
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
    scan
        Number of the scan among those of the model.
    """

    def __init__(
        self,
        frames: Frames,
        groups: Indices,
        offsets: np.ndarray | None = None,
        labels: LabelSource | None = None,
        scan: int = 0,
    ) -> None:
        self.frames = frames
        self.groups = groups
        self.offsets = np.zeros((*groups.shape, 2)) if offsets is None else offsets
        self.labels = labels
        self.scan = scan

    @property
    def scans(self) -> tuple[GroupDataset, ...]:
        """The groups of each scan: here of one."""
        return (self,)

    @property
    def parts(self) -> tuple[int, ...]:
        """How many groups lie one after the other that may share a batch: here all of them."""
        return (len(self.groups),)

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
            scan=self.scan,
        )
        if self.labels is not None:
            batch["labels"] = self.labels.patches(frame)
        return batch


class SeveralScans(Dataset[Batch]):
    """Groups of several scans, one scan after the other; a batch is of one of them.

    Parameters
    ----------
    scans
        Groups of each scan.
    """

    def __init__(self, scans: Sequence[GroupDataset]) -> None:
        self.scans = tuple(scans)
        self._ends = np.cumsum([len(scan) for scan in self.scans])

    @property
    def parts(self) -> tuple[int, ...]:
        """Groups of each scan."""
        return tuple(len(scan) for scan in self.scans)

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, index: int) -> Batch:
        return self.__getitems__([index])

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        """One batch.

        Raises
        ------
        ValueError
            If the groups are of different scans, which have different probes.
        """
        chosen = np.asarray(indices, dtype=np.int64)
        first, last = np.searchsorted(self._ends, [chosen.min(), chosen.max()], side="right")
        if first != last:
            raise ValueError(f"indices: expected groups of one scan, got some of scans {first} and {last}")
        scan = self.scans[first]
        return scan.__getitems__((chosen - (self._ends[first] - len(scan))).tolist())


ScanGroups: TypeAlias = GroupDataset | SeveralScans
"""Groups of one scan or of several."""


def as_is(batch: Any) -> Any:
    """Collate function for batches that come whole; a name of its own so that workers can pickle it."""
    return batch
