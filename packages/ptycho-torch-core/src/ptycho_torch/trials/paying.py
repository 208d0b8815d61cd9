"""Which unknowns of a refinement would pay for a scan, told by frames that were held out.

Some dozens of short refinements of a region of the scan decide. Beside the plain one, every candidate is
fitted to the same frames with the same pixels hidden, see :mod:`ptycho_torch.trials.hidden`. One that pays
best is kept, and the others are tried again beside it, until none pays any more: a large fault hides
smaller ones.

A candidate pays if it lowers the deviance of the held-out frames by `LEAST` or more in each of `SPLITS`
splits, and in the mean over all frames by `SURE` standard errors of it. Chance hardly favours one side in
all four splits. The least share is there because on clean scans some gains are sure and yet of no use: with
few counts a background takes up what a noisy object spreads over the detector, 1 % or so, and further
epochs gain about as much. A gain must also reach `FLOOR` per photon: without noise no fit is at its end after
`EPOCHS`, and one that converges faster leaves half as much of next to nothing.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ptycho_config import ConfigError, Problem, RefineConfig, evolve, field_specs
from ptycho_torch.control import Progress
from ptycho_torch.data.scan.contract import Scan
from ptycho_torch.data.scan.geometry import is_near_field
from ptycho_torch.denormals import flushed_denormals
from ptycho_torch.refine.held_out.judging import photon_of
from ptycho_torch.trials.fit import SURE
from ptycho_torch.trials.hidden import Split, splits_of
from ptycho_torch.trials.neighbours import choose_neighbours

__all__ = [
    "EPOCHS",
    "FLOOR",
    "LEAST",
    "NAMES",
    "SPLITS",
    "Candidate",
    "PayingTrial",
    "refine_flags",
    "try_unknowns",
]

SPLITS = 4
"""Times that other frames are held out; together all frames of the region, each once."""

LEAST = 0.03
"""Share of the deviance of held-out frames that a candidate must take away in every split."""

FLOOR = 1e-5
"""Deviance per photon that a candidate must take away: some 0.3 % (rms) of the amplitudes of the frames.

Twice as many epochs take away 0.2e-5 from plain fits of clean scans with 10⁹ photons per frame.
"""

EPOCHS = 40
"""Of a fit: enough for probe and positions, which wait some epochs, to come out."""

_FRAMES = 100
_VALUES = 1 << 20
_FEWEST = 36
_MORE_MODES = 3
_VARIATION = 2

Deviances = list[npt.NDArray[np.float64]]

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
    specs = {spec.name: spec for spec in field_specs(RefineConfig)}
    typed = (
        specs[name].flags[0] if value is True else f"{specs[name].flags[0]} {value}"
        for name, value in settings.items()
    )
    return " ".join(typed)


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
    if is_near_field(scan.metadata):
        return _untold(scan, "unknowns are tried for scans in the far field")
    if scan.n_frames < _FEWEST:
        few = f"{scan.n_frames} frames are too few to tell; {_FEWEST} or more are needed"
        return _untold(scan, few)
    wanted = max(_FEWEST, min(_FRAMES, _VALUES // min(scan.N, 256) ** 2))
    region = choose_neighbours(scan, spread=False, wanted=wanted)
    # A drift is smooth in the number of the frame.
    chosen = region.scan.take(np.argsort(region.indices))
    with flushed_denormals():
        return _Search(chosen.scaled(1 / photon_of(chosen)), only, seed, progress).run()


def _untold(scan: Scan, why: str) -> PayingTrial:
    return PayingTrial(flags=None, gain=math.nan, candidates=(), n_frames=scan.n_frames, verdict=why)


@dataclass(frozen=True)
class _Gain:
    """By how much settings predict better than others, in the splits that were looked at."""

    share: float
    sureness: float
    n_splits: int
    pays: bool
    deviances: Deviances


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
        plain = now = [self._fit(split, kept) for split in self.splits]
        alone: dict[str, tuple[str, dict[str, Any], _Gain]] = {}
        while True:
            found: list[tuple[str, dict[str, Any], _Gain]] = []
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
        return self._told(kept, names, alone, _share(plain, now))

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

    def _beside(self, now: Deviances, settings: Mapping[str, Any]) -> _Gain:
        """Fit split after split, for as long as every one of them may still tell that it pays."""
        found: Deviances = []
        for split, before in zip(self.splits, now, strict=True):
            found.append(self._fit(split, settings))
            if not _may_pay(before, found[-1]):
                break
        seen = now[: len(found)]
        gain = np.concatenate(seen) - np.concatenate(found)
        error = float(gain.std(ddof=1)) / math.sqrt(len(gain))
        sure = float(gain.mean()) / max(error, 1e-30)
        enough = all(map(_may_pay, seen, found))
        pays = enough and len(found) == SPLITS and sure >= SURE
        return _Gain(_share(seen, found), sure, len(found), pays, found)

    def _told(
        self,
        kept: dict[str, Any],
        names: list[str],
        alone: Mapping[str, tuple[str, dict[str, Any], _Gain]],
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


def _share(before: Deviances, after: Deviances) -> float:
    """Share of the mean deviance that is gone; -inf where a fit went astray."""
    one, other = (float(np.concatenate(values).mean()) for values in (before, after))
    return 1 - other / one if math.isfinite(other) and one > 0 else -math.inf


def _may_pay(before: npt.NDArray[np.float64], after: npt.NDArray[np.float64]) -> bool:
    """Whether the gain in one split is one of use."""
    return _share([before], [after]) >= LEAST and float((before - after).mean()) >= FLOOR


def _simplest(found: list[tuple[str, dict[str, Any], _Gain]]) -> tuple[str, dict[str, Any], _Gain]:
    """The first, in order of simplicity, that leaves hardly more than the best one."""
    left = min(1 - gain.share for _, _, gain in found)
    return next(one for one in found if 1 - one[2].share <= left * (1 + LEAST))
