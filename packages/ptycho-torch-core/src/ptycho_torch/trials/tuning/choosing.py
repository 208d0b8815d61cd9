"""Which of the settings that were tried is kept.

Not the one with the least deviance: of many that differ by chance one is the best by chance. Of all trials
beside which that one does not *pay*, see :mod:`ptycho_torch.trials.gains`, the one with the fewest departures
from the defaults is kept, as the one-standard-error rule does (Breiman, Friedman, Olshen and Stone 1984).
"""

from __future__ import annotations

from collections.abc import Iterable

from ptycho_torch.trials.gains import SPLITS, gain_of
from ptycho_torch.trials.tuning.space import Space
from ptycho_torch.trials.tuning.trial import Trial

__all__ = ["best_of", "least_of"]


def least_of(trials: Iterable[Trial]) -> Trial | None:
    """The complete trial with the least deviance, the first of several."""
    complete = [trial for trial in trials if trial.state == "complete" and len(trial.deviances) == SPLITS]
    return min(complete, key=lambda trial: (trial.deviance, trial.number), default=None)


def best_of(space: Space, trials: Iterable[Trial]) -> Trial | None:
    """The simplest trial that none predicts held-out frames better than, beyond the noise."""
    seen = list(trials)
    least = least_of(seen)
    if least is None:
        return None
    equal = [
        trial
        for trial in seen
        if trial.state == "complete"
        and (trial is least or not gain_of(trial.deviances, least.deviances).pays)
    ]
    return min(equal, key=lambda trial: (space.departures(trial.point), trial.deviance, trial.number))
