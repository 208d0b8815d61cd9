"""The Lightning trainer of one run, and what it is kept from saying."""

from __future__ import annotations

import signal
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.strategies import StrategyRegistry

from ptycho_config import PyTorchExecutionConfig, TrainingConfig
from ptycho_torch.lightning.checkpoint_io import AtomicCheckpointIO
from ptycho_torch.lightning.clipping import clip_algorithm
from ptycho_torch.lightning.compiling import compiler_warnings
from ptycho_torch.lightning.datamodule import ScanDataModule
from ptycho_torch.lightning.loggers import LOGS, logger_kind
from ptycho_torch.lightning.module import PtychoModule
from ptycho_torch.lightning.quiet import quiet_lightning
from ptycho_torch.lightning.run_control import Beginning
from ptycho_torch.workflows.jobs.preparation import PreparedTraining
from ptycho_torch.workflows.processes.device import count_devices
from ptycho_torch.workflows.processes.distributed import patient_strategy, resolve_strategy
from ptycho_torch.workflows.processes.meeting import cluster_environment
from ptycho_torch.workflows.runs.standing import UNREADABLE, unusable_checkpoint

__all__ = ["build_trainer", "run_trainer"]


def run_trainer(
    trainer: pl.Trainer,
    module: PtychoModule,
    data: ScanDataModule,
    checkpoint: Path | None,
    beginning: Beginning,
) -> bool:
    """Train; returns whether Ctrl-C ended it.

    Parameters
    ----------
    trainer, module, data
        What trains, and on what.
    checkpoint
        What to continue from, if anything.
    beginning
        Among the callbacks of the trainer; until it has seen one, the trainer reads what it continues from.

    Raises
    ------
    ConfigError
        If the checkpoint cannot be continued from.
    """
    handler = signal.getsignal(signal.SIGINT)
    # Continuing sets the global random states of the run, which are none of the caller's.
    kept = torch.random.fork_rng(enabled=checkpoint is not None)
    try:
        with kept, _fit_warnings():
            trainer.fit(module, datamodule=data, ckpt_path=checkpoint)
    except SystemExit:
        # Newer versions of Lightning turn Ctrl-C into an exit of the process, older ones return.
        if not trainer.interrupted:
            raise
    except UNREADABLE as error:
        keeper = trainer.strategy.checkpoint_io
        was_read = isinstance(keeper, AtomicCheckpointIO) and keeper.was_read
        if checkpoint is None or beginning.seen or not was_read:
            raise
        raise unusable_checkpoint(checkpoint, error) from error
    if trainer.interrupted:
        # Lightning leaves the signal ignored.
        signal.signal(signal.SIGINT, handler)
    return trainer.interrupted


def build_trainer(
    config: TrainingConfig,
    execution: PyTorchExecutionConfig,
    prepared: PreparedTraining,
    work: Path,
    accelerator: str,
    callbacks: Sequence[Callback],
    *,
    continue_at: int | None = None,
) -> pl.Trainer:
    """Trainer that a configuration asks for.

    Parameters
    ----------
    config, execution
        Settings of the run.
    prepared
        Its groups; without validation groups nothing is validated.
    work
        Folder that receives checkpoints and logs.
    accelerator
        Device type, resolved.
    callbacks
        All callbacks of the run.
    continue_at
        Step from which an interrupted run is continued.
    """
    clip = clip_algorithm(config, execution)
    partly_used = config.model.model_type == "supervised" or len(prepared.scans) > 1
    strategy = resolve_strategy(execution, accelerator, partly_used=partly_used)
    with _fit_warnings():
        return pl.Trainer(
            default_root_dir=work,
            accelerator=accelerator,
            devices=count_devices(execution, accelerator),
            num_nodes=execution.num_nodes,
            strategy=patient_strategy(strategy, execution, accelerator, StrategyRegistry),
            precision=execution.precision,  # type: ignore[arg-type]
            deterministic=execution.deterministic,  # type: ignore[arg-type]
            max_epochs=config.nepochs,
            gradient_clip_val=execution.gradient_clip_val,
            # Lightning does not know the adaptive one; the module applies all of them.
            gradient_clip_algorithm=None if clip == "adaptive" else clip,
            accumulate_grad_batches=execution.accum_steps,
            check_val_every_n_epoch=execution.check_val_every_n_epoch,
            # An empty set of loaders would be warned about; no validation is a choice here.
            limit_val_batches=None if len(prepared.validation) else 0,
            logger=logger_kind(execution.logger_backend).open(work / LOGS, continue_at=continue_at),
            callbacks=list(callbacks),
            plugins=_plugins(execution.num_nodes),
            # The data module deals batches out to processes itself.
            use_distributed_sampler=False,
            enable_checkpointing=execution.enable_checkpointing,
            enable_progress_bar=execution.enable_progress_bar,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            log_every_n_steps=1,
        )


def _plugins(num_nodes: int) -> list[Any]:
    environment = cluster_environment(num_nodes)
    return [AtomicCheckpointIO(), *([] if environment is None else [environment])]


@contextmanager
def _fit_warnings() -> Iterator[None]:
    """Silence remarks of Lightning, and warnings that advise against what is right here or address itself."""
    with warnings.catch_warnings(), compiler_warnings(), quiet_lightning():
        # Frames lie in memory; a worker process would only copy them.
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        # Raised inside Lightning by its own use of torch; nobody who trains can do anything about it.
        warnings.filterwarnings("ignore", message=".*LeafSpec.* is deprecated.*")
        # The checkpoint folder was created for this run, or the user asked to overwrite it.
        warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty.*")
        # Who states the CPU on a machine with a GPU has chosen it.
        warnings.filterwarnings("ignore", message="GPU available but not used.*")
        # Callbacks of a caller may come and go between the parts of an interrupted run.
        warnings.filterwarnings("ignore", message="Be aware that when using `ckpt_path`.*")
        yield
