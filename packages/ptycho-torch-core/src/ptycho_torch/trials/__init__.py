"""Solve a few neighbouring frames several ways, to say which of them a scan was measured in."""

from __future__ import annotations

from ptycho_torch.trials.neighbours import Neighbours, choose_neighbours
from ptycho_torch.trials.orientation import OrientationTrial, try_orientations
from ptycho_torch.trials.scale import ScaleTrial, try_scales

__all__ = [
    "Neighbours",
    "OrientationTrial",
    "ScaleTrial",
    "choose_neighbours",
    "try_orientations",
    "try_scales",
]
