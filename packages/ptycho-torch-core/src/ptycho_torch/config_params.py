"""Configuration classes under the name that programs written against PtychoPINN import; deprecated."""

from __future__ import annotations

from ptycho_torch.reference.deprecated import door

_NAMES = ("DataConfig", "DatagenConfig", "InferenceConfig", "ModelConfig", "TrainingConfig")
__all__ = [*_NAMES]
__getattr__ = door(
    __name__,
    dict.fromkeys(_NAMES, "ptycho_torch.reference.configs"),
    "the classes of ptycho_config and the factories of ptycho_torch.config_factory",
)
