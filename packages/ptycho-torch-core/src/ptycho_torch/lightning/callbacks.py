"""What happens beside the training loop: checkpoints, stopping, history, progress lines."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint

from ptycho_config import PyTorchExecutionConfig
from ptycho_config.errors import ConfigError, Problem
from ptycho_torch.lightning.collapse import COLLAPSE_METRICS, CollapseGuard
from ptycho_torch.lightning.objective import Objective

__all__ = ["LAST_CHECKPOINT", "EpochReport", "History", "monitored_metric", "standard_callbacks"]

LAST_CHECKPOINT = "last"
"""Stem of the checkpoint of the last complete epoch."""

_VALIDATION_ONLY = ("val_residual", "val_contrast", *COLLAPSE_METRICS)


def monitored_metric(name: str, objective: Objective, *, has_validation: bool) -> str:
    """Metric that decides which checkpoint is best.

    A ``val_`` metric without validation data becomes the training metric of the same name, or the
    training loss if there is none.

    Parameters
    ----------
    name
        Setting ``checkpoint_monitor_metric``.
    objective
        Its terms are logged.
    has_validation
        Whether there is validation data.

    Raises
    ------
    ConfigError
        If no such metric is logged.
    """
    terms = ("loss", *objective.terms)
    known = (*(f"{stage}_{term}" for stage in ("train", "val") for term in terms), *_VALIDATION_ONLY)
    if name not in known:
        hint = "a loss term is logged when its weight is above 0"
        raise ConfigError(Problem("checkpoint_monitor_metric", name, f"one of {', '.join(known)}", hint))
    if has_validation or not name.startswith("val_"):
        return name
    return "train_loss" if name in _VALIDATION_ONLY else name.replace("val_", "train_", 1)


class History(Callback):
    """Keeps the metrics of every epoch in memory: ``rows`` is a list of name-to-number mappings.

    Validation metrics are there in the epochs that were validated, and only there.
    """

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []
        self._validated = False

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note that the validation metrics are of this epoch."""
        self._validated = True

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Add a row; validation of this epoch has already run."""
        row = {
            name: float(value)
            for name, value in trainer.callback_metrics.items()
            if self._validated or not name.startswith("val_")
        }
        self.rows.append({"epoch": float(trainer.current_epoch), **row})
        self._validated = False


class EpochReport(Callback):
    """One plain line per epoch, for terminals that do not redraw.

    Parameters
    ----------
    write
        Receives each line, without a line end.
    """

    def __init__(self, write: Callable[[str], None]) -> None:
        self.write = write
        self._started = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self._started = time.monotonic()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write epoch, losses, rate and time left."""
        done, total = trainer.current_epoch + 1, trainer.max_epochs or 0
        elapsed = time.monotonic() - self._started
        metrics = trainer.callback_metrics
        parts = [f"epoch {done}/{total}"]
        parts += [
            f"{name} {float(metrics[name]):.4g}" for name in ("train_loss", "val_loss") if name in metrics
        ]
        parts.append(f"{done * _groups_per_epoch(trainer) / max(elapsed, 1e-9):.0f} groups/s")
        parts.append(f"{_clock(elapsed)} elapsed, {_clock(elapsed / done * (total - done))} left")
        self.write("  ".join(parts))


def _groups_per_epoch(trainer: pl.Trainer) -> int:
    # Trainer attaches its data module when fitting starts, and does not declare it.
    data: Any = getattr(trainer, "datamodule")  # noqa: B009
    return len(data.train)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(math.ceil(seconds), 60)
    return f"{minutes}:{rest:02d}"


def standard_callbacks(
    execution: PyTorchExecutionConfig, checkpoint_dir: Path, *, monitor: str
) -> list[Callback]:
    """The guard against a collapse, and the checkpoints and early stopping that a configuration asks for.

    The best checkpoints are the first checkpoint callback; the one of the last epoch is beside them.

    Parameters
    ----------
    execution
        What to keep and when to stop.
    checkpoint_dir
        Where checkpoints go.
    monitor
        From :func:`monitored_metric`.
    """
    # Lightning counts looks at the metric, the setting counts epochs.
    every = execution.check_val_every_n_epoch if monitor.startswith("val_") else 1
    callbacks: list[Callback] = [
        CollapseGuard(),
        EarlyStopping(
            monitor,
            patience=math.ceil(execution.early_stop_patience / every),
            mode=execution.checkpoint_mode,
            check_on_train_epoch_end=not monitor.startswith("val_"),
        ),
    ]
    if execution.enable_checkpointing:
        callbacks.append(
            ModelCheckpoint(
                dirpath=checkpoint_dir,
                filename="best-{epoch:03d}",
                monitor=monitor,
                mode=execution.checkpoint_mode,
                save_top_k=execution.checkpoint_save_top_k,
                save_on_train_epoch_end=not monitor.startswith("val_"),
            )
        )
    if execution.enable_checkpointing and execution.checkpoint_save_top_k != 0:
        # The option `save_last` of the other one keeps the last improvement, not the last epoch.
        callbacks.append(
            ModelCheckpoint(
                dirpath=checkpoint_dir,
                filename=LAST_CHECKPOINT,
                save_on_train_epoch_end=True,
                enable_version_counter=False,
            )
        )
    return callbacks
