"""Solve a few neighbouring frames several ways, to say which of them a scan was measured in, or needs."""

from __future__ import annotations

from ptycho_torch.trials.neighbours import Neighbours, choose_neighbours
from ptycho_torch.trials.orientation import OrientationTrial, try_orientations
from ptycho_torch.trials.paying import Candidate, PayingTrial, try_unknowns
from ptycho_torch.trials.scale import ScaleTrial, try_scales
from ptycho_torch.trials.tuning import Trial, Tuning, TuningInterrupted, study_of, tune

__all__ = [
    "Candidate",
    "Neighbours",
    "OrientationTrial",
    "PayingTrial",
    "ScaleTrial",
    "Trial",
    "Tuning",
    "TuningInterrupted",
    "choose_neighbours",
    "study_of",
    "try_orientations",
    "try_scales",
    "try_unknowns",
    "tune",
]
