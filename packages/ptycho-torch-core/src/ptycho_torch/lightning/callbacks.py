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

__all__ = ["EpochReport", "History", "monitored_metric", "standard_callbacks"]

_METRICS = (
    "train_loss",
    "train_poisson",
    "train_mae",
    "train_tv",
    "val_loss",
    "val_poisson",
    "val_mae",
    "val_tv",
    "val_residual",
    "val_contrast",
)


def monitored_metric(name: str, *, has_validation: bool) -> str:
    """Metric that decides which checkpoint is best.

    A ``val_`` metric without validation data becomes the training metric of the same name.

    Raises
    ------
    ConfigError
        If no such metric is logged.
    """
    if name not in _METRICS:
        expected = f"one of {', '.join(_METRICS)}"
        raise ConfigError(Problem("checkpoint_monitor_metric", name, expected))
    if has_validation or not name.startswith("val_"):
        return name
    trained = name.replace("val_", "train_", 1)
    return trained if trained in _METRICS else "train_loss"


class History(Callback):
    """Keeps the metrics of every epoch in memory: ``rows`` is a list of name-to-number mappings."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Add a row; validation of this epoch has already run."""
        row = {name: float(value) for name, value in trainer.callback_metrics.items()}
        self.rows.append({"epoch": float(trainer.current_epoch), **row})


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
    data: Any = trainer.datamodule
    return len(data.train)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(math.ceil(seconds), 60)
    return f"{minutes}:{rest:02d}"


def standard_callbacks(
    execution: PyTorchExecutionConfig, checkpoint_dir: Path, *, has_validation: bool
) -> list[Callback]:
    """Checkpoints and early stopping that a configuration asks for.

    Raises
    ------
    ConfigError
        If the monitored metric is not one that is logged.
    """
    monitor = monitored_metric(execution.checkpoint_monitor_metric, has_validation=has_validation)
    callbacks: list[Callback] = [
        EarlyStopping(
            monitor,
            patience=execution.early_stop_patience,
            mode=execution.checkpoint_mode,
            check_on_train_epoch_end=not monitor.startswith("val_"),
        )
    ]
    if execution.enable_checkpointing:
        callbacks.append(
            ModelCheckpoint(
                dirpath=checkpoint_dir,
                filename="best-{epoch:03d}",
                monitor=monitor,
                mode=execution.checkpoint_mode,
                save_top_k=execution.checkpoint_save_top_k,
                save_last=execution.checkpoint_save_top_k != 0,
                save_on_train_epoch_end=not monitor.startswith("val_"),
            )
        )
    return callbacks
