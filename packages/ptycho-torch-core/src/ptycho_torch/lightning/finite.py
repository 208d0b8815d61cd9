"""The end of a training whose weights are no longer numbers, before anything of them is kept."""

from __future__ import annotations

import math
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback

__all__ = ["FiniteWeights", "WeightsNotFinite"]

_LOSSES = {"train_loss": "training loss", "val_loss": "validation loss"}


class WeightsNotFinite(FloatingPointError):
    """A weight became NaN or infinite; the message names the epoch."""


class FiniteWeights(Callback):
    """Looks at the weights before a checkpoint may be written of them.

    Raises
    ------
    WeightsNotFinite
        From the training, which keeps the checkpoints that it has.
    """

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Checkpoints that follow the validation are written after this."""
        self._look(trainer, pl_module)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """All others are written after this."""
        self._look(trainer, pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """An epoch that was cut short has no other end."""
        self._look(trainer, pl_module)

    def _look(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # A process that ended alone would leave the others waiting for it.
        bad = trainer.strategy.reduce_boolean_decision(not _are_finite(pl_module), all=False)
        if bad:
            what = _culprit({name: float(value) for name, value in trainer.callback_metrics.items()})
            raise WeightsNotFinite(f"the {what} in epoch {trainer.current_epoch + 1}")


@torch.no_grad()
def _are_finite(module: torch.nn.Module) -> bool:
    # One answer for all of them: each would wait for the device.
    answers = [value.isfinite().all() for value in module.parameters()]
    return not answers or bool(torch.stack(answers).all())


def _culprit(metrics: dict[str, Any]) -> str:
    """What to tell: a loss, if one says it too."""
    for name, words in _LOSSES.items():
        if not math.isfinite(metrics.get(name, 0.0)):
            return f"{words} became {metrics[name]}"
    return "weights became NaN or infinite"
