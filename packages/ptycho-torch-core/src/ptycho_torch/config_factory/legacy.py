"""The one place of this package that fills the legacy dictionary."""

from __future__ import annotations

from ptycho_config import InferenceConfig, TrainingConfig, update_legacy_dict
from ptycho_config.params import cfg as legacy_cfg

__all__ = ["populate_legacy_params"]


def populate_legacy_params(config: TrainingConfig | InferenceConfig) -> None:
    """Fill the legacy dictionary ``ptycho_config.params.cfg`` for programs that read it.

    Nothing in this package reads it.
    """
    update_legacy_dict(legacy_cfg, config)
