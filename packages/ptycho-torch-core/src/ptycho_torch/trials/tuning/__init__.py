"""Search the settings of a refinement by frames that were held out."""

from __future__ import annotations

from ptycho_torch.trials.tuning.outcome import Tuning
from ptycho_torch.trials.tuning.proposing import require_optuna, study_of
from ptycho_torch.trials.tuning.search import TuningInterrupted, TuningProblem, tune, tuning_problem
from ptycho_torch.trials.tuning.space import Space
from ptycho_torch.trials.tuning.trial import Trial, trials_from

__all__ = [
    "Space",
    "Trial",
    "Tuning",
    "TuningInterrupted",
    "TuningProblem",
    "require_optuna",
    "study_of",
    "trials_from",
    "tune",
    "tuning_problem",
]
