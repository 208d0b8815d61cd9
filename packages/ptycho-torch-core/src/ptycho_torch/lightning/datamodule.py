"""Feeds a training run."""

from __future__ import annotations

import lightning.pytorch as pl
import torch
from torch.utils.data import DataLoader, RandomSampler, SequentialSampler

from ptycho_config import PyTorchExecutionConfig
from ptycho_torch.data.dataset import Batch, GroupDataset, as_is

__all__ = ["ScanDataModule"]


class ScanDataModule(pl.LightningDataModule):
    """Training and validation groups.

    Parameters
    ----------
    train
        Groups to train on.
    validation
        Groups to validate on, possibly of another scan; ``None`` or empty for no validation.
    batch_size
        Groups per step.
    execution
        Loader settings.
    seed
        Seed of the batch order.
    """

    def __init__(
        self,
        train: GroupDataset,
        validation: GroupDataset | None,
        *,
        batch_size: int,
        execution: PyTorchExecutionConfig,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.train = train
        self.validation = validation
        self.batch_size = batch_size
        self.execution = execution
        self._order = torch.Generator().manual_seed(seed)
        # Loaders draw seeds for their workers. Taken from the generator of the order, or from the
        # global one, the number of workers would change what is trained.
        self._worker_seeds = torch.Generator().manual_seed(seed)

    def train_dataloader(self) -> DataLoader[Batch]:
        """Batches in a new random order every epoch."""
        return self._loader(self.train, shuffle=True)

    def val_dataloader(self) -> DataLoader[Batch] | list[DataLoader[Batch]]:
        """Batches in a fixed order; an empty list when there is nothing to validate on."""
        if self.validation is None or len(self.validation) == 0:
            return []
        return self._loader(self.validation, shuffle=False)

    def _loader(self, dataset: GroupDataset, *, shuffle: bool) -> DataLoader[Batch]:
        workers = self.execution.num_workers
        sampler = RandomSampler(dataset, generator=self._order) if shuffle else SequentialSampler(dataset)
        return DataLoader(
            dataset,
            batch_size=self.batch_size,
            sampler=sampler,
            generator=self._worker_seeds,
            num_workers=workers,
            pin_memory=self.execution.pin_memory,
            persistent_workers=self.execution.persistent_workers,
            prefetch_factor=self.execution.prefetch_factor,
            collate_fn=as_is,
            # Forking a process that runs OpenMP threads can hang the child.
            multiprocessing_context="spawn" if workers else None,
        )
