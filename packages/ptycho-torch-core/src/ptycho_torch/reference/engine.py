"""Training and reconstruction in the order in which programs of the reference call them."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from ptycho_torch.bundle import load_bundle, read_manifest
from ptycho_torch.errors import BundleError
from ptycho_torch.models import PatchModel
from ptycho_torch.reference.configs import DataConfig, InferenceConfig, ModelConfig, TrainingConfig
from ptycho_torch.reference.loading import Patterns, PtychoDataLoader
from ptycho_torch.reference.manager import LOGGER_NAME, ConfigManager
from ptycho_torch.reference.reconstructing import reconstruct_patterns
from ptycho_torch.reference.telling import told
from ptycho_torch.reference.training import EpochLines, replay, train_sources
from ptycho_torch.reference.translation import configs_from

__all__ = ["InferenceEngine", "PtychoModel", "PtychoPINN_Lightning", "Trainer"]

logger = logging.getLogger(LOGGER_NAME)


class PtychoPINN_Lightning:
    """A model as the reference hands it around: to be trained, or trained.

    Attributes
    ----------
    network
        The trained model; None before a training.
    loss_name, val_loss_name
        Metrics of an epoch that a callback may read.
    """

    def __init__(self, network: PatchModel | None = None) -> None:
        self.network = network
        self.loss_name = "train_loss"
        self.val_loss_name = "val_loss"

    @classmethod
    @told()
    def load_from_checkpoint(cls, checkpoint_path: str | Path, **configs: Any) -> PtychoPINN_Lightning:
        """Load a trained model; its settings come from the checkpoint, whatever ``configs`` say.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        BundleError
            If it is no checkpoint of this package, or damaged.
        """
        network, _ = load_bundle(checkpoint_path)
        return cls(network)

    def eval(self) -> PtychoPINN_Lightning:
        """Itself; a loaded model is in evaluation mode."""
        return self


class PtychoModel:
    """A model beside the configuration of its caller."""

    def __init__(
        self,
        model_config: ModelConfig,
        data_config: DataConfig,
        training_config: TrainingConfig,
        inference_config: InferenceConfig,
    ) -> None:
        self.model_config = model_config
        self.data_config = data_config
        self.training_config = training_config
        self.inference_config = inference_config
        self.model = PtychoPINN_Lightning()

    @classmethod
    def _new_model(cls, model: type[PtychoPINN_Lightning], config_manager: ConfigManager) -> PtychoModel:
        made = cls(
            config_manager.model_config,
            config_manager.data_config,
            config_manager.training_config,
            config_manager.inference_config,
        )
        made.model = model()
        return made

    @staticmethod
    @told()
    def _extract_configs_from_checkpoint(
        path: str,
    ) -> tuple[DataConfig, ModelConfig, TrainingConfig, InferenceConfig]:
        """Configuration of the caller that trained a checkpoint.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        BundleError
            If it is no checkpoint of this package.
        """
        manifest = read_manifest(path)
        return configs_from(manifest.record, manifest.configuration)


class Trainer:
    """One training.

    Attributes
    ----------
    _trainer
        Its ``callbacks`` is a list. After the training each of them hears of every epoch, in order:
        ``on_validation_epoch_end`` and ``on_train_epoch_end``, with ``callback_metrics``, ``current_epoch``
        and ``sanity_checking``. So it works with any number of devices, and for callbacks that cannot be
        sent to another process.
    """

    def __init__(
        self, model: PtychoModel, dataloader: PtychoDataLoader, config_manager: ConfigManager
    ) -> None:
        self.model = model
        self.dataloader = dataloader
        self.config_manager = config_manager
        self._trainer = SimpleNamespace(callbacks=[])

    @classmethod
    def _from_lightning(
        cls,
        model: PtychoModel,
        dataloader: PtychoDataLoader,
        orchestration: str = "lightning",
        config_manager: ConfigManager | None = None,
    ) -> Trainer:
        return cls(model, dataloader, config_manager or dataloader.config_manager)

    @told()
    def train(self, orchestration: str = "lightning", experiment_name: str = "") -> None:
        """Train, and leave a checkpoint with everything that a reconstruction needs.

        Raises
        ------
        ConfigError
            With every value that cannot be translated, or does not fit the data.
        DataError
            If a scan breaks the data contract. Nothing has been written then.
        TrainingFailed
            If the loss stops being a finite number.
        """
        manager = self.config_manager
        manager.say_what_is_unused()
        outcome = train_sources(
            self.dataloader.sources,
            self.dataloader.output_dir,
            manager,
            callbacks=[EpochLines(manager.training_config)],
        )
        self.model.model.network = outcome.model
        replay(self._trainer.callbacks, outcome.history, self.model.model)


class InferenceEngine:
    """Reconstructs with a trained model.

    Parameters
    ----------
    config_manager
        Configuration of the model.
    ptycho_model
        Holds the trained model.

    Raises
    ------
    BundleError
        If the model was never trained or loaded.
    """

    def __init__(self, config_manager: ConfigManager, ptycho_model: PtychoModel) -> None:
        network = ptycho_model.model.network
        if network is None:
            raise BundleError("the model was neither trained nor loaded; load a checkpoint first")
        self.config_manager = config_manager
        self.network = network

    @told()
    def predict_and_stitch(self, patterns: Patterns) -> np.ndarray:
        """Reconstruct the object.

        Returns
        -------
        ndarray
            Complex64, ``(height, width)``, about the middle of the bounding box of the positions, in
            the pixels of the positions.

        Raises
        ------
        DataError
            If the frames do not fit the model.
        """
        with torch.no_grad():
            return reconstruct_patterns(self.network, patterns, self.config_manager)
