"""The five configuration objects of a caller, kept together."""

from __future__ import annotations

import logging
from typing import Protocol

from ptycho_config import ConfigError, Problem
from ptycho_torch.reference.configs import (
    DataConfig,
    DatagenConfig,
    InferenceConfig,
    ModelConfig,
    TrainingConfig,
)
from ptycho_torch.reference.translation import unused

__all__ = ["LOGGER_NAME", "ConfigManager"]

LOGGER_NAME = "ptychopinn-torch"
"""Logger whose lines users of ptychodus see."""

logger = logging.getLogger(LOGGER_NAME)


class _Loaded(Protocol):
    data_config: DataConfig
    model_config: ModelConfig
    training_config: TrainingConfig
    inference_config: InferenceConfig


class ConfigManager:
    """Configuration objects of one training or reconstruction.

    Parameters
    ----------
    data_config, model_config, training_config, inference_config, datagen_config
        As the caller built them; what is left out has its defaults.
    """

    def __init__(
        self,
        data_config: DataConfig | None = None,
        model_config: ModelConfig | None = None,
        training_config: TrainingConfig | None = None,
        inference_config: InferenceConfig | None = None,
        datagen_config: DatagenConfig | None = None,
    ) -> None:
        self.data_config = data_config or DataConfig()
        self.model_config = model_config or ModelConfig()
        self.training_config = training_config or TrainingConfig()
        self.inference_config = inference_config or InferenceConfig()
        self.datagen_config = datagen_config or DatagenConfig()

    @classmethod
    def from_loaded_model(cls, model: _Loaded) -> ConfigManager:
        """The objects that a loaded model was given."""
        return cls(model.data_config, model.model_config, model.training_config, model.inference_config)

    def validate_arch_compatibility(self, model: _Loaded) -> None:
        """Check that frames and groups are those of a model.

        Raises
        ------
        ConfigError
            With what differs.
        """
        problems = [
            Problem(
                name,
                getattr(self.data_config, name),
                f"{getattr(model.data_config, name)}, as in the model",
            )
            for name in ("N", "C")
            if getattr(self.data_config, name) != getattr(model.data_config, name)
        ]
        if problems:
            raise ConfigError(problems)

    def say_what_is_unused(self) -> None:
        """One line of the log that lists all keywords without effect."""
        objects = (self.data_config, self.model_config, self.training_config, self.inference_config)
        logger.info("keywords without effect here: %s", unused(objects))
