"""Train on the scans of a caller."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback

from ptycho_torch.config_factory import create_training_payload
from ptycho_torch.reference.configs import TrainingConfig
from ptycho_torch.reference.manager import LOGGER_NAME, ConfigManager
from ptycho_torch.reference.translation import record_of, training_settings
from ptycho_torch.workflows import TrainingOutcome, train

__all__ = ["EpochLines", "device_of", "replay", "train_sources"]

logger = logging.getLogger(LOGGER_NAME)


def train_sources(
    sources: Sequence[Path], output_dir: Path, manager: ConfigManager, *, callbacks: Sequence[Callback] = ()
) -> TrainingOutcome:
    """Train one model on all scans.

    Parameters
    ----------
    sources
        NPZ files that hold counts, or the folder of a pair.
    output_dir
        Folder of the run; created.
    manager
        Configuration of the caller. Its ``N`` becomes that of the frames.
    callbacks
        Of Lightning.
    """
    data, training = manager.data_config, manager.training_config
    settings = training_settings(data, manager.model_config, training)
    stated = {"measurement_domain": "counts", "accelerator": device_of(training.device)}
    payload = create_training_payload(list(sources), output_dir, overrides={**settings, **stated})
    n_pixels = payload.training_config.model.N
    if n_pixels != data.N:
        text = "model_size (N) is %d, frames have %d px: trained at %d px, so that pixels keep their size"
        logger.warning(text, data.N, n_pixels, n_pixels)
        data.N = n_pixels
    record = record_of(data, manager.model_config, training, manager.inference_config)
    return train(payload, callbacks=callbacks, record=record)


def device_of(wanted: str) -> str:
    """Accelerator for a device of the caller; the CPU where a GPU is wanted and none is there.

    Parameters
    ----------
    wanted
        ``"cuda"``, ``"gpu"``, ``"cpu"``, ``"mps"`` or ``"auto"``.
    """
    kind = wanted.partition(":")[0].casefold()
    if kind in ("cuda", "gpu", "auto") and not torch.cuda.is_available():
        logger.warning("device %r: no GPU that PyTorch can use, so the CPU computes", wanted)
        return "cpu"
    return "cuda" if kind in ("gpu", "auto") else kind


def replay(callbacks: Iterable[Any], history: Iterable[Mapping[str, float]], model: Any) -> None:
    """Tell callbacks of every epoch of a training that is over.

    Parameters
    ----------
    callbacks
        Objects with some of the methods of a callback of Lightning.
    history
        Metrics of every epoch.
    model
        Handed to the callbacks.
    """
    for row in history:
        trainer = SimpleNamespace(
            callback_metrics=dict(row), current_epoch=int(row["epoch"]), sanity_checking=False
        )
        for callback in callbacks:
            for name in ("on_validation_epoch_end", "on_train_epoch_end"):
                method = getattr(callback, name, None)
                if method is not None:
                    method(trainer, model)


class EpochLines(Callback):
    """One line of the log for each epoch.

    Parameters
    ----------
    training
        Says how many epochs there are.
    """

    def __init__(self, training: TrainingConfig) -> None:
        self._n_epochs = training.epochs

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Say what was reached."""
        if not trainer.is_global_zero:
            return
        metrics = trainer.callback_metrics
        losses = [
            f"{words} {float(metrics[name]):.5g}"
            for name, words in (("train_loss", "training loss"), ("val_loss", "validation loss"))
            if name in metrics
        ]
        logger.info("epoch %d of %d: %s", trainer.current_epoch + 1, self._n_epochs, ", ".join(losses))
