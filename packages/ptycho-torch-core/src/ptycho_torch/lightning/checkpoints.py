"""What a run keeps of itself, so that it can be continued as if nothing had happened."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint, Timer

from ptycho_torch.bundle import CHECKPOINT_ENTRY, describe
from ptycho_torch.bundle.checkpoint import checkpoint_content
from ptycho_torch.inside import inside
from ptycho_torch.lightning.checkpoint_io import LAST_CHECKPOINT
from ptycho_torch.models.patch_model import PatchModel

__all__ = ["BestCheckpoints", "LastCheckpoint", "RunTimer", "SelfDescription"]


class SelfDescription(Callback):
    """Makes every checkpoint a model that can be loaded without the rest of its run.

    Parameters
    ----------
    configuration
        Settings by section, plain data.
    record
        What the caller wants to keep; plain data.
    """

    def __init__(self, configuration: Mapping[str, Mapping[str, Any]], record: Mapping[str, Any]) -> None:
        self._configuration = configuration
        self._record = record

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add the manifest of a bundle."""
        model = cast(PatchModel, pl_module.model)
        checkpoint[CHECKPOINT_ENTRY] = describe(model, self._configuration, {}, self._record)


class RunTimer(Timer):
    """Ends a training when its time is up; time spent before an interruption counts."""


class BestCheckpoints(ModelCheckpoint):
    """The best checkpoints of a run; parameters as of ``ModelCheckpoint``.

    Its state holds names instead of paths, so that a run can be continued after its folder was moved.
    """

    def state_dict(self) -> dict[str, Any]:
        """Return the state, with names in place of paths."""
        state = super().state_dict()
        state["dirpath"] = ""
        for name in ("best_model_path", "kth_best_model_path", "last_model_path"):
            state[name] = Path(state[name]).name if state[name] else ""
        state["best_k_models"] = {Path(path).name: score for path, score in state["best_k_models"].items()}
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state; checkpoints that are gone are forgotten."""
        assert self.dirpath is not None
        # Lightning removes files that it reads here once they are overtaken.
        named = [
            (inside(Path(self.dirpath), name), score) for name, score in state_dict["best_k_models"].items()
        ]
        found = {str(path): score for path, score in named if path.exists()}
        super().load_state_dict({**state_dict, "dirpath": self.dirpath, "best_k_models": found})
        least, most = (min, max) if self.mode == "min" else (max, min)
        self.last_model_path = ""
        self.best_model_path = least(found, key=lambda path: found[path]) if found else ""
        self.best_model_score = found[self.best_model_path] if found else None
        self.kth_best_model_path = most(found, key=lambda path: found[path]) if found else ""
        if found:
            self.kth_value = found[self.kth_best_model_path]


class LastCheckpoint(Callback):
    """Writes ``last.ckpt`` when an epoch is complete, in every respect.

    Lightning tells of the end of an epoch before it steps the schedule of the learning rate and hands
    metrics to the logger, so this waits for the next epoch to start, or for the training to end.

    Parameters
    ----------
    folder
        Where checkpoints go.
    identity
        What the run was made of; see :func:`ptycho_torch.workflows.runs.resume.identity_of`.

    Attributes
    ----------
    ended
        Why training ended: ``"epochs"``, ``"patience"`` or ``"time"``; empty while it may go on.
    """

    def __init__(self, folder: Path, identity: str) -> None:
        self.path = folder / f"{LAST_CHECKPOINT}.ckpt"
        self.identity = identity
        self.ended = ""
        self._written_for = 0
        self._saving = False
        self._random: dict[str, Any] = {}

    def state_dict(self) -> dict[str, Any]:
        """Identity of the run, why it ended, and the global random states."""
        states = {"cpu": torch.get_rng_state()}
        if torch.cuda.is_available() and torch.cuda.is_initialized():
            states["cuda"] = torch.cuda.get_rng_state()
        return {"identity": self.identity, "ended": self.ended, "random": states}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep the random states until training starts."""
        self._random = state_dict["random"]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take up the random states of an interrupted run."""
        self._written_for = trainer.current_epoch
        if self._random:
            torch.set_rng_state(self._random["cpu"])
        if "cuda" in self._random and torch.cuda.is_available():
            torch.cuda.set_rng_state(self._random["cuda"])

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save what the epoch before has left."""
        if trainer.current_epoch > self._written_for:
            self._save(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save the end, and why it came."""
        self.ended = _why_ended(trainer)
        loop = trainer.fit_loop.epoch_loop
        if loop.batch_progress.current.ready >= trainer.num_training_batches:
            self._save(trainer)
        elif trainer.is_global_zero and self.path.is_file():
            # The running epoch was cut short. What is continued later is the last complete one.
            self._note_end(trainer)

    def _save(self, trainer: pl.Trainer) -> None:
        # What the checkpoint says was logged must be on the disk when it is.
        for logger in trainer.loggers:
            logger.save()
        self._saving = True
        try:
            trainer.save_checkpoint(self.path)
        finally:
            self._saving = False
        self._written_for = trainer.current_epoch

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Say that no epoch is begun: Lightning has counted the one that is about to start."""
        if not self._saving:
            return
        for count in checkpoint["loops"]["fit_loop"]["epoch_progress"].values():
            count.update(dict.fromkeys(("ready", "started", "completed"), count["processed"]))

    def _note_end(self, trainer: pl.Trainer) -> None:
        checkpoint = checkpoint_content(self.path)
        checkpoint["callbacks"][self.state_key]["ended"] = self.ended
        # The cut epoch may have been the best, whose checkpoint has taken the place of an older one.
        for callback in _callbacks_of(trainer):
            if isinstance(callback, RunTimer | BestCheckpoints):
                checkpoint["callbacks"][callback.state_key] = callback.state_dict()
        trainer.strategy.checkpoint_io.save_checkpoint(checkpoint, self.path)


def _callbacks_of(trainer: pl.Trainer) -> list[Callback]:
    # The trainer has this list and does not declare it.
    return list(getattr(trainer, "callbacks"))  # noqa: B009


def _why_ended(trainer: pl.Trainer) -> str:
    if trainer.max_epochs is not None and trainer.current_epoch >= trainer.max_epochs:
        return "epochs"
    for callback in _callbacks_of(trainer):
        if isinstance(callback, EarlyStopping) and callback.wait_count >= callback.patience:
            return "patience"
        if isinstance(callback, RunTimer):
            left = callback.time_remaining()
            if left is not None and left <= 0:
                return "time"
    return ""
