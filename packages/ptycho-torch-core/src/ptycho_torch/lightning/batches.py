"""Batches of one order, shared among the processes of a run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from torch.utils.data import Sampler

__all__ = ["SharedBatches"]


class SharedBatches(Sampler[list[int]]):
    """Batches in an order that depends on seed and epoch alone, and the part of one process in each.

    The order and the batches are those of the whole run, so what is trained does not depend on the
    number of processes. A process takes every ``n_processes``-th row of a batch. Where a last batch
    has too few rows for all, the others receive its first row to keep in step with; :meth:`rows_of`
    says that it is not theirs.

    Rows of different parts never share a batch. Full batches come in a random order of all parts, then the
    smaller ones that are left, so that the sizes of the batches are the same in every epoch.

    Parameters
    ----------
    parts
        Rows of each part, which lie one after the other; each row comes once per epoch.
    batch_size
        Rows per batch of the whole run.
    seed
        Seed of the order; ``None`` keeps the rows as they are.
    process, n_processes
        Which process this is, of how many.
    """

    def __init__(
        self,
        parts: Sequence[int],
        batch_size: int,
        *,
        seed: int | None,
        process: int = 0,
        n_processes: int = 1,
    ) -> None:
        self.parts = tuple(parts)
        self.batch_size = batch_size
        self.seed = seed
        self.process = process
        self.n_processes = n_processes
        self._epoch = 0

    @property
    def sampler(self) -> SharedBatches:
        """This object: trainers look here for something that wants to know the epoch."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order comes next; without being told, the next one."""
        self._epoch = epoch

    def __len__(self) -> int:
        return sum(-(-part // self.batch_size) for part in self.parts)

    def __iter__(self) -> Iterator[list[int]]:
        # Persistent workers make an iterator and drop it unused: it counts for nothing, as nothing has run.
        random = None if self.seed is None else np.random.default_rng([self.seed, self._epoch])
        self._epoch += 1
        for rows in self._whole_batches(random):
            mine = rows[self.process :: self.n_processes]
            yield (mine if len(mine) else rows[:1]).tolist()

    def _whole_batches(self, random: np.random.Generator | None) -> list[npt.NDArray[np.int64]]:
        full, rest, start = [], [], 0
        for part in self.parts:
            order = np.arange(start, start + part)
            order = order if random is None else random.permutation(order)
            cuts = np.split(order, range(self.batch_size, part, self.batch_size)) if part else []
            full += [cut for cut in cuts if len(cut) == self.batch_size]
            rest += [cut for cut in cuts if len(cut) < self.batch_size]
            start += part
        if random is not None and len(self.parts) > 1:
            full = [full[i] for i in random.permutation(len(full))]
        return full + rest

    def rows_of(self, batch: int) -> tuple[int, int]:
        """Rows of this process and of all processes in a batch, counted from 0."""
        n_full = sum(part // self.batch_size for part in self.parts)
        left = [part % self.batch_size for part in self.parts if part % self.batch_size]
        total = self.batch_size if batch < n_full else left[batch - n_full]
        return max(0, -(-(total - self.process) // self.n_processes)), total
