"""The bridge of PtychoPINN between two kinds of configurations, which are one kind here; says what to use."""

from __future__ import annotations

from ptycho_torch.reference.programs import refusing

__all__: list[str] = []
__getattr__ = refusing(
    __name__,
    ("to_inference_config", "to_model_config", "to_training_config"),
    "the classes of ptycho_config, of which there is one kind, so that nothing has to be bridged",
)
