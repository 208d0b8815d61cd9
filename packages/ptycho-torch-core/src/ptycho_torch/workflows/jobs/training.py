"""Train a model on a scan and leave a complete run behind."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightning.pytorch.callbacks import Callback

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
from ptycho_torch.config_factory.training import TrainingPayload, TrainingTask
from ptycho_torch.control import Progress, ShouldStop, stage_of
from ptycho_torch.data.inputs import files_read
from ptycho_torch.data.limits import larger_arrays
from ptycho_torch.diagnosis.verdict import Verdict
from ptycho_torch.lightning.callbacks import monitored_metric, standard_callbacks
from ptycho_torch.lightning.checkpoints import SelfDescription
from ptycho_torch.lightning.loggers import LOGS, relocate_logs
from ptycho_torch.lightning.objective import Objective
from ptycho_torch.lightning.run_control import RunControl
from ptycho_torch.models import PatchModel
from ptycho_torch.workflows.jobs.fitting import CHECKPOINTS, ROWS, control_of, fit, require_finite
from ptycho_torch.workflows.jobs.judging import warn_of
from ptycho_torch.workflows.jobs.logged_pictures import reconstruction_images
from ptycho_torch.workflows.jobs.preparation import PreparedTraining, prepare_training
from ptycho_torch.workflows.jobs.training_pictures import (
    TRAINING_PICTURES,
    VERDICT,
    verdict_left_in,
    write_training_pictures,
)
from ptycho_torch.workflows.processes.copies import require_importable_script, require_sendable
from ptycho_torch.workflows.processes.device import numerics, require_means, resolve_accelerator
from ptycho_torch.workflows.processes.distributed import (
    from_first_process,
    is_first_process,
    resolve_strategy,
)
from ptycho_torch.workflows.runs.beginning import said_before
from ptycho_torch.workflows.runs.directory import RESOLVED_NAME, RunDirectory
from ptycho_torch.workflows.runs.leaving import Leaving
from ptycho_torch.workflows.runs.resume import (
    ResumePoint,
    check_same_settings,
    identity_of,
    remove_strays,
    resume_point,
)
from ptycho_torch.workflows.runs.standing import read_standing

__all__ = ["TRAINING_FILES", "TrainingOutcome", "train"]

logger = logging.getLogger(__name__)

_COMMAND = "train"
TRAINING_FILES = (BUNDLE_NAME, RESOLVED_NAME, *TRAINING_PICTURES, VERDICT, CHECKPOINTS, LOGS, ROWS)


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
    verdict
        Whether the object that the model draws explains frames better than an empty one; None where it could
        not be drawn.
    """

    output_dir: Path
    bundle: Path
    best_checkpoint: Path | None
    metrics: Mapping[str, float]
    files: tuple[Path, ...]
    model: PatchModel = field(repr=False)
    history: Sequence[Mapping[str, float]] = field(repr=False)
    verdict: Verdict | None = None


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

    Warns
    -----
    ResultWarning
        The object that the model draws explains the frames no better than an empty one.
    """
    task, settings = payload.task, payload.resolution
    config, execution = task.config, task.execution
    accelerator = resolve_accelerator(execution.accelerator)
    # First of all: a script that is run again must not get as far as to find its own output directory taken.
    require_importable_script(execution, accelerator)
    run = _find_place(task, settings, overwrite=overwrite, resume=resume)
    require_means(execution, accelerator)
    resolve_strategy(execution, accelerator)
    with larger_arrays(execution.largest_array_gib):
        prepared = prepare_training(task, progress=stage_of(progress, "reading", "frame"))
    require_sendable(execution, accelerator, generator=type(prepared.model.generator), callbacks=callbacks)
    identity = identity_of(prepared.datasets, prepared.probes)
    monitor = monitored_metric(
        execution.checkpoint_monitor_metric,
        Objective.from_config(config),
        has_validation=len(prepared.validation) > 0,
    )
    images = reconstruction_images(execution, prepared, run.work / LOGS, batch_size=config.batch_size)
    with run.at_work() as work:
        before = said_before(work, _COMMAND)
        point = _begin(run, settings, identity, command=list(command or ()))
        with numerics():
            if not point.ended:
                standard = standard_callbacks(
                    execution, work / CHECKPOINTS, monitor=monitor, identity=identity
                )
                described = SelfDescription(settings.values(), record or {})
                with control_of(execution, accelerator, work, should_stop, progress) as (asked, heard):
                    all_callbacks = [*standard, described, *images, *callbacks, RunControl(asked, heard)]
                    point = fit(point, task, prepared, run, accelerator, all_callbacks, before)
            require_finite(point.rows, work)
            drawing = stage_of(progress, "predicting", "group")
            best, files, verdict, state = from_first_process(
                lambda: _conclude(task, settings, record or {}, prepared, run, point, drawing)
            )
    if is_first_process():
        warn_of(verdict)
    prepared.model.cpu().load_state_dict(state)
    return TrainingOutcome(
        output_dir=run.path,
        bundle=run.path / BUNDLE_NAME,
        best_checkpoint=best,
        metrics={name: value for row in point.rows for name, value in row.items()},
        files=files,
        model=prepared.model,
        history=point.rows,
        verdict=verdict,
    )


def _find_place(task: TrainingTask, settings: Resolution, *, overwrite: bool, resume: bool) -> RunDirectory:
    path = task.config.output_dir
    if resume:
        run = RunDirectory.resume(path, _COMMAND, TRAINING_FILES, writes=is_first_process())
        check_same_settings(settings, run.work / RESOLVED_NAME)
        return run
    if is_first_process():
        scans = (*task.train_data, *(task.test_data or ()))
        read = files_read(scans, task.config.reader, task.parts)
        return RunDirectory.check(
            path, _COMMAND, TRAINING_FILES, overwrite=overwrite, resumable=True, inputs=read
        )
    return RunDirectory.beside(path, _COMMAND, TRAINING_FILES)


def _conclude(
    task: TrainingTask,
    settings: Resolution,
    record: Mapping[str, Any],
    prepared: PreparedTraining,
    run: RunDirectory,
    point: ResumePoint,
    drawing: Progress | None,
) -> tuple[Path | None, tuple[Path, ...], Verdict | None, dict[str, Any]]:
    """Write what is missing; returns the best checkpoint, all files, the verdict, and the best weights."""
    _load_best(prepared.model, point.best)
    made_from, leaving = _checksum(point.checkpoint), Leaving(run.work)
    if is_first_process() and not (point.ended and run.is_complete(made_from)):
        # Without the model there is nothing to draw, so a failure here ends the run.
        bundle = run.work / BUNDLE_NAME
        save_bundle(bundle, prepared.model, settings.values(), settings.to_dict(), record)
        write_training_pictures(leaving, task.config, task.train_data, prepared, point.rows, drawing)
    if is_first_process() and run.resumed and point.checkpoint is not None:
        # Not before: what a checkpoint names as its own is believed once training went on from it.
        remove_strays(run.work / CHECKPOINTS, read_standing(point.checkpoint).kept)
    verdict = verdict_left_in(run.work)
    relocate_logs(run.work / LOGS, run.path / LOGS)
    # A run with files missing was made from no checkpoint, so that resuming it writes them.
    files = run.publish("" if leaving.failures else made_from)
    leaving.require_all(run.path, files, hint="resume (--resume) to write them")
    best = None if point.best is None else run.path / CHECKPOINTS / point.best.name
    return best, files, verdict, prepared.model.state_dict()


def _begin(run: RunDirectory, resolution: Resolution, identity: str, *, command: list[str]) -> ResumePoint:
    """Find out where the run stands, and record that it is at work."""
    point = ResumePoint()
    if run.resumed:
        config, limit = resolution.config(TrainingConfig), resolution.config(PyTorchExecutionConfig).max_time
        point = resume_point(run.work / CHECKPOINTS, config, identity, max_time=limit)
        if _announce(run, point, config.nepochs):
            return point
        if is_first_process():
            run.begin()
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


def _load_best(model: PatchModel, path: Path | None) -> None:
    """Load the weights of a checkpoint into the model, on the CPU."""
    model.cpu()
    if path is None:
        logger.warning("no checkpoint was kept: the bundle holds the weights of the last epoch")
        return
    state: dict[str, Any] = checkpoint_content(path)["state_dict"]
    model.load_state_dict({name.removeprefix("model."): value for name, value in state.items()})
