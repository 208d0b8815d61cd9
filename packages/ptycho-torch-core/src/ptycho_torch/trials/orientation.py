"""Which of the orientations of frames against positions fits a scan.

Frames and positions can each lie in eight ways, which makes 64. If frames, positions, probe and object are
all turned together nothing changes; with the probe given, two ways are therefore equal where the probe looks
the same after the turn by which they differ (all eight of a round probe, two of one with a centre of
symmetry), and their pictures are turned or mirrored as a whole. Frames turned by half a turn also come from
the complex conjugates of object and probe: a real probe cannot tell these. What is equal is found by trying,
and said.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from ptycho_config import OrientationConfig
from ptycho_torch.control import Progress
from ptycho_torch.data.scan.contract import Scan
from ptycho_torch.data.scan.orientation import (
    ORIENTATIONS,
    Orientation,
    flags_of,
    frame_orientation,
    orientation_config,
    position_orientation,
)
from ptycho_torch.denormals import flushed_denormals
from ptycho_torch.trials.fit import LONG, SHORT, SURE, Fit, empty_fit, fit, is_worse, share_of, sureness
from ptycho_torch.trials.neighbours import FEWEST, Neighbours, choose_neighbours

__all__ = ["OrientationTrial", "Way", "try_orientations"]

_LOOKED_AT = 0.95
"""Share of the best first look from which all members of a class are fitted longer."""

_HALF_TURN: Orientation = ((-1, 0), (0, -1))
_CONJUGATE = (
    "Nothing need be turned if the probe is conjugated, as programs with the other sign in their transform "
    "store it: numpy.conj(probe) fits as well"
)
_OTHERS = 4
_SHOWN = 8


@dataclass(frozen=True, kw_only=True)
class Way:
    """One way to open a scan, and how it fits.

    Attributes
    ----------
    settings
        Complete settings, that were applied already included.
    change
        What is still to be done to the scan as it was opened.
    share
        Structure it explains, as a share of what the best way does.
    sureness
        Standard errors by which it is worse than the best.
    fits
        Whether the frames cannot tell it from the best.
    """

    settings: OrientationConfig
    change: OrientationConfig
    share: float
    sureness: float
    fits: bool

    @property
    def flags(self) -> str:
        """What to type; empty: nothing."""
        return flags_of(self.settings)

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {"flags": self.flags, "share": self.share, "sureness": self.sureness, "fits": self.fits}


@dataclass(frozen=True, kw_only=True)
class OrientationTrial:
    """What trying told.

    Attributes
    ----------
    found
        The simplest way that fits; None: nothing can be said.
    is_as_opened
        Whether that is how the scan was opened.
    ways
        Those that were fitted to the end, the best first.
    misfit
        Deviance of the best way as a share of that of an empty object: 0.01 to 0.2 where all is right and
        frames hold 2,000 counts or more, larger with fewer; NaN where nothing was fitted.
    n_frames, n_held
        Frames that were used, and those of them that were only predicted.
    fits_conjugate
        Whether the scan fits as it was opened with the complex conjugate of its probe, and not without.
    verdict
        What it means, in some sentences.
    """

    found: Way | None
    is_as_opened: bool
    ways: tuple[Way, ...]
    misfit: float
    n_frames: int
    n_held: int
    verdict: str
    fits_conjugate: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "flags": None if self.found is None else self.found.flags,
            "fits_conjugate": self.fits_conjugate,
            "is_as_opened": self.is_as_opened,
            "misfit": self.misfit,
            "n_frames": self.n_frames,
            "n_held": self.n_held,
            "verdict": self.verdict,
            "ways": [way.to_dict() for way in self.ways],
        }


def _times(first: Orientation, second: Orientation) -> Orientation:
    """First the second orientation, then the first."""
    (a, b), (c, d) = (np.array(first) @ np.array(second)).tolist()
    return ((a, b), (c, d))


def _complete(settings: OrientationConfig, applied: OrientationConfig) -> OrientationConfig:
    """Settings of the file for what was tried on a scan that was opened with ``applied``."""
    return orientation_config(
        _times(frame_orientation(settings), frame_orientation(applied)),
        _times(position_orientation(settings), position_orientation(applied)),
        settings.position_scale * applied.position_scale,
    )


def _effort(settings: OrientationConfig) -> tuple[bool, bool, int]:
    """How much a way changes: positions rather than frames, one of them rather than both, few flags."""
    turns_frames = frame_orientation(settings) != ORIENTATIONS[0]
    turns_positions = position_orientation(settings) != ORIENTATIONS[0]
    return turns_frames and turns_positions, turns_frames, flags_of(settings).count("--")


def try_orientations(
    scan: Scan, *, applied: OrientationConfig | None = None, progress: Progress | None = None
) -> OrientationTrial:
    """Solve a few dozen neighbouring frames in all orientations of frames and positions.

    Parameters
    ----------
    scan
        As opened; its probe is taken as it is.
    applied
        What the scan was opened with, so that the flags that are named are complete.
    progress
        Called with fits done and fits in all.

    Examples
    --------
    >>> from ptycho_config import OrientationConfig
    >>> from ptycho_torch.data.scan.orientation import oriented
    >>> from ptycho_torch.data.simulation.simulate import simulate_scene
    >>> from ptycho_torch.trials import try_orientations
    >>> scan = simulate_scene("random_field", N=32, grid=(6, 6), step_px=4.0, jitter_px=1.0, seed=1)
    >>> trial = try_orientations(oriented(scan, OrientationConfig(flip_x=True)))
    >>> trial.found.flags, trial.is_as_opened
    ('--flip-x', False)
    """
    stated = OrientationConfig() if applied is None else applied
    if scan.n_frames < FEWEST:
        return OrientationTrial(
            found=None,
            is_as_opened=False,
            ways=(),
            misfit=math.nan,
            n_frames=scan.n_frames,
            n_held=0,
            verdict=f"{scan.n_frames} frames are too few to tell; {FEWEST} or more are needed",
        )
    neighbours = choose_neighbours(scan)
    with flushed_denormals():
        fits = _fits(neighbours, progress)
        empty = empty_fit(neighbours)
    return _trial(neighbours, fits, empty, stated)


def _fits(neighbours: Neighbours, progress: Progress | None) -> list[Fit]:
    """A short fit of every way, then longer ones of those that may be right; the best first."""
    ways = list(product(ORIENTATIONS, ORIENTATIONS))
    total = len(ways)
    looks: dict[tuple[Orientation, Orientation], Fit] = {}
    for frames, positions in ways:
        looks[frames, positions] = fit(neighbours, orientation_config(frames, positions), SHORT)
        if progress is not None:
            progress(len(looks), total + 2 * len(ORIENTATIONS))
    empty = empty_fit(neighbours)
    order = sorted(ways, key=lambda way: looks[way].deviance)
    relation = {way: _times(_transposed(way[0]), way[1]) for way in ways}
    best = looks[order[0]]
    classes = list(dict.fromkeys(relation[way] for way in order))
    firsts = {name: next(way for way in order if relation[way] == name) for name in classes}
    likely = [
        name
        for name in classes
        if name == classes[0] or share_of(looks[firsts[name]], best, empty) > _LOOKED_AT
    ]
    chosen = [way for way in order if relation[way] in likely]
    chosen += [firsts[name] for name in classes if name not in likely][:_OTHERS]
    found = []
    for way in chosen:
        found.append(fit(neighbours, looks[way].settings, LONG))
        if progress is not None:
            progress(total + len(found), total + len(chosen))
    return sorted(found, key=lambda one: one.deviance)


def _transposed(orientation: Orientation) -> Orientation:
    (a, b), (c, d) = orientation
    return ((a, c), (b, d))


def _trial(
    neighbours: Neighbours, fits: list[Fit], empty: Fit, applied: OrientationConfig
) -> OrientationTrial:
    best = fits[0]
    ways = tuple(
        Way(
            settings=_complete(one.settings, applied),
            change=one.settings,
            share=share_of(one, best, empty),
            sureness=sureness(one, best),
            fits=one is best or not is_worse(one, best, empty),
        )
        for one in fits
    )
    fitting = [way for way in ways if way.fits]
    explains = sureness(empty, best) >= SURE
    as_opened = [way for way in fitting if way.settings == applied]
    misfit = best.deviance / empty.deviance
    found = None
    if explains and _tells(fits, ways):
        found = as_opened[0] if as_opened else min(fitting, key=lambda way: _effort(way.settings))
    conjugate = found is not None and not as_opened and any(_is_half_turn(way.change) for way in fitting)
    verdict = _verdict(found, bool(as_opened), fitting, ways, misfit, explains=explains)
    return OrientationTrial(
        found=found,
        is_as_opened=found is not None and bool(as_opened),
        ways=ways[:_SHOWN],
        misfit=misfit,
        n_frames=neighbours.n_frames,
        n_held=int(neighbours.held.sum()),
        verdict=f"{verdict}. {_CONJUGATE}" if conjugate else verdict,
        fits_conjugate=conjugate,
    )


def _is_half_turn(change: OrientationConfig) -> bool:
    """Whether this turns frames by half a turn, and nothing else."""
    return frame_orientation(change) == _HALF_TURN and position_orientation(change) == ORIENTATIONS[0]


def _tells(fits: list[Fit], ways: tuple[Way, ...]) -> bool:
    """Whether some relation of frames and positions is ruled out, beside turns of the whole."""
    relations = {
        _times(_transposed(frame_orientation(one.settings)), position_orientation(one.settings))
        for one, way in zip(fits, ways, strict=True)
        if way.fits
    }
    # Half a turn of the frames, which a real probe cannot tell, is a relation of its own.
    return len(relations) <= 2


def _verdict(
    found: Way | None,
    as_opened: bool,
    fitting: list[Way],
    ways: tuple[Way, ...],
    misfit: float,
    *,
    explains: bool,
) -> str:
    if not explains:
        return (
            "no orientation explains the frames better than an empty object: too few counts, or positions, "
            "scale, probe or mask are wrong; --scale tries the scale"
        )
    if found is None:
        return (
            f"nothing can tell: {len(fitting)} orientations fit alike; the scan is too short, too regular or "
            "too dim"
        )
    others = [way for way in ways if not way.fits]
    margin = ""
    if others:
        next_one = others[0]
        margin = f"; the next, {next_one.flags or 'no flag'}, explains {next_one.share:.1%} of it, "
        margin += f"{next_one.sureness:.1f} standard errors worse"
    told = (
        "as it was opened, the scan fits" if as_opened else f"the scan fits with {found.flags or 'no flag'}"
    )
    told += f", with {misfit:.1%} of the misfit of an empty object"
    equal = [way for way in fitting if way is not found]
    if not equal:
        return f"{told}{margin}"
    simplest = sorted(equal, key=lambda way: _effort(way.settings))
    names = ", ".join(way.flags or "no flag" for way in simplest[:3])
    return (
        f"{told}{margin}. {len(equal)} more fit as well, with the picture turned or mirrored as a whole, "
        f"because the probe looks the same then: {names}{', ...' if len(equal) > 3 else ''}"
    )
