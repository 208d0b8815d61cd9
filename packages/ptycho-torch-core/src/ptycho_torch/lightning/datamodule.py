"""Feeds a training run."""

from __future__ import annotations

import lightning.pytorch as pl
import torch
from torch.utils.data import DataLoader

from ptycho_config import PyTorchExecutionConfig
from ptycho_torch.data.groups.dataset import Batch, ScanGroups, as_is
from ptycho_torch.lightning.batches import SharedBatches

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
        Groups per step, of all processes together.
    execution
        Loader settings.
    seed
        Seed of the batch order.
    """

    def __init__(
        self,
        train: ScanGroups,
        validation: ScanGroups | None,
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
        self.seed = seed

    def train_dataloader(self) -> DataLoader[Batch]:
        """Batches in a new random order every epoch."""
        return self._loader(self.train, shuffle=True)

    def val_dataloader(self) -> DataLoader[Batch] | list[DataLoader[Batch]]:
        """Batches in a fixed order; an empty list when there is nothing to validate on."""
        if self.validation is None or len(self.validation) == 0:
            return []
        return self._loader(self.validation, shuffle=False)

    def rows_of(self, stage: str, batch: int) -> tuple[int, int]:
        """Groups of this process and of all processes in a batch of ``"train"`` or ``"val"``."""
        dataset = self.train if stage == "train" else self.validation
        assert dataset is not None
        return self._batches(dataset, shuffle=False).rows_of(batch)

    def _batches(self, dataset: ScanGroups, *, shuffle: bool) -> SharedBatches:
        trainer = self.trainer
        return SharedBatches(
            dataset.parts,
            self.batch_size,
            seed=self.seed if shuffle else None,
            process=0 if trainer is None else trainer.global_rank,
            n_processes=1 if trainer is None else trainer.world_size,
        )

    def _loader(self, dataset: ScanGroups, *, shuffle: bool) -> DataLoader[Batch]:
        workers = self.execution.num_workers
        return DataLoader(
            dataset,
            batch_sampler=self._batches(dataset, shuffle=shuffle),
            # Loaders draw seeds for their workers. Taken from the global generator, the number of workers
            # would change what is trained.
            generator=torch.Generator().manual_seed(self.seed),
            num_workers=workers,
            pin_memory=self.execution.pin_memory,
            persistent_workers=workers > 0 and self.execution.persistent_workers is not False,
            prefetch_factor=self.execution.prefetch_factor,
            collate_fn=as_is,
            # Forking a process that runs OpenMP threads can hang the child.
            multiprocessing_context="spawn" if workers else None,
        )
