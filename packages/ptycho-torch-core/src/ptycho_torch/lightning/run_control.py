"""Progress of a training, and its end on request."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback

from ptycho_torch.control import Progress, RunCancelled, ShouldStop
from ptycho_torch.lightning.checkpoints import LastCheckpoint
from ptycho_torch.lightning.restored import require_sound_state, states_of

__all__ = ["Beginning", "RunControl"]


class Beginning(Callback):
    """Knows whether training has begun, here or in a copy of this process; the last of the callbacks.

    What was restored from a checkpoint is looked at before.

    Parameters
    ----------
    copies
        Whether copies of this process train.
    """

    def __init__(self, *, copies: bool) -> None:
        # One that works with processes that are spawned and with forked ones.
        self._seen: Any = multiprocessing.get_context("spawn").Event() if copies else threading.Event()
        self._fresh: dict[str, Mapping[str, Any]] = {}

    @property
    def seen(self) -> bool:
        """Whether some process was about to take its first batch."""
        return bool(self._seen.is_set())

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Take down what the callbacks hold before anything is restored."""
        self._fresh = states_of(trainer)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note it.

        Raises
        ------
        ValueError
            If what was restored is of another kind than it has to be.
        """
        require_sound_state(trainer, self._fresh)
        self._seen.set()


class RunControl(Callback):
    """Reports every batch, and ends the training after the batch during which it was asked to.

    Parameters
    ----------
    should_stop
        Asked after every batch, in every process; one that says so ends all. None: never.
    progress
        Called after every batch of the first process, with batches done and batches of all epochs.

    Raises
    ------
    RunCancelled
        From the training, which keeps the checkpoint of the last complete epoch.
    """

    def __init__(self, should_stop: ShouldStop | None = None, progress: Progress | None = None) -> None:
        self.should_stop = should_stop
        self.progress = progress

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Report, then ask."""
        per_epoch = int(trainer.num_training_batches)
        if self.progress is not None and trainer.is_global_zero:
            self.progress(
                trainer.current_epoch * per_epoch + batch_idx + 1, per_epoch * (trainer.max_epochs or 0)
            )
        if self.should_stop is None:
            return
        # A process that stopped alone would leave the others waiting for it.
        if trainer.strategy.reduce_boolean_decision(bool(self.should_stop()), all=False):
            raise RunCancelled("training", _last_checkpoint(trainer))


def _last_checkpoint(trainer: pl.Trainer) -> Path | None:
    # The trainer has this list and does not declare it.
    callbacks: list[Callback] = getattr(trainer, "callbacks")  # noqa: B009
    paths = [keeper.path for keeper in callbacks if isinstance(keeper, LastCheckpoint)]
    return next((path for path in paths if path.exists()), None)
