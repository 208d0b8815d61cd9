"""Batches of one order, shared among the processes of a run."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler

__all__ = ["SharedBatches"]


class SharedBatches(Sampler[list[int]]):
    """Batches in an order that depends on seed and epoch alone, and the part of one process in each.

    The order and the batches are those of the whole run, so what is trained does not depend on the
    number of processes. A process takes every ``n_processes``-th row of a batch. Where a last batch
    has too few rows for all, the others receive its first row to keep in step with; :meth:`rows_of`
    says that it is not theirs.

    Parameters
    ----------
    n_rows
        Rows in all; each comes once per epoch.
    batch_size
        Rows per batch of the whole run.
    seed
        Seed of the order; ``None`` keeps the rows as they are.
    process, n_processes
        Which process this is, of how many.
    """

    def __init__(
        self, n_rows: int, batch_size: int, *, seed: int | None, process: int = 0, n_processes: int = 1
    ) -> None:
        self.n_rows = n_rows
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
        return -(-self.n_rows // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        # Persistent workers make an iterator and drop it unused: it counts for nothing, as nothing has run.
        order = np.arange(self.n_rows)
        if self.seed is not None:
            order = np.random.default_rng([self.seed, self._epoch]).permutation(order)
        self._epoch += 1
        for batch in range(len(self)):
            yield self._share(order, batch)

    def _share(self, order: np.ndarray, batch: int) -> list[int]:
        rows = order[batch * self.batch_size : (batch + 1) * self.batch_size]
        mine = rows[self.process :: self.n_processes]
        return (mine if len(mine) else rows[:1]).tolist()

    def rows_of(self, batch: int) -> tuple[int, int]:
        """Rows of this process and of all processes in a batch, counted from 0."""
        total = min(self.batch_size, self.n_rows - batch * self.batch_size)
        return max(0, -(-(total - self.process) // self.n_processes)), total
