"""The trained model under the name that programs written against PtychoPINN import; deprecated."""

from __future__ import annotations

from ptycho_torch.reference.deprecated import door

__all__ = ["PtychoPINN_Lightning"]  # noqa: F822
__getattr__ = door(
    __name__,
    {"PtychoPINN_Lightning": "ptycho_torch.reference.engine"},
    "ptycho_torch.bundle.load_bundle, or ptycho_torch.lightning.PtychoModule",
)
