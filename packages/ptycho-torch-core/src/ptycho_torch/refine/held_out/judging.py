"""Hold frames out, refine an object from the others, and see whether it explains those held out."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import numpy.typing as npt
import torch

from ptycho_config import RefineConfig
from ptycho_torch.data import Scan
from ptycho_torch.diagnosis.domain import unit_of
from ptycho_torch.diagnosis.dose import (
    FEW_COUNTS,
    counts_per_object_pixel,
    smoothness_for,
    smoothness_to_try,
)
from ptycho_torch.diagnosis.doubts import (
    lack_doubted,
    moves_doubted,
    scale_doubted,
    spoiled_there,
    untold,
)
from ptycho_torch.diagnosis.evidence import diameter_of
from ptycho_torch.diagnosis.spikes import smallest_step
from ptycho_torch.diagnosis.verdict import Misfits, Verdict, misfits, verdict
from ptycho_torch.reassembly import StitchedObject
from ptycho_torch.refine.held_out.lacks import best_lack
from ptycho_torch.refine.held_out.moves import better_moves
from ptycho_torch.refine.held_out.places import neighbours, spread_over, worst_place
from ptycho_torch.refine.held_out.scale import better_scale
from ptycho_torch.refine.held_out.trial import Measured, Rows, Trial, copy_of, empty_object, short
from ptycho_torch.refine.result import ProbeVariation, SubPixel

__all__ = ["judge", "photon_of"]

_LEAST_FRAMES = 6
_LEAST_HELD = 4
_SHOWN = 0.02
"""Share of the light of an empty object on measured pixels below which nothing is passed: almost any object
explains scattered light better than an empty one."""

_SAMPLE = 32


def judge(
    scan: Scan,
    made: StitchedObject,
    probe: npt.NDArray[np.complexfloating],
    *,
    config: RefineConfig,
    sub_pixel: SubPixel = "object",
    background: npt.NDArray[np.floating] | None = None,
    variation: ProbeVariation | None = None,
    device: torch.device | str = "cpu",
) -> Verdict:
    """Verdict on a result, see :mod:`ptycho_torch.diagnosis.verdict`.

    Some hundred neighbouring frames are taken at most, every fourth held out, and an object refined from the
    others with the probe and the positions of the result. Of few frames each is held out once. Only frames
    whose light falls where the others were count. The result itself must explain the frames too. In a larger
    scan, frames around the place where the result fits worst are judged as well.

    Parameters
    ----------
    scan
        The frames, with the positions that belong to the object.
    made
        The object.
    probe
        (modes, N, N) complex, as it belongs to the object.
    config
        Likelihood and smoothness are taken from it.
    sub_pixel
        What moves by fractions of a pixel.
    background
        (N, N) counts that every frame shows beside the light; None: none.
    variation
        How the probe varies over the scan: the frames that are looked at are neighbours, and take their mean.
    device
        Where to compute. Processes that may have joined this one take no part.
    """
    if config.slices > 1:
        return untold("frames are held out to judge objects of one slice")
    judging = _Judging(
        made=made,
        probe=probe,
        trial=Trial(config=short(config, sub_pixel), sub_pixel=sub_pixel, dark=background, device=device),
        variation=variation,
        config=config,
        against_noise=lambda: smoothness_to_try(_smoothness_of(scan), config.smoothness),
    )
    rows = neighbours(scan)
    found = judging.of(scan, rows)
    if found.is_bad or not found.is_told or len(rows) == scan.n_frames:
        return found
    sample = spread_over(scan)
    place = worst_place(scan, sample, judging.misfits_of(scan, sample))
    if place is None:
        return found
    rows = neighbours(scan, place)
    there = judging.of(scan, rows)
    return spoiled_there(there, scan.frame_index[rows], place) if there.is_bad else found


@dataclass(frozen=True, kw_only=True, eq=False)
class _Judging:
    """A result, and how objects are made to judge it."""

    made: StitchedObject
    probe: npt.NDArray[np.complexfloating]
    trial: Trial
    variation: ProbeVariation | None
    config: RefineConfig
    against_noise: Callable[[], str]

    def _lit(self, scan: Scan, rows: Rows) -> tuple[Scan, Trial]:
        """Frames in photons under the mean of their probes, and the trial with its background likewise."""
        light = self.probe if self.variation is None else self.variation.probes(self.probe, rows).mean(axis=0)
        lit = replace(scan.take(rows), probe=np.asarray(light, dtype=np.complex64))
        photon = photon_of(lit)
        if photon == 1:
            return lit, self.trial
        # Noise is known of photons only: counts that were divided by something, or that a charge gives.
        dark = None if self.trial.dark is None else self.trial.dark / photon
        return lit.scaled(1 / photon), replace(self.trial, dark=dark)

    def misfits_of(self, scan: Scan, rows: Rows) -> Misfits:
        """Of the result to some frames that it was made from."""
        lit, trial = self._lit(scan, rows)
        counts, empty, free = _compared(trial, lit)
        return misfits(counts, trial.gathered(lit, self.made)[0], empty, free)

    def of(self, scan: Scan, rows: Rows) -> Verdict:
        """Verdict by some neighbouring frames."""
        if len(rows) < _LEAST_FRAMES:
            return untold(f"too few frames to hold some of them out, {len(rows)}")
        lit, trial = self._lit(scan, rows)
        is_smoothed = self.config.smoothness > 0 or self.config.total_variation > 0
        is_grainy = not is_smoothed and float(lit.counts_per_frame().mean()) < FEW_COUNTS
        parts = list(trial.parts(lit))
        held = np.concatenate([part.held for part in parts]) if parts else np.zeros(0, np.int64)
        if len(held) < _LEAST_HELD:
            return untold("the frames overlap too little to predict some of them from the others")
        counts, empty, free = _compared(trial, lit)
        measured = Measured(counts=counts, empty=empty, free=free, held=held)
        passed = verdict(
            measured.misfits(np.concatenate([part.predicted for part in parts])),
            departure=_departure(self.made),
            n_pixels=int(free[0].sum()),
            own=misfits(counts, trial.gathered(lit, self.made)[0], empty, free),
            by_noise=partial(copy_of, trial, lit, parts, empty, free),
            forgives_noise=not is_grainy,
            explained=partial(_explained, lit, lambda: trial.shown(lit)),
            against_noise=self.against_noise,
        )
        if passed.is_bad:
            # What is lacking may be all that is wrong.
            return lack_doubted(passed, best_lack(trial, lit, parts[0], measured, config=self.config))
        shown = trial.shown(lit)
        if shown < _SHOWN:
            return untold(_hidden(shown))
        if not passed.shows_an_object:
            return passed
        passed = scale_doubted(passed, better_scale(trial, lit, parts, measured))
        if not passed.is_bad:
            passed = moves_doubted(passed, better_moves(trial, lit, parts, measured))
        if not passed.is_bad:
            passed = lack_doubted(passed, best_lack(trial, lit, parts[0], measured, config=self.config))
        if is_grainy and not passed.is_bad:
            passed = replace(passed, sentence=f"{passed.sentence}; against the noise {self.against_noise()}")
        return passed


def _compared(
    trial: Trial, lit: Scan
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Counts of all frames, what an empty object predicts for them, and which pixels were measured."""
    frames = np.asarray(lit.diffraction)
    free = np.broadcast_to(lit.measured(frames), frames.shape)
    return frames.astype(np.float64), trial.gathered(lit, empty_object(lit))[0], free


def photon_of(scan: Scan) -> float:
    """What one photon counts in the frames of a scan; 1 where nothing tells."""
    sample = np.asarray(scan.diffraction[:_SAMPLE]).astype(np.float64)
    whole = bool((sample == np.rint(sample)).all())
    return smallest_step(sample) if whole else (unit_of(sample) or 1.0)


def _hidden(shown: float) -> str:
    return f"only {100 * shown:.2g} % of the light of the probe falls on pixels that were measured"


def _explained(scan: Scan, shown_of: Callable[[], float], because: str) -> str:
    """What may be wrong, after what was found in the scan and is left there."""
    left = [finding for finding in scan.findings if finding.spoils]
    known = "; ".join(finding.sentence() for finding in left)
    shown = shown_of()
    if shown < _SHOWN:
        # Neither the positions nor the number of counts can be blamed for what nobody saw.
        return known or f"{_hidden(shown)}: check the mask, or attenuate the beam"
    return f"{known}; else {because}" if known else because


def _smoothness_of(scan: Scan) -> float:
    """What the diagnosis of few counts would name for these frames."""
    counts = float(np.median(scan.counts_per_frame())) / photon_of(scan)
    return smoothness_for(counts_per_object_pixel(counts, scan.positions, diameter_of(scan.probe)))


def _departure(made: StitchedObject) -> float:
    """Root mean square distance of the well lit part of an object from its own mean."""
    weight = np.asarray(made.weight)
    values = np.asarray(made.object)[weight > 0.3 * weight.max()]
    if not values.size:
        return 0.0
    mean = values.mean()
    return (
        float(np.sqrt((np.abs(values - mean) ** 2).mean()) / max(abs(mean), 1e-6))
        if math.isfinite(abs(mean))
        else 0.0
    )
