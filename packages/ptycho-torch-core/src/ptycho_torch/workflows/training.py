"""Train a model on a scan and leave a complete run behind."""

from __future__ import annotations

import logging
import math
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint

from ptycho_config import write_resolved
from ptycho_torch.bundle import BUNDLE_NAME, installed_versions, save_bundle
from ptycho_torch.config_factory import TrainingPayload
from ptycho_torch.control import Progress, ShouldStop
from ptycho_torch.lightning.callbacks import LAST_CHECKPOINT, History, monitored_metric, standard_callbacks
from ptycho_torch.lightning.control import RunControl
from ptycho_torch.lightning.datamodule import ScanDataModule
from ptycho_torch.lightning.module import PtychoModule
from ptycho_torch.lightning.objective import Objective
from ptycho_torch.models import PatchModel
from ptycho_torch.plotting import save_training_figure
from ptycho_torch.workflows.device import numerics, require_means, resolve_accelerator
from ptycho_torch.workflows.preparation import PreparedTraining, prepare_training
from ptycho_torch.workflows.reconstruction import reconstruct
from ptycho_torch.workflows.run_directory import RunDirectory
from ptycho_torch.workflows.trainer import build_trainer, fit_warnings

__all__ = ["TRAINING_FILES", "TrainingFailed", "TrainingInterrupted", "TrainingOutcome", "train"]

logger = logging.getLogger(__name__)

_CHECKPOINTS, _LOGS, _RESOLVED, _FIGURE = "checkpoints", "logs", "resolved_config.json", "training.png"
TRAINING_FILES = (BUNDLE_NAME, _RESOLVED, _FIGURE, _CHECKPOINTS, _LOGS)


class TrainingFailed(RuntimeError):
    """The optimisation itself went wrong; the data and the settings could be read."""


class TrainingInterrupted(KeyboardInterrupt):
    """Training was interrupted; ``checkpoint`` is the last one kept, or ``None``."""

    def __init__(self, checkpoint: Path | None) -> None:
        self.checkpoint = checkpoint
        kept = "no checkpoint was written yet" if checkpoint is None else f"last checkpoint: {checkpoint}"
        super().__init__(f"training was interrupted; {kept}")


@dataclass(frozen=True, kw_only=True)
class TrainingOutcome:
    """What a training left behind.

    Attributes
    ----------
    output_dir
        Folder of the run.
    bundle
        The model bundle, best weights.
    best_checkpoint
        Checkpoint the weights came from; ``None`` if none were kept.
    metrics
        Last value of every logged metric.
    files
        Everything written.
    model
        The trained model, on the CPU.
    history
        Metrics of every epoch.
    """

    output_dir: Path
    bundle: Path
    best_checkpoint: Path | None
    metrics: Mapping[str, float]
    files: tuple[Path, ...]
    model: PatchModel = field(repr=False)
    history: Sequence[Mapping[str, float]] = field(repr=False)


def train(
    payload: TrainingPayload,
    *,
    callbacks: Sequence[Callback] = (),
    should_stop: ShouldStop | None = None,
    progress: Progress | None = None,
    overwrite: bool = False,
    command: Sequence[str] | None = None,
) -> TrainingOutcome:
    """Train, save the best weights as a bundle, and draw what was learned.

    Parameters
    ----------
    payload
        From :func:`ptycho_torch.config_factory.create_training_payload`.
    callbacks
        Further Lightning callbacks.
    should_stop
        Asked after every batch; its first true answer ends the training.
    progress
        Called after every batch with batches done and batches in all epochs.
    overwrite
        Replace the results of an older run in the same directory once this one is complete.
    command
        Command line, for the record.

    Returns
    -------
    TrainingOutcome

    Raises
    ------
    ConfigError
        If the settings do not fit the data or the directory holds other results.
    DataError
        If a scan breaks the data contract. Nothing has been written then.
    TrainingFailed
        If the loss stops being a finite number.
    TrainingInterrupted
        On Ctrl-C.
    RunCancelled
        When ``should_stop`` said so; it names the last checkpoint.
    """
    config = payload.training_config
    run = RunDirectory.check(config.output_dir, TRAINING_FILES, overwrite=overwrite)
    accelerator = resolve_accelerator(payload.execution_config.accelerator)
    require_means(payload.execution_config, accelerator)
    prepared = prepare_training(payload)
    monitor = monitored_metric(
        payload.execution_config.checkpoint_monitor_metric,
        Objective.from_config(config),
        has_validation=len(prepared.validation) > 0,
    )
    work = run.open()
    write_resolved(
        work / _RESOLVED, payload.resolution, versions=installed_versions(), command=list(command or ())
    )
    history = History()
    callbacks = [*callbacks, RunControl(should_stop, progress)]
    with numerics():
        standard = standard_callbacks(payload.execution_config, work / _CHECKPOINTS, monitor=monitor)
        trainer = build_trainer(payload, prepared, work, accelerator, [*standard, history, *callbacks])
        module = PtychoModule(
            prepared.model,
            config,
            payload.execution_config,
            has_validation=len(prepared.validation) > 0,
        )
        _fit(trainer, module, _data_module(payload, prepared), work)
        _require_finite(history.rows)
        best = _restore_best(trainer, prepared.model)
        _write_results(payload, prepared, history.rows, work)
    files = run.publish()
    return TrainingOutcome(
        output_dir=run.path,
        bundle=run.path / BUNDLE_NAME,
        best_checkpoint=None if best is None else run.path / _CHECKPOINTS / best.name,
        metrics={name: value for row in history.rows for name, value in row.items()},
        files=files,
        model=prepared.model,
        history=history.rows,
    )


def _data_module(payload: TrainingPayload, prepared: PreparedTraining) -> ScanDataModule:
    return ScanDataModule(
        prepared.train,
        prepared.validation,
        batch_size=payload.training_config.batch_size,
        execution=payload.execution_config,
        seed=payload.training_config.seed,
    )


def _fit(trainer: pl.Trainer, module: PtychoModule, data: ScanDataModule, work: Path) -> None:
    handler = signal.getsignal(signal.SIGINT)
    try:
        with fit_warnings():
            trainer.fit(module, datamodule=data)
    except SystemExit:
        # Newer versions of Lightning turn Ctrl-C into an exit of the process, older ones return.
        if not trainer.interrupted:
            raise
    if trainer.interrupted:
        # Lightning leaves the signal ignored.
        signal.signal(signal.SIGINT, handler)
        last = work / _CHECKPOINTS / f"{LAST_CHECKPOINT}.ckpt"
        raise TrainingInterrupted(last if last.exists() else None)


def _require_finite(rows: Sequence[Mapping[str, float]]) -> None:
    if not rows:
        raise TrainingFailed("training ended before the first epoch was complete; allow more time")
    for name, word in (("train_loss", "training"), ("val_loss", "validation")):
        loss = rows[-1].get(name, 0.0)
        if not math.isfinite(loss):
            raise TrainingFailed(
                f"the {word} loss became {loss} in epoch {int(rows[-1]['epoch']) + 1}; lower the "
                "learning rate or set a gradient clip value"
            )


def _restore_best(trainer: pl.Trainer, model: PatchModel) -> Path | None:
    """Load the best weights into the model; returns the checkpoint they came from."""
    keeper = trainer.checkpoint_callback
    if not isinstance(keeper, ModelCheckpoint) or not keeper.best_model_path:
        logger.warning("no checkpoint was kept: the bundle holds the weights of the last epoch")
        model.cpu()
        return None
    path = Path(keeper.best_model_path)
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    model.cpu().load_state_dict({name.removeprefix("model."): value for name, value in state.items()})
    return path


def _write_results(
    payload: TrainingPayload,
    prepared: PreparedTraining,
    rows: Sequence[Mapping[str, float]],
    work: Path,
) -> None:
    resolution = payload.resolution
    save_bundle(work / BUNDLE_NAME, prepared.model, resolution.values(), resolution.to_dict())
    result = reconstruct(prepared.model, prepared.scan, batch_size=payload.training_config.batch_size)
    names = ("train_loss", "val_loss")
    logged = set().union(*rows)
    curves = {name: [row.get(name, math.nan) for row in rows] for name in names if name in logged}
    curves["epoch"] = [row["epoch"] + 1 for row in rows]
    save_training_figure(work / _FIGURE, curves, result.object)
