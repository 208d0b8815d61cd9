"""Fit a prepared model, here or in other processes, and say how that ended."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from torch.multiprocessing.spawn import ProcessRaisedException

from ptycho_config import PyTorchExecutionConfig
from ptycho_torch.config_factory.training import TrainingTask
from ptycho_torch.control import Progress, ShouldStop
from ptycho_torch.lightning.callbacks import History
from ptycho_torch.lightning.checkpoint_io import LAST_CHECKPOINT
from ptycho_torch.lightning.datamodule import ScanDataModule
from ptycho_torch.lightning.finite import WeightsNotFinite
from ptycho_torch.lightning.module import PtychoModule
from ptycho_torch.lightning.quiet import QuietCopies
from ptycho_torch.lightning.run_control import Beginning
from ptycho_torch.workflows.jobs.preparation import PreparedTraining
from ptycho_torch.workflows.jobs.trainer import build_trainer, run_trainer
from ptycho_torch.workflows.processes.copies import reached, starts_copies, told_by_copy
from ptycho_torch.workflows.processes.distributed import is_first_process
from ptycho_torch.workflows.processes.meeting import awaited
from ptycho_torch.workflows.runs.beginning import nothing_left_unless
from ptycho_torch.workflows.runs.directory import RunDirectory
from ptycho_torch.workflows.runs.resume import ResumePoint

__all__ = [
    "CHECKPOINTS",
    "ROWS",
    "TrainingFailed",
    "TrainingInterrupted",
    "control_of",
    "fit",
    "require_finite",
]

CHECKPOINTS = "checkpoints"
"""Folder of the checkpoints in that of a run."""
ROWS = ".history.json"
"""File in which copies of the process leave the metrics of every epoch."""


class TrainingFailed(RuntimeError):
    """The optimisation itself went wrong; the data and the settings could be read."""


class TrainingInterrupted(KeyboardInterrupt):
    """Training was interrupted; ``checkpoint`` is the last one kept, or ``None``."""

    def __init__(self, checkpoint: Path | None) -> None:
        self.checkpoint = checkpoint
        kept = "no checkpoint was written yet" if checkpoint is None else f"last checkpoint: {checkpoint}"
        super().__init__(f"training was interrupted; {kept}; resume (--resume) to go on")


def control_of(
    execution: PyTorchExecutionConfig,
    accelerator: str,
    work: Path,
    should_stop: ShouldStop | None,
    progress: Progress | None,
) -> AbstractContextManager[tuple[ShouldStop | None, Progress | None]]:
    """What the processes that train ask and report to.

    Parameters
    ----------
    execution, accelerator
        Say whether copies of this process train.
    work
        Folder of the run, for the checkpoint that a cancelled one has kept.
    should_stop, progress
        Functions of this process.
    """
    if not starts_copies(execution, accelerator):
        return nullcontext((should_stop, progress))
    last = work / CHECKPOINTS / f"{LAST_CHECKPOINT}.ckpt"
    return reached("training", should_stop, progress, checkpoint=last)


def fit(
    point: ResumePoint,
    task: TrainingTask,
    prepared: PreparedTraining,
    run: RunDirectory,
    accelerator: str,
    callbacks: Sequence[Callback],
    before: Mapping[str, bytes],
) -> ResumePoint:
    """Train from a point to the end.

    Parameters
    ----------
    point
        Where the run stands.
    task
        Settings of the training.
    prepared
        The data, and the model, whose weights change.
    run
        Its working folder receives checkpoints and logs.
    accelerator
        Device type, resolved.
    callbacks
        Beside those that the fitting itself needs.
    before
        What the folder said of the run, put back if the training does not begin.

    Returns
    -------
    ResumePoint
        Where the run stands then, with the metrics of every epoch.

    Raises
    ------
    TrainingFailed
        If a weight stops being a finite number.
    TrainingInterrupted
        On Ctrl-C.
    RunCancelled
        When the control among the callbacks was asked to stop.
    """
    config, execution, work = task.config, task.execution, run.work
    # Rows come back from processes that the trainer starts only through a file.
    copies = starts_copies(execution, accelerator)
    history = History(work / ROWS if copies else None)
    beginning = Beginning(copies=copies)
    all_callbacks = [*callbacks, history, QuietCopies(), beginning]
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
    names = run.names if is_first_process() else ()
    with (
        nothing_left_unless(lambda: beginning.seen, work, run.command, names, before),
        _broken_weights_told(work),
    ):
        trainer = build_trainer(
            config, execution, prepared, work, accelerator, all_callbacks, continue_at=point.step or None
        )
        with nullcontext() if copies else awaited(trainer.strategy):
            interrupted = run_trainer(trainer, module, data, point.checkpoint, beginning)
        if interrupted:
            raise TrainingInterrupted(_last_checkpoint(work))
    history.collect()
    keeper = trainer.checkpoint_callback
    best = keeper.best_model_path if isinstance(keeper, ModelCheckpoint) else ""
    return ResumePoint(
        checkpoint=_last_checkpoint(work), best=Path(best) if best else None, rows=history.rows
    )


def _last_checkpoint(work: Path) -> Path | None:
    last = work / CHECKPOINTS / f"{LAST_CHECKPOINT}.ckpt"
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


def require_finite(rows: Sequence[Mapping[str, float]], work: Path) -> None:
    """Refuse to conclude a training whose last losses are no numbers.

    Parameters
    ----------
    rows
        Metrics of every epoch.
    work
        Folder of the run, whose last checkpoint is named.

    Raises
    ------
    TrainingFailed
        If they are not, or there was no complete epoch.
    """
    if not rows:
        raise TrainingFailed("training ended before the first epoch was complete; allow more time")
    for name, word in (("train_loss", "training"), ("val_loss", "validation")):
        loss = rows[-1].get(name, 0.0)
        if not math.isfinite(loss):
            raise _failed(f"the {word} loss became {loss} in epoch {int(rows[-1]['epoch']) + 1}", work)
