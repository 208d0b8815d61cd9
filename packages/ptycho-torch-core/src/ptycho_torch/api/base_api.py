"""Training and reconstruction under the names that programs written against PtychoPINN import; deprecated."""

from __future__ import annotations

from ptycho_torch.reference.deprecated import door

_CONFIGS = ("DataConfig", "DatagenConfig", "InferenceConfig", "ModelConfig", "TrainingConfig")
_PLACES = {
    **dict.fromkeys(_CONFIGS, "ptycho_torch.reference.configs"),
    "ConfigManager": "ptycho_torch.reference.manager",
    "DataloaderFormats": "ptycho_torch.reference.loading",
    "InferenceEngine": "ptycho_torch.reference.engine",
    "PtychoDataLoader": "ptycho_torch.reference.loading",
    "PtychoModel": "ptycho_torch.reference.engine",
    "Trainer": "ptycho_torch.reference.engine",
}
__all__ = [*_PLACES]
__getattr__ = door(
    __name__,
    _PLACES,
    "ptycho_torch.workflows (train, infer, reconstruct) with payloads of ptycho_torch.config_factory",
)
