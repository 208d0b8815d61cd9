"""What happens beside the training loop: checkpoints, stopping, history, progress lines."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback, EarlyStopping

from ptycho_config import PyTorchExecutionConfig
from ptycho_config.errors import ConfigError, Problem
from ptycho_torch.lightning.checkpoint_io import BEST_CHECKPOINTS
from ptycho_torch.lightning.checkpoints import BestCheckpoints, LastCheckpoint, RunTimer
from ptycho_torch.lightning.collapse import COLLAPSE_METRICS, CollapseGuard
from ptycho_torch.lightning.finite import FiniteWeights
from ptycho_torch.lightning.objective import Objective

__all__ = ["EpochReport", "History", "monitored_metric", "standard_callbacks"]

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

    Parameters
    ----------
    file
        Where the rows are left when training ends, as JSON: a trainer that starts processes of its own
        brings nothing else back from them. ``None`` for nowhere.
    """

    def __init__(self, file: Path | None = None) -> None:
        self.rows: list[dict[str, float]] = []
        self.file = file
        self._validated = False

    def state_dict(self) -> dict[str, Any]:
        """Rows so far."""
        return {"rows": [dict(row) for row in self.rows]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Rows of the epochs before an interruption."""
        self.rows[:] = state_dict["rows"]

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

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leave the rows in the file, if one was named."""
        if self.file is not None and trainer.is_global_zero:
            self.file.write_text(json.dumps(self.rows))

    def collect(self) -> None:
        """Take up what other processes left in the file, and remove it."""
        if self.file is not None and self.file.is_file():
            self.rows[:] = json.loads(self.file.read_text())
            self.file.unlink()


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
        self._first = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self._started = time.monotonic()
        self._first = trainer.current_epoch

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write epoch, losses, rate and time left."""
        if not trainer.is_global_zero:
            return
        done, total = trainer.current_epoch + 1, trainer.max_epochs or 0
        # Epochs of an earlier, interrupted part are done but took no time of this one.
        timed, elapsed = done - self._first, time.monotonic() - self._started
        metrics = trainer.callback_metrics
        parts = [f"epoch {done}/{total}"]
        parts += [
            f"{name} {float(metrics[name]):.4g}" for name in ("train_loss", "val_loss") if name in metrics
        ]
        parts.append(f"{timed * _groups_per_epoch(trainer) / max(elapsed, 1e-9):.0f} groups/s")
        parts.append(f"{_clock(elapsed)} elapsed, {_clock(elapsed / timed * (total - done))} left")
        self.write("  ".join(parts))


def _groups_per_epoch(trainer: pl.Trainer) -> int:
    # Trainer attaches its data module when fitting starts, and does not declare it.
    data: Any = getattr(trainer, "datamodule")  # noqa: B009
    return len(data.train)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(math.ceil(seconds), 60)
    return f"{minutes}:{rest:02d}"


def standard_callbacks(
    execution: PyTorchExecutionConfig, checkpoint_dir: Path, *, monitor: str, identity: str
) -> list[Callback]:
    """Guards of every training, and what a configuration asks for: checkpoints and when to stop.

    Parameters
    ----------
    execution
        What to keep and when to stop.
    checkpoint_dir
        Where checkpoints go.
    monitor
        From :func:`monitored_metric`.
    identity
        What the run is made of, noted in the checkpoint it can be continued from.
    """
    # Lightning counts looks at the metric, the setting counts epochs.
    every = execution.check_val_every_n_epoch if monitor.startswith("val_") else 1
    callbacks: list[Callback] = [
        FiniteWeights(),
        RunTimer(execution.max_time),
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
            BestCheckpoints(
                dirpath=checkpoint_dir,
                filename=f"{BEST_CHECKPOINTS}{{epoch:03d}}",
                monitor=monitor,
                mode=execution.checkpoint_mode,
                save_top_k=execution.checkpoint_save_top_k,
                save_on_train_epoch_end=not monitor.startswith("val_"),
                # An epoch that was cut short may be trained again.
                enable_version_counter=False,
            )
        )
    if execution.enable_checkpointing and execution.checkpoint_save_top_k != 0:
        callbacks.append(LastCheckpoint(checkpoint_dir, identity))
    return callbacks
