"""Which unknowns of a refinement would pay for a scan, told by frames that were held out.

Some dozens of short refinements of a region of the scan decide. Beside the plain one, every candidate is
fitted to the same frames with the same pixels hidden, see :mod:`ptycho_torch.trials.hidden`. One that pays
best is kept, and the others are tried again beside it, until none pays any more: a large fault hides
smaller ones.

When a candidate pays is told in :mod:`ptycho_torch.trials.gains`.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ptycho_config import ConfigError, Problem, RefineConfig, evolve, flag_words
from ptycho_torch.control import Progress
from ptycho_torch.data.scan.contract import Scan
from ptycho_torch.denormals import flushed_denormals
from ptycho_torch.trials.gains import (
    EPOCHS,
    FLOOR,
    LEAST,
    SPLITS,
    Deviances,
    Gain,
    gain_of,
    may_pay,
    region_of,
    share_of_gain,
    why_untold,
)
from ptycho_torch.trials.hidden import Split, splits_of

__all__ = ["NAMES", "Candidate", "PayingTrial", "refine_flags", "try_unknowns"]

_MORE_MODES = 3
_VARIATION = 2

_STEADY: dict[str, tuple[str, dict[str, Any]]] = {
    "dose": ("a dose of every frame", {"refine_dose": True}),
    "background": ("a background", {"refine_background": "smooth"}),
    "likelihood": ("the likelihood of amplitudes", {"likelihood": "amplitude"}),
    "sub-pixel model": ("a probe that moves between pixels", {"sub_pixel": "probe"}),
    "geometry": ("scale, rotation and shear of the scan", {"refine_geometry": True}),
    "drift": ("a drift of the scan", {"refine_drift": True}),
    "positions": ("the position of every frame", {"refine_positions": True}),
    "probe": ("the probe", {"refine_probe": True}),
}
"""Name, in words, and settings; simple ones first."""

_MODES, _VARIED = "probe modes", "probe variation"

NAMES = (*_STEADY, _MODES, _VARIED)
"""All unknowns that are tried, simple ones first."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One unknown that was tried beside the plain refinement.

    Attributes
    ----------
    name, words
        What it is.
    flags
        What to type for it alone.
    gain
        Share of the deviance of held-out frames that it takes away alone; negative: it adds some. Over the
        splits that were looked at: all of them, or as many as told that it does not pay.
    sureness
        The mean gain of a frame in standard errors.
    n_splits
        Splits that were looked at.
    pays
        Whether it does alone.
    advised
        Whether it is among the flags that are advised together.
    """

    name: str
    words: str
    flags: str
    gain: float
    sureness: float
    n_splits: int
    pays: bool
    advised: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "name": self.name,
            "flags": self.flags,
            "gain": self.gain,
            "sureness": self.sureness,
            "n_splits": self.n_splits,
            "pays": self.pays,
            "advised": self.advised,
        }


@dataclass(frozen=True, kw_only=True)
class PayingTrial:
    """What trying told.

    Attributes
    ----------
    flags
        What to add to ``ptycho-torch refine``; empty: nothing pays. None: nothing can be said.
    settings
        The same by the names of :class:`ptycho_config.RefineConfig`.
    gain
        Share of the deviance of held-out frames that all of it together takes away.
    candidates
        All that was tried, the best first.
    n_frames
        Frames of the region, each of which was held out once.
    verdict
        What it means, in a sentence.
    """

    flags: str | None
    settings: Mapping[str, Any] = field(default_factory=dict)
    gain: float
    candidates: tuple[Candidate, ...]
    n_frames: int
    verdict: str

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "flags": self.flags,
            "gain": self.gain,
            "n_frames": self.n_frames,
            "n_splits": SPLITS,
            "verdict": self.verdict,
            "unknowns": [one.to_dict() for one in self.candidates],
        }


def refine_flags(settings: Mapping[str, Any]) -> str:
    """What to type for settings of :class:`ptycho_config.RefineConfig` that are on or have a value."""
    return " ".join(flag_words(RefineConfig, settings))


def try_unknowns(
    scan: Scan, *, only: Collection[str] = NAMES, seed: int = 0, progress: Progress | None = None
) -> PayingTrial:
    """Refine a region of a scan with each of the unknowns that it may need, and say which of them pay.

    Parameters
    ----------
    scan
        As opened, in the right orientation.
    only
        Which of `NAMES` are tried.
    seed
        Of the pixels that held-out frames show.
    progress
        Called with fits done and fits that there may be.

    Raises
    ------
    ConfigError
        If there is no unknown of a name.

    Examples
    --------
    >>> from ptycho_torch.data.simulation import Faults, simulate_scene
    >>> from ptycho_torch.trials import try_unknowns
    >>> faults = Faults(dose_rms=0.3)
    >>> scan = simulate_scene("random_field", N=32, grid=(6, 6), step_px=4.0, seed=1, faults=faults)
    >>> try_unknowns(scan, only=("dose", "background")).flags
    '--refine-dose'
    """
    unknown = set(only) - set(NAMES)
    if unknown:
        raise ConfigError(Problem("only", sorted(unknown)[0], f"names among {', '.join(NAMES)}"))
    untold = why_untold(scan)
    if untold is not None:
        return _untold(scan, untold)
    with flushed_denormals():
        return _Search(region_of(scan).scan, only, seed, progress).run()


def _untold(scan: Scan, why: str) -> PayingTrial:
    return PayingTrial(flags=None, gain=math.nan, candidates=(), n_frames=scan.n_frames, verdict=why)


class _Search:
    """Keep what pays best, one after the other."""

    def __init__(self, scan: Scan, only: Collection[str], seed: int, progress: Progress | None) -> None:
        self.splits = list(splits_of(scan, SPLITS, seed=seed))
        self.scan, self.only, self.progress = scan, only, progress
        self.n_fits = 0

    def run(self) -> PayingTrial:
        """Rounds until nothing pays any more."""
        kept: dict[str, Any] = {}
        names: list[str] = []
        plain = [self._fit(split, kept) for split in self.splits]
        now: Deviances = plain
        alone: dict[str, tuple[str, dict[str, Any], Gain]] = {}
        while True:
            found: list[tuple[str, dict[str, Any], Gain]] = []
            for name, words, settings in self._candidates(kept):
                if name not in self.only:
                    continue
                gain = self._beside(now, {**kept, **settings})
                alone.setdefault(name, (words, settings, gain))
                found += [(name, settings, gain)] if gain.pays else []
            if not found:
                break
            name, settings, gain = _simplest(found)
            kept |= settings
            names.append(name)
            now = gain.deviances
        if self.progress is not None:
            self.progress(self.n_fits, self.n_fits)
        return self._told(kept, names, alone, share_of_gain(plain, now))

    def _candidates(self, kept: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
        """What may be added to what is kept."""
        for name, (words, settings) in _STEADY.items():
            if not settings.items() <= kept.items():
                yield name, words, settings
        modes = (kept.get("probe_modes") or self.scan.n_modes) + 1
        if modes <= self.scan.n_modes + _MORE_MODES:
            yield _MODES, "one more mode of the probe", {"refine_probe": True, "probe_modes": modes}
        if "probe_variation" not in kept:
            varied = {"refine_probe": True, "probe_variation": _VARIATION}
            yield _VARIED, "a probe that varies over the scan", varied

    def _fit(self, split: Split, settings: Mapping[str, Any]) -> npt.NDArray[np.float64]:
        plain = RefineConfig(refine_epochs=EPOCHS, refine_tolerance=0.0, error_bars="none")
        found = split.fit(evolve(plain, **settings))
        self.n_fits += 1
        if self.progress is not None:
            # How many there will be is not known: those that do not pay end early.
            self.progress(self.n_fits, self.n_fits + len(_STEADY))
        return found

    def _beside(self, now: Deviances, settings: Mapping[str, Any]) -> Gain:
        """Fit split after split, for as long as every one of them may still tell that it pays."""
        found: list[npt.NDArray[np.float64]] = []
        for split, before in zip(self.splits, now, strict=True):
            found.append(self._fit(split, settings))
            if not may_pay(before, found[-1]):
                break
        return gain_of(now, found)

    def _told(
        self,
        kept: dict[str, Any],
        names: list[str],
        alone: Mapping[str, tuple[str, dict[str, Any], Gain]],
        gain: float,
    ) -> PayingTrial:
        flags = refine_flags(kept)
        tried = [
            Candidate(
                name=name,
                words=words,
                flags=refine_flags(settings),
                gain=found.share,
                sureness=found.sureness,
                n_splits=found.n_splits,
                pays=found.pays,
                advised=name in names,
            )
            for name, (words, settings, found) in alone.items()
        ]
        if kept:
            words = ", ".join(alone[name][0] for name in dict.fromkeys(names))
            verdict = (
                f"it pays to fit {words}: {flags} takes away {gain:.0%} of the misfit of frames held out"
            )
        else:
            verdict = (
                f"nothing pays: no unknown takes away {LEAST:.0%} of the misfit of frames held out, and "
                f"{FLOOR:g} per photon, in each of {SPLITS} splits"
            )
        return PayingTrial(
            flags=flags,
            settings=kept,
            gain=gain,
            candidates=tuple(sorted(tried, key=lambda one: -one.gain)),
            n_frames=self.scan.n_frames,
            verdict=verdict,
        )


def _simplest(found: list[tuple[str, dict[str, Any], Gain]]) -> tuple[str, dict[str, Any], Gain]:
    """The first, in order of simplicity, that leaves hardly more than the best one."""
    left = min(1 - gain.share for _, _, gain in found)
    return next(one for one in found if 1 - one[2].share <= left * (1 + LEAST))
