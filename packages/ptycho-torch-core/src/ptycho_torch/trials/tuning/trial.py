"""One trial of a search, and what there is to say about it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from ptycho_config import ConfigError, Problem
from ptycho_torch.trials.tuning.space import Point

__all__ = ["DECIDED", "State", "Trial", "trials_from"]

State: TypeAlias = Literal["complete", "worse", "failed", "out of time", "interrupted"]

DECIDED: tuple[State, ...] = ("complete", "worse", "failed")
"""States after which the same settings need not be tried again."""

_STATES: tuple[State, ...] = (*DECIDED, "out of time", "interrupted")


@dataclass(frozen=True, kw_only=True)
class Trial:
    """Settings that were tried.

    Attributes
    ----------
    number
        From 0, in the order in which trials began.
    point
        Place in the search.
    settings
        What it states beside what is fixed, by the names of :class:`ptycho_config.RefineConfig`.
    state
        ``complete``; ``worse`` than the best so far by so much, after a part of the splits, that the others
        were left out; ``failed``; ``out of time``; ``interrupted``.
    deviances
        (k,) float64 for every split that was fitted to its end: Poisson deviance of the hidden pixels of each
        held-out frame, per photon.
    seconds
        What it took; s.
    reason
        Why it failed; empty otherwise.
    """

    number: int
    point: Point
    settings: Mapping[str, Any]
    state: State
    deviances: Sequence[npt.NDArray[np.float64]] = field(default=(), repr=False)
    seconds: float
    reason: str = ""

    @property
    def deviance(self) -> float:
        """Mean over the frames that were held out; NaN where none was fitted."""
        return float(np.concatenate(self.deviances).mean()) if len(self.deviances) else math.nan

    @property
    def is_decided(self) -> bool:
        """Whether the same settings need not be tried again."""
        return self.state in DECIDED

    def to_dict(self) -> dict[str, Any]:
        """Plain data, from which `trials_from` makes it again."""
        return {
            "number": self.number,
            "state": self.state,
            "settings": dict(self.settings),
            "deviance": self.deviance if math.isfinite(self.deviance) else None,
            "n_splits": len(self.deviances),
            "seconds": self.seconds,
            "reason": self.reason,
            "point": dict(self.point),
            "deviances": [one.tolist() for one in self.deviances],
        }


def trials_from(rows: Any) -> tuple[Trial, ...]:
    """Trials as their `to_dict` says them.

    Raises
    ------
    ConfigError
        If the rows say no trials.
    """
    try:
        return tuple(_trial(number, row) for number, row in enumerate(rows))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        expected = f"trials that a search wrote ({type(error).__name__}: {error})"
        raise ConfigError(Problem("trials", "rows of another kind", expected)) from error


def _trial(number: int, row: Mapping[str, Any]) -> Trial:
    if row["number"] != number or row["state"] not in _STATES:
        raise ValueError(f"trial {row['number']!r} of state {row['state']!r} in row {number}")
    return Trial(
        number=number,
        point={str(name): float(value) for name, value in row["point"].items()},
        settings=dict(row["settings"]),
        state=row["state"],
        deviances=tuple(np.array(one, dtype=np.float64) for one in row["deviances"]),
        seconds=float(row["seconds"]),
        reason=str(row["reason"]),
    )
