"""What a search found, as data and in a sentence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, TypeAlias

from ptycho_torch.trials.gains import FLOOR, LEAST, SPLITS, Gain, gain_of
from ptycho_torch.trials.paying import refine_flags
from ptycho_torch.trials.tuning.choosing import best_of, least_of
from ptycho_torch.trials.tuning.space import Space
from ptycho_torch.trials.tuning.trial import Trial

__all__ = ["Ending", "Tuning"]

Ending: TypeAlias = Literal["running", "trials", "budget", "nothing new", "interrupted"]

_ENDED = {
    "running": "it has not ended",
    "trials": "as many trials as were asked for are done",
    "budget": "the budget is spent",
    "nothing new": "nothing new was proposed",
    "interrupted": "it was interrupted",
}


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """What a search of settings found.

    Attributes
    ----------
    space
        What was searched.
    fixed
        Settings that were stated and not searched.
    trials
        Everything that was tried, in order.
    n_frames
        Frames of the region, each of which was held out once.
    ended
        Why the search ended.
    """

    space: Space = field(repr=False)
    fixed: Mapping[str, Any]
    trials: tuple[Trial, ...] = field(repr=False)
    n_frames: int
    ended: Ending

    @cached_property
    def plain(self) -> Trial | None:
        """The last trial of the defaults, with what is fixed; None if it was not begun."""
        return next((trial for trial in reversed(self.trials) if not trial.settings), None)

    @cached_property
    def best(self) -> Trial | None:
        """The simplest trial that none predicts held-out frames better than, beyond the noise."""
        return best_of(self.space, self.trials)

    @property
    def settings(self) -> Mapping[str, Any]:
        """What the best states beside what is fixed; empty: the defaults, or no trial was complete."""
        return {} if self.best is None else self.best.settings

    @property
    def flags(self) -> str:
        """The same as flags of ``ptycho-torch refine``."""
        return refine_flags(self.settings)

    @cached_property
    def gain(self) -> Gain | None:
        """What the best gains beside the defaults; None where either has no result."""
        if self.best is None or self.plain is None or self.plain.state != "complete":
            return None
        return gain_of(self.plain.deviances, self.best.deviances)

    @cached_property
    def largest_gain(self) -> Gain | None:
        """The same of the trial with the least deviance, be it more than chance or not."""
        least = least_of(self.trials)
        if least is None or self.plain is None or self.plain.state != "complete":
            return None
        return gain_of(self.plain.deviances, least.deviances)

    @property
    def verdict(self) -> str:
        """What it means, in a sentence."""
        if self.best is None:
            return "no trial came to its end: nothing can be said"
        gain, largest = self.gain, self.largest_gain
        if gain is None or largest is None:
            why = "were not tried" if self.plain is None else f"have no result ({self.plain.state})"
            return f"{self.flags} explains held-out frames best; the defaults {why}"
        if not self.best.settings and largest.share <= 0:
            return "nothing beats the defaults: no other settings predict held-out frames better"
        if not self.best.settings:
            return (
                "nothing beats the defaults beyond the noise: the best of all takes away "
                f"{largest.share:.1%} of the misfit of held-out frames, and {LEAST:.0%} of it and "
                f"{FLOOR:g} per photon in each of {SPLITS} splits are asked for"
            )
        return (
            f"{self.flags} takes away {gain.share:.0%} of the misfit of held-out frames, "
            f"{gain.sureness:.0f} standard errors of it"
        )

    @property
    def ending(self) -> str:
        """Why the search ended, in words."""
        return _ENDED[self.ended]

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        gain = self.gain
        return {
            "flags": self.flags,
            "settings": dict(self.settings),
            "best": None if self.best is None else self.best.number,
            "gain": None if gain is None else gain.share,
            "sureness": None if gain is None else gain.sureness,
            "verdict": self.verdict,
            "ended": self.ended,
            "n_frames": self.n_frames,
            "n_splits": SPLITS,
            "fixed": dict(self.fixed),
            "space": self.space.to_dict(),
            "trials": [trial.to_dict() for trial in self.trials],
        }
