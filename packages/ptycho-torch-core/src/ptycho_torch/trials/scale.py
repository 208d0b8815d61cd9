"""By which factor the positions of a scan fit its frames and probe."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ptycho_config import OrientationConfig
from ptycho_torch.control import Progress
from ptycho_torch.data.scan.contract import Scan
from ptycho_torch.denormals import flushed_denormals
from ptycho_torch.trials.fit import LONG, SURE, Fit, empty_fit, fit, share_of, sureness
from ptycho_torch.trials.neighbours import FEWEST, Neighbours, choose_neighbours

__all__ = ["ScaleTrial", "try_scales"]

_AROUND = (0.4, 2.5)
_STEPS = (0.08, 0.8)
"""Steps of a scan in diameters of its probe: no scan is measured with much smaller or larger ones."""

_RATIO = 1.08
"""Of one factor to the next: fits begin to fail when the scale is wrong by some 20 %."""

_LOOK = 10
"""Epochs of a first look: shorter ones favour small factors, under which all frames see one place."""

_FINER = (0.04, 0.02, 0.01)
_MOVES = 3
_FAR = (0.7, 1.4)
_WORSE = 1.03
"""Ratio of deviances from which a factor is worse; a scale that is right to 3 % reaches 1.04."""

_ROUND = tuple(mantissa * 10.0**power for power in range(-9, 10) for mantissa in (1, 2, 5))


@dataclass(frozen=True, kw_only=True)
class ScaleTrial:
    """What trying told.

    Attributes
    ----------
    factor
        On the positions of the file, to state as ``position_scale``; None: nothing can be said.
    is_as_opened
        Whether that is how the scan was opened.
    misfit, sureness
        How the scan fits as it was opened: its deviance as a multiple of that of the best factor, and the
        standard errors by which it is worse.
    tried
        Factors and their shares after a short fit, in order.
    n_frames, n_held
        Frames that were used, and those of them that were only predicted.
    verdict
        What it means, in a sentence.
    """

    factor: float | None
    is_as_opened: bool
    misfit: float
    sureness: float
    tried: tuple[tuple[float, float], ...]
    n_frames: int
    n_held: int
    verdict: str

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "factor": self.factor,
            "is_as_opened": self.is_as_opened,
            "misfit": self.misfit,
            "sureness": self.sureness,
            "n_frames": self.n_frames,
            "n_held": self.n_held,
            "verdict": self.verdict,
            "tried": [{"factor": factor, "share": share} for factor, share in self.tried],
        }


def try_scales(
    scan: Scan, *, applied: OrientationConfig | None = None, progress: Progress | None = None
) -> ScaleTrial:
    """Solve a few dozen neighbouring frames with their positions scaled by many factors.

    Parameters
    ----------
    scan
        As opened, in the right orientation; its probe is taken as it is.
    applied
        What the scan was opened with, so that the factor is that of the file.
    progress
        Called with fits done and fits in all.

    Examples
    --------
    >>> from ptycho_config import OrientationConfig
    >>> from ptycho_torch.data.scan.orientation import oriented
    >>> from ptycho_torch.data.simulation.simulate import simulate_scene
    >>> from ptycho_torch.trials import try_scales
    >>> scan = simulate_scene("random_field", N=32, grid=(6, 6), step_px=4.0, jitter_px=1.0, seed=1)
    >>> try_scales(oriented(scan, OrientationConfig(position_scale=0.5))).factor
    2.0
    """
    before = 1.0 if applied is None else applied.position_scale
    neighbours = choose_neighbours(scan, spread=False)
    if scan.n_frames < FEWEST or not neighbours.step > 0:
        few = f"{scan.n_frames} frames are too few to tell; {FEWEST} or more, at different places, are needed"
        return _unknown(neighbours, few)
    with flushed_denormals():
        return _search(neighbours, before, progress)


def _unknown(neighbours: Neighbours, verdict: str) -> ScaleTrial:
    return ScaleTrial(
        factor=None,
        is_as_opened=False,
        misfit=math.nan,
        sureness=math.nan,
        tried=(),
        n_frames=neighbours.n_frames,
        n_held=int(neighbours.held.sum()),
        verdict=verdict,
    )


def _factors(neighbours: Neighbours) -> list[float]:
    """Factors to look at: about one, and those that make the step of the scan a usual one."""
    low, high = (share * neighbours.diameter / neighbours.step for share in _STEPS)
    if low / 3 < 1 < high * 3:
        low, high = min(low, _AROUND[0]), max(high, _AROUND[1])
    first, last = (math.floor(math.log(end) / math.log(_RATIO)) for end in (low, high))
    return [_RATIO**power for power in range(first, last + 2)]


def _is_worse(one: Fit, best: Fit) -> bool:
    return sureness(one, best) >= SURE and one.deviance > _WORSE * best.deviance


def _search(neighbours: Neighbours, before: float, progress: Progress | None) -> ScaleTrial:
    factors = _factors(neighbours)
    empty = empty_fit(neighbours)
    known: dict[tuple[float, int], Fit] = {}
    n_fits = len(factors) + 4 * len(_FINER) + 4

    def attempt(factor: float, epochs: int = LONG) -> Fit:
        if (factor, epochs) not in known:
            known[factor, epochs] = fit(neighbours, OrientationConfig(position_scale=factor), epochs)
            if progress is not None:
                progress(min(len(known), n_fits - 1), n_fits)
        return known[factor, epochs]

    looks = [attempt(factor, _LOOK) for factor in factors]
    best = _downhill(min(looks, key=lambda one: one.deviance).settings.position_scale, attempt)
    # Frames that no longer overlap predict nothing of each other, and may lie further apart than memory.
    overlaps = neighbours.step < 2 * _STEPS[1] * neighbours.diameter
    opened = attempt(1.0) if overlaps else empty
    best = min([best, opened], key=lambda one: one.deviance)
    beside = [attempt(best.settings.position_scale * far) for far in _FAR]
    if progress is not None:
        progress(n_fits, n_fits)
    top = min(looks, key=lambda one: one.deviance)
    return _told(
        _Search(
            neighbours=neighbours,
            before=before,
            empty=empty,
            best=best,
            opened=opened,
            rounded=_rounded(best, before, attempt),
            tells=all(_is_worse(one, best) for one in beside),
            tried=tuple((one.settings.position_scale * before, share_of(one, top, empty)) for one in looks),
        )
    )


def _downhill(factor: float, attempt: Callable[[float], Fit]) -> Fit:
    """The best fit near a factor, in steps that become finer."""
    best = attempt(factor)
    for width in _FINER:
        for _ in range(_MOVES):
            middle = best
            near = [attempt(middle.settings.position_scale * (1 + side * width)) for side in (-1, 1)]
            best = min([middle, *near], key=lambda one: one.deviance)
            if best is middle:
                break
    return best


def _rounded(best: Fit, before: float, attempt: Callable[[float], Fit]) -> Fit:
    """The fit of a round factor of the file that is near, where the frames cannot tell the two."""
    factor = best.settings.position_scale * before
    for number in _ROUND:
        if abs(math.log(number / factor)) < 2 * _FINER[-1]:
            other = attempt(number / before)
            if not _is_worse(other, best):
                return other
    return best


@dataclass(frozen=True, kw_only=True)
class _Search:
    """What a search came to, before it is put in words."""

    neighbours: Neighbours
    before: float
    empty: Fit
    best: Fit
    opened: Fit
    rounded: Fit
    tells: bool
    tried: tuple[tuple[float, float], ...]


def _told(search: _Search) -> ScaleTrial:
    if sureness(search.empty, search.best) < SURE:
        return _unknown(
            search.neighbours,
            "no factor explains the frames better than an empty object: too few counts, or orientation, "
            "probe or mask are wrong; --orientation tries the first",
        )
    if not search.tells:
        return _unknown(
            search.neighbours,
            "nothing can tell: factors that differ by a third fit alike; the frames are too dim, too few or "
            "too much alike",
        )
    opened, best = search.opened, search.best
    as_opened = not _is_worse(opened, best)
    misfit, sure = opened.deviance / best.deviance, sureness(opened, best)
    within = f"to within {_FINER[-1]:.0%}"
    factor = search.before if as_opened else search.rounded.settings.position_scale * search.before
    if as_opened:
        verdict = f"as it was opened, the scale of the positions fits, {within}"
    else:
        # Further digits than the search can tell are noise.
        factor = float(f"{factor:.3g}")
        verdict = (
            f"the positions fit with --position-scale {factor:g}, {within}; as it was opened, the misfit is "
            f"{misfit:.3g} times that, {sure:.1f} standard errors worse"
        )
    return ScaleTrial(
        factor=factor,
        is_as_opened=as_opened,
        misfit=misfit,
        sureness=sure,
        tried=search.tried,
        n_frames=search.neighbours.n_frames,
        n_held=int(search.neighbours.held.sum()),
        verdict=verdict,
    )
