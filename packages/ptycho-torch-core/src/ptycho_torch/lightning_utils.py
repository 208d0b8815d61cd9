"""Finding checkpoints under the name that programs written against PtychoPINN import; deprecated."""

from __future__ import annotations

from ptycho_torch.reference.deprecated import door

__all__ = ["find_best_checkpoint"]  # noqa: F822
__getattr__ = door(
    __name__,
    {"find_best_checkpoint": "ptycho_torch.reference.checkpoints"},
    "the best_checkpoint of ptycho_torch.workflows.train",
)
