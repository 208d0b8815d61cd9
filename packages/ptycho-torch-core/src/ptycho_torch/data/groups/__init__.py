"""Groups of neighbouring frames, and the tensors a network is fed with.

Names are loaded when they are used: grouping needs no torch, batches and labels do.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ptycho_torch.data.groups.dataset import Batch, GroupDataset, ScanGroups, SeveralScans
    from ptycho_torch.data.groups.grouping import Groups, covering_groups, make_groups
    from ptycho_torch.data.groups.labels import LabelSource, labels_of
    from ptycho_torch.data.groups.sampling import choose_frames, shares, split_validation

__all__ = [
    "Batch",
    "GroupDataset",
    "Groups",
    "LabelSource",
    "ScanGroups",
    "SeveralScans",
    "choose_frames",
    "covering_groups",
    "labels_of",
    "make_groups",
    "shares",
    "split_validation",
]

_HOMES = {
    **dict.fromkeys(("Batch", "GroupDataset", "ScanGroups", "SeveralScans"), "dataset"),
    **dict.fromkeys(("Groups", "covering_groups", "make_groups"), "grouping"),
    **dict.fromkeys(("LabelSource", "labels_of"), "labels"),
    **dict.fromkeys(("choose_frames", "shares", "split_validation"), "sampling"),
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
