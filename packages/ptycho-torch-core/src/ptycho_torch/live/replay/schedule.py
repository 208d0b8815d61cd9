"""What is sent when: every frame and every position of a scan, with losses, disorder, delays and doubles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from ptycho_config import ConfigError, Problem

__all__ = ["Disturbances", "Event", "schedule"]

_TWICE_WITHIN = 10
"""By how many places a double follows at most."""


@dataclass(frozen=True, kw_only=True)
class Disturbances:
    """What goes wrong on the way; the same for the same seed.

    Attributes
    ----------
    drop
        Share of the frames that are never sent; 0 to 1.
    duplicate
        Share of the frames and of the positions that are sent again; 0 to 1.
    shuffle
        By how many places a frame or a position is sent too late at most.
    late_positions_s
        By how much positions are sent after their frames; s.
    seed
        Of everything that is drawn.

    Raises
    ------
    ConfigError
        A share is none, or a number is negative.
    """

    drop: float = 0.0
    duplicate: float = 0.0
    shuffle: int = 0
    late_positions_s: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("drop", "duplicate"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise ConfigError(Problem(name, value, "a share between 0 and 1"))
        for name in ("shuffle", "late_positions_s", "seed"):
            value = getattr(self, name)
            if not 0 <= value < float("inf"):
                raise ConfigError(Problem(name, value, "zero or more"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """One thing to send.

    Attributes
    ----------
    at_s
        When, after the first.
    what
        A frame, or a position that comes on its own.
    row
        Row of the scan.
    again
        Whether it was sent before.
    """

    at_s: float
    what: Literal["frame", "position"]
    row: int
    again: bool = False


def schedule(
    n_frames: int, rate_fps: float, disturbances: Disturbances, *, positions_alone: bool
) -> list[Event]:
    """Everything that is sent, by time.

    Parameters
    ----------
    n_frames
        Frames of the scan.
    rate_fps
        Frames a second; doubles come on top of them.
    disturbances
        What goes wrong.
    positions_alone
        Whether positions are sent on their own. If not, they are in the messages of the frames.

    Raises
    ------
    ConfigError
        The rate is not above zero.
    """
    if not 0 < rate_fps < float("inf"):
        raise ConfigError(Problem("rate", rate_fps, "frames per second above zero"))
    rng = np.random.default_rng(disturbances.seed)
    kept = np.flatnonzero(rng.random(n_frames) >= disturbances.drop)
    events = _sent("frame", kept, rate_fps, 0.0, disturbances, rng)
    if positions_alone:
        late = disturbances.late_positions_s
        events += _sent("position", np.arange(n_frames), rate_fps, late, disturbances, rng)
    # A position follows its frame where both are due.
    return sorted(events, key=lambda event: event.at_s)


def _sent(
    what: Literal["frame", "position"],
    rows: npt.NDArray[np.int64],
    rate_fps: float,
    late_s: float,
    disturbances: Disturbances,
    rng: np.random.Generator,
) -> list[Event]:
    """Rows at the times at which they are due, or later by their disorder."""
    places = rows + rng.uniform(0, disturbances.shuffle, len(rows))
    twice = rng.random(len(rows)) < disturbances.duplicate
    later = places[twice] + rng.uniform(0.5, _TWICE_WITHIN, int(twice.sum()))
    found = [(rows, places, False), (rows[twice], later, True)]
    return [
        Event(at_s=place / rate_fps + late_s, what=what, row=row, again=again)
        for numbers, at, again in found
        for row, place in zip(numbers.tolist(), at.tolist(), strict=True)
    ]
