"""Train a model on a scan and leave a complete run behind."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from torch.multiprocessing.spawn import ProcessRaisedException

from ptycho_config import (
    ConfigError,
    Problem,
    PyTorchExecutionConfig,
    Resolution,
    TrainingConfig,
    write_resolved,
)
from ptycho_torch.bundle import BUNDLE_NAME, installed_versions, save_bundle
from ptycho_torch.bundle.checkpoint import checkpoint_content
from ptycho_torch.config_factory import TrainingPayload
from ptycho_torch.control import Progress, ShouldStop, stage_of
from ptycho_torch.lightning.callbacks import History, monitored_metric, standard_callbacks
from ptycho_torch.lightning.checkpoint_io import LAST_CHECKPOINT
from ptycho_torch.lightning.checkpoints import SelfDescription
from ptycho_torch.lightning.control import Beginning, RunControl
from ptycho_torch.lightning.datamodule import ScanDataModule
from ptycho_torch.lightning.finite import WeightsNotFinite
from ptycho_torch.lightning.loggers import LOGS, relocate_logs
from ptycho_torch.lightning.module import PtychoModule
from ptycho_torch.lightning.objective import Objective
from ptycho_torch.lightning.quiet import QuietCopies
from ptycho_torch.models import PatchModel
from ptycho_torch.workflows.jobs.logged_pictures import reconstruction_images
from ptycho_torch.workflows.jobs.preparation import PreparedTraining, prepare_training
from ptycho_torch.workflows.jobs.trainer import build_trainer, run_trainer
from ptycho_torch.workflows.jobs.training_pictures import TRAINING_PICTURES, write_training_pictures
from ptycho_torch.workflows.processes.copies import (
    reached,
    require_importable_script,
    require_sendable,
    starts_copies,
    told_by_copy,
)
from ptycho_torch.workflows.processes.device import numerics, require_means, resolve_accelerator
from ptycho_torch.workflows.processes.distributed import (
    from_first_process,
    is_first_process,
    resolve_strategy,
)
from ptycho_torch.workflows.processes.meeting import awaited
from ptycho_torch.workflows.runs.beginning import nothing_left_unless
from ptycho_torch.workflows.runs.directory import RESOLVED_NAME, RunDirectory
from ptycho_torch.workflows.runs.leaving import Leaving
from ptycho_torch.workflows.runs.resume import (
    ResumePoint,
    check_same_settings,
    identity_of,
    remove_strays,
    resume_point,
)

__all__ = ["TRAINING_FILES", "TrainingFailed", "TrainingInterrupted", "TrainingOutcome", "train"]

logger = logging.getLogger(__name__)

_COMMAND = "train"
_CHECKPOINTS = "checkpoints"
_ROWS = ".history.json"
TRAINING_FILES = (BUNDLE_NAME, RESOLVED_NAME, *TRAINING_PICTURES, _CHECKPOINTS, LOGS, _ROWS)


class TrainingFailed(RuntimeError):
    """The optimisation itself went wrong; the data and the settings could be read."""


class TrainingInterrupted(KeyboardInterrupt):
    """Training was interrupted; ``checkpoint`` is the last one kept, or ``None``."""

    def __init__(self, checkpoint: Path | None) -> None:
        self.checkpoint = checkpoint
        kept = "no checkpoint was written yet" if checkpoint is None else f"last checkpoint: {checkpoint}"
        super().__init__(f"training was interrupted; {kept}; resume (--resume) to go on")


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
    resume: bool = False,
    command: Sequence[str] | None = None,
    record: Mapping[str, Any] | None = None,
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
        Called after every batch with batches done and batches in all epochs; reading, and predicting the
        object that is drawn at the end, are stages of their own.
    overwrite
        Replace the results of an older run in the same directory once this one is complete.
    resume
        Continue the run in the directory after an interruption. The weights become those of a run that
        was not interrupted. More epochs or more time than before extend a run that had ended.
    command
        Command line, for the record.
    record
        What the caller wants to find again in the bundle and in every checkpoint; plain data.

    Returns
    -------
    TrainingOutcome

    Raises
    ------
    ConfigError
        If the settings do not fit the data or the directory holds other results; on resuming, if there
        is no run or it was started with other settings or data.
    DataError
        If a scan breaks the data contract. Nothing has been written then.
    TrainingFailed
        If the loss or a weight stops being a finite number; it names the last checkpoint before that.
    TrainingInterrupted
        On Ctrl-C.
    RunCancelled
        When ``should_stop`` said so; it names the last checkpoint.
    ResultsIncomplete
        If a picture or the page could not be written; all other files have been.
    OSError
        If the disk is full or write-protected; what was there before is whole.
    """
    config, execution = payload.training_config, payload.execution_config
    accelerator = resolve_accelerator(execution.accelerator)
    # First of all: a script that is run again must not get as far as to find its own output directory taken.
    require_importable_script(execution, accelerator)
    run = _find_place(payload, overwrite=overwrite, resume=resume)
    require_means(execution, accelerator)
    resolve_strategy(execution, accelerator)
    prepared = prepare_training(payload, progress=stage_of(progress, "reading", "frame"))
    require_sendable(execution, accelerator, generator=type(prepared.model.generator), callbacks=callbacks)
    identity = identity_of(prepared.datasets, prepared.probes)
    monitor = monitored_metric(
        execution.checkpoint_monitor_metric,
        Objective.from_config(config),
        has_validation=len(prepared.validation) > 0,
    )
    images = reconstruction_images(execution, prepared, run.work / LOGS, batch_size=config.batch_size)
    with run.at_work() as work:
        point = _begin(run, payload.resolution, identity, command=list(command or ()))
        rows: Sequence[Mapping[str, float]] = list(point.rows)
        with numerics():
            if not point.ended:
                standard = standard_callbacks(
                    execution, work / _CHECKPOINTS, monitor=monitor, identity=identity
                )
                described = SelfDescription(payload.resolution.values(), record or {})
                control = _control(execution, accelerator, work, should_stop, progress)
                with control as (asked, heard):
                    all_callbacks = [*standard, described, *images, *callbacks, RunControl(asked, heard)]
                    point, rows = _fit(config, execution, prepared, work, accelerator, all_callbacks, point)
            _require_finite(rows, work)
            drawing = stage_of(progress, "predicting", "group")
            best, files, state = from_first_process(
                lambda: _conclude(payload, prepared, run, point, rows, drawing, record or {})
            )
    prepared.model.cpu().load_state_dict(state)
    return TrainingOutcome(
        output_dir=run.path,
        bundle=run.path / BUNDLE_NAME,
        best_checkpoint=best,
        metrics={name: value for row in rows for name, value in row.items()},
        files=files,
        model=prepared.model,
        history=rows,
    )


def _find_place(payload: TrainingPayload, *, overwrite: bool, resume: bool) -> RunDirectory:
    path, resolution = payload.training_config.output_dir, payload.resolution
    if resume:
        run = RunDirectory.resume(path, _COMMAND, TRAINING_FILES, writes=is_first_process())
        check_same_settings(resolution, run.work / RESOLVED_NAME)
        return run
    if is_first_process():
        read = (*payload.train_data, *(payload.test_data or ()), payload.training_config.reader)
        return RunDirectory.check(
            path, _COMMAND, TRAINING_FILES, overwrite=overwrite, resumable=True, inputs=read
        )
    return RunDirectory.beside(path, _COMMAND, TRAINING_FILES)


def _conclude(
    payload: TrainingPayload,
    prepared: PreparedTraining,
    run: RunDirectory,
    point: ResumePoint,
    rows: Sequence[Mapping[str, float]],
    drawing: Progress | None,
    record: Mapping[str, Any],
) -> tuple[Path | None, tuple[Path, ...], dict[str, Any]]:
    """Write what is missing; returns the best checkpoint, all files, and the best weights."""
    resolution = payload.resolution
    _load_best(prepared.model, point.best)
    made_from, leaving = _checksum(point.checkpoint), Leaving(run.work)
    if is_first_process() and not (point.ended and run.is_complete(made_from)):
        # Without the model there is nothing to draw, so a failure here ends the run.
        bundle = run.work / BUNDLE_NAME
        save_bundle(bundle, prepared.model, resolution.values(), resolution.to_dict(), record)
        config, sources = payload.training_config, payload.train_data
        write_training_pictures(leaving, config, sources, prepared, rows, drawing)
    relocate_logs(run.work / LOGS, run.path / LOGS)
    # A run with files missing was made from no checkpoint, so that resuming it writes them.
    files = run.publish("" if leaving.failures else made_from)
    leaving.require_all(run.path, files, hint="resume (--resume) to write them")
    best = None if point.best is None else run.path / _CHECKPOINTS / point.best.name
    return best, files, prepared.model.state_dict()


def _begin(run: RunDirectory, resolution: Resolution, identity: str, *, command: list[str]) -> ResumePoint:
    """Find out where the run stands, and record that it is at work."""
    point = ResumePoint()
    if run.resumed:
        config, limit = resolution.config(TrainingConfig), resolution.config(PyTorchExecutionConfig).max_time
        point = resume_point(run.work / _CHECKPOINTS, config, identity, max_time=limit)
        if _announce(run, point, config.nepochs):
            return point
        if is_first_process():
            run.begin()
            remove_strays(run.work / _CHECKPOINTS, point)
    if is_first_process():
        write_resolved(run.work / RESOLVED_NAME, resolution, installed_versions(), command)
    return point


def _announce(run: RunDirectory, point: ResumePoint, nepochs: int) -> bool:
    """Say where the run stands, and whether it is complete."""
    work = run.work
    complete = point.ended and run.is_complete(_checksum(point.checkpoint))
    if point.checkpoint is None and (work / BUNDLE_NAME).exists():
        hint = "overwrite to train again"
        expected = "a run with a checkpoint to continue from, but this one is complete and kept none"
        raise ConfigError(Problem("output_dir", str(run.path), expected, hint))
    if point.checkpoint is None:
        logger.info("%s holds no checkpoint yet: the run starts from the beginning", work)
    elif complete:
        text = "the run in %s is complete after %d epochs%s"
        logger.info(text, run.path, point.epochs, _how_to_extend(point))
    elif point.ended:
        logger.info("training in %s had ended after %d epochs: its results are written", work, point.epochs)
    else:
        logger.info("continuing after epoch %d of %d", point.epochs, nepochs)
    return complete


def _how_to_extend(point: ResumePoint) -> str:
    means = {"epochs": "; raise nepochs to train on", "time": "; raise max_time to train on"}
    return means.get(point.reason, ", because the monitored metric had stopped improving")


def _checksum(checkpoint: Path | None) -> str:
    """SHA-256 of a checkpoint, which says what results were made from; empty without one."""
    if checkpoint is None:
        return ""
    with checkpoint.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _control(
    execution: PyTorchExecutionConfig,
    accelerator: str,
    work: Path,
    should_stop: ShouldStop | None,
    progress: Progress | None,
) -> AbstractContextManager[tuple[ShouldStop | None, Progress | None]]:
    """What the processes that train ask and report to."""
    if not starts_copies(execution, accelerator):
        return nullcontext((should_stop, progress))
    last = work / _CHECKPOINTS / f"{LAST_CHECKPOINT}.ckpt"
    return reached("training", should_stop, progress, checkpoint=last)


def _fit(
    config: TrainingConfig,
    execution: PyTorchExecutionConfig,
    prepared: PreparedTraining,
    work: Path,
    accelerator: str,
    callbacks: Sequence[Callback],
    point: ResumePoint,
) -> tuple[ResumePoint, list[dict[str, float]]]:
    """Train from a point to the end; returns where the run stands then, and the metrics of every epoch."""
    # Rows come back from processes that the trainer starts only through a file.
    copies = starts_copies(execution, accelerator)
    history = History(work / _ROWS if copies else None)
    beginning = Beginning(copies=copies)
    all_callbacks = [*callbacks, history, beginning, QuietCopies()]
    trainer = build_trainer(
        config, execution, prepared, work, accelerator, all_callbacks, continue_at=point.step or None
    )
    has_validation = len(prepared.validation) > 0
    module = PtychoModule(prepared.model, config, execution, has_validation=has_validation)
    data = ScanDataModule(
        prepared.train,
        prepared.validation,
        batch_size=config.batch_size,
        execution=execution,
        seed=config.seed,
    )
    # Processes beside the first one have written nothing.
    names = TRAINING_FILES if is_first_process() else ()
    with (
        nothing_left_unless(lambda: beginning.seen, work, _COMMAND, names),
        nullcontext() if copies else awaited(trainer.strategy),
        _broken_weights_told(work),
    ):
        if run_trainer(trainer, module, data, point.checkpoint, beginning):
            raise TrainingInterrupted(_last_checkpoint(work))
    history.collect()
    keeper = trainer.checkpoint_callback
    best = keeper.best_model_path if isinstance(keeper, ModelCheckpoint) else ""
    done = ResumePoint(
        checkpoint=_last_checkpoint(work), best=Path(best) if best else None, rows=history.rows
    )
    return done, history.rows


def _last_checkpoint(work: Path) -> Path | None:
    last = work / _CHECKPOINTS / f"{LAST_CHECKPOINT}.ckpt"
    return last if last.is_file() else None


@contextmanager
def _broken_weights_told(work: Path) -> Iterator[None]:
    """Say of weights that became no numbers, in this process or in a copy of it, what is left."""
    try:
        yield
    except WeightsNotFinite as error:
        raise _failed(str(error), work) from error
    except ProcessRaisedException as error:
        told = told_by_copy(error, WeightsNotFinite)
        if told is None:
            raise
        raise _failed(told, work) from error


def _failed(what: str, work: Path) -> TrainingFailed:
    last = _last_checkpoint(work)
    kept = "no checkpoint was written before" if last is None else f"the last checkpoint before is {last}"
    return TrainingFailed(f"{what}; lower the learning rate or set a gradient clip value; {kept}")


def _require_finite(rows: Sequence[Mapping[str, float]], work: Path) -> None:
    if not rows:
        raise TrainingFailed("training ended before the first epoch was complete; allow more time")
    for name, word in (("train_loss", "training"), ("val_loss", "validation")):
        loss = rows[-1].get(name, 0.0)
        if not math.isfinite(loss):
            raise _failed(f"the {word} loss became {loss} in epoch {int(rows[-1]['epoch']) + 1}", work)


def _load_best(model: PatchModel, path: Path | None) -> None:
    """Load the weights of a checkpoint into the model, on the CPU."""
    model.cpu()
    if path is None:
        logger.warning("no checkpoint was kept: the bundle holds the weights of the last epoch")
        return
    state: dict[str, Any] = checkpoint_content(path)["state_dict"]
    model.load_state_dict({name.removeprefix("model."): value for name, value in state.items()})
