"""Hold frames out, refine an object from the others, and see whether it explains those held out."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import numpy.typing as npt
import torch

from ptycho_config import RefineConfig, evolve
from ptycho_torch.data import Scan
from ptycho_torch.diagnosis.domain import unit_of
from ptycho_torch.diagnosis.spikes import smallest_step
from ptycho_torch.diagnosis.verdict import Misfits, Verdict, misfits, scale_doubted, untold, verdict
from ptycho_torch.reassembly import ALONE, StitchedObject
from ptycho_torch.refine.canvas import WorkingCanvas
from ptycho_torch.refine.residual import predicted_pairs
from ptycho_torch.refine.result import ProbeVariation, SubPixel
from ptycho_torch.refine.solver import refine
from ptycho_torch.refine.subsets import z_order
from ptycho_torch.refine.tilt import flat, tilt_of

__all__ = ["judge"]

_EVERY = 4
_LEAST_FRAMES = 6
_LEAST_HELD = 4
_ENOUGH_HELD = 16
_USUAL_FRAMES = 24
_MOST_FRAMES = 256
_MOST_VALUES = 1 << 20
_EPOCHS = 20
_LIT = 0.25
_SEEN_BY_OTHERS = 0.9
_BRIGHTEST = 1.5
_FEW_COUNTS = 2000.0
"""Below, a smoothness lowers the error of the object, as the diagnosis of few counts says."""

_SHOWN = 0.02
"""Share of the light of an empty object on measured pixels below which nothing is passed: almost any object
explains scattered light better than an empty one."""

_SCALE_STEP = 0.05
_SCALES = (0.7, 1.4)
"""Beyond, the frames are not explained at all."""
_SURE = 3.0
_ABOVE_NOISE = 4.0
_SAMPLE = 32

Rows = npt.NDArray[np.int64]
Arrays = tuple[npt.NDArray[np.float64], ...]


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
    whose light falls where the others were count. The result itself must explain the frames too.

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
    rows = _neighbours(scan)
    if len(rows) < _LEAST_FRAMES:
        return untold(f"{len(rows)} frames are too few to hold some out")
    light = probe if variation is None else variation.probes(probe, rows).mean(axis=0)
    lit = replace(scan.take(rows), probe=np.asarray(light, dtype=np.complex64))
    photon = _photon(lit)
    if photon != 1:
        # Noise is known of photons only: counts that were divided by something, or that a charge gives.
        lit = lit.scaled(1 / photon)
        background = None if background is None else background / photon
    trial = _Trial(config=_short(config, sub_pixel), sub_pixel=sub_pixel, dark=background, device=device)
    parts = list(trial.parts(lit))
    held = np.concatenate([part.held for part in parts]) if parts else np.zeros(0, np.int64)
    if len(held) < _LEAST_HELD:
        return untold("the frames overlap too little to predict some of them from the others")
    empty = trial.gathered(lit, _empty(lit))[0]
    counts = np.asarray(lit.diffraction).astype(np.float64)
    free = np.broadcast_to(lit.measured(np.asarray(lit.diffraction)), counts.shape)
    found = np.concatenate([part.predicted for part in parts])
    own = trial.gathered(lit, made)[0]
    passed = verdict(
        misfits(counts[held], found, empty[held], free[held]),
        departure=_departure(made),
        n_pixels=int(free[0].sum()),
        own=misfits(counts, own, empty, free),
        by_noise=partial(_copy, trial, lit, parts, empty, free),
        forgives_noise=config.smoothness > 0 or float(lit.counts_per_frame().mean()) >= _FEW_COUNTS,
    )
    if passed.is_bad:
        return passed
    shown = trial.shown(lit)
    if shown < _SHOWN:
        share = f"{100 * shown:.2g} %"
        return untold(f"only {share} of the light of the probe falls on pixels that were measured")
    if not passed.shows_an_object:
        return passed
    return scale_doubted(passed, _better_scale(trial, lit, parts, (counts, empty, free)))


@dataclass(frozen=True, kw_only=True, eq=False)
class _Part:
    """Some frames held out: which ones, what the others predict for them, and all that the others predict."""

    rest: Rows
    held: Rows
    predicted: npt.NDArray[np.float64]
    everywhere: npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class _Trial:
    """How objects are made from a part of the frames."""

    config: RefineConfig
    sub_pixel: SubPixel
    dark: npt.NDArray[np.floating] | None
    device: torch.device | str

    def parts(self, lit: Scan) -> Iterator[_Part]:
        """Hold out every fourth frame; of few frames, once more with others, until enough were held out."""
        order = z_order(lit.positions)
        first, count = _EVERY // 2, 0
        for number in range(_EVERY):
            held = np.sort(order[(first + number) % _EVERY :: _EVERY])
            rest = np.setdiff1d(np.arange(lit.n_frames), held)
            made = self.refit(lit.take(rest))
            seen = _seen_by_others(lit.take(held), made)
            predicted = self.gathered(lit, made)[0]
            held = held[seen]
            if len(held):
                yield _Part(rest=rest, held=held, predicted=predicted[held], everywhere=predicted)
            count += len(held)
            if count >= _ENOUGH_HELD:
                return

    def refit(self, rest: Scan) -> StitchedObject:
        """An object from some of the frames; where they hardly lit it, no brighter than elsewhere."""
        made = refine(rest, config=self.config, device=self.device, processes=ALONE, dark=self.dark).object
        amplitude = np.abs(made.object)
        lit = made.weight > _LIT * _weight_of_half(made.weight)
        most = _BRIGHTEST * float(np.quantile(amplitude[lit], 0.99))
        factor = np.minimum(1.0, most / np.maximum(amplitude, 1e-12))
        return replace(made, object=(made.object * np.where(lit, 1.0, factor)).astype(np.complex64))

    def shown(self, lit: Scan) -> float:
        """Share of the light of the probe that falls on measured pixels if there is nothing in the beam."""
        light = sum(float(predicted.double().sum()) for predicted, _ in self._pairs(lit, _empty(lit)))
        return light / max(lit.n_frames * float((np.abs(lit.probe) ** 2).sum(dtype=np.float64)), 1e-30)

    def _pairs(self, scan: Scan, made: StitchedObject) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        return predicted_pairs(scan, made, sub_pixel=self.sub_pixel, device=self.device)()

    def gathered(self, scan: Scan, made: StitchedObject) -> Arrays:
        """Predicted and measured counts of all frames, (n, N, N) each."""
        pairs = self._pairs(scan, made)
        predicted, counts = (torch.cat(parts).cpu().double().numpy() for parts in zip(*pairs, strict=True))
        if self.dark is not None:
            # A frame is lit by what it holds beyond the background.
            dark = self.dark if scan.bad_pixels is None else np.where(scan.bad_pixels, 0, self.dark)
            light = np.maximum(counts.sum(axis=(1, 2)) - dark.sum(), 0)
            predicted *= (light / np.maximum(predicted.sum(axis=(1, 2)), 1e-30))[:, None, None]
            predicted += dark
        return predicted, counts


def _better_scale(
    trial: _Trial,
    lit: Scan,
    parts: list[_Part],
    known: tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.bool_]],
) -> tuple[float, float]:
    """Factor on the distances of the positions under which the held frames are predicted best, and the misfit
    under it as a share of that as they are.

    Frames that overlap are explained a good deal even if their positions are some per cent too far apart: the
    object is bent to them. So the neighbouring factors are tried as well.
    """
    counts, empty, free = known
    held = np.concatenate([part.held for part in parts])

    def misfit(predicted: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return misfits(counts[held], predicted, empty[held], free[held]).made

    def under(factor: float) -> npt.NDArray[np.float64]:
        middle = lit.positions.mean(axis=0)
        moved = replace(lit, positions=middle + factor * (lit.positions - middle))
        found = [trial.gathered(moved, trial.refit(moved.take(part.rest)))[0][part.held] for part in parts]
        return misfit(np.concatenate(found))

    opened = misfit(np.concatenate([part.predicted for part in parts]))
    noise = float(np.sqrt(misfits(counts[held], empty[held], empty[held], free[held]).variance.sum()))
    best, factor = opened, 1.0
    if opened.sum() <= _ABOVE_NOISE * noise:
        return factor, 1.0
    for way in (1 - _SCALE_STEP, 1 + _SCALE_STEP):
        tried = way
        found = under(tried)
        while _is_better(best, found) and _SCALES[0] < tried < _SCALES[1]:
            best, factor, tried = found, tried, tried * way
            found = under(tried)
        if factor != 1.0:
            break
    return factor, float(best.sum() / opened.sum())


def _is_better(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> bool:
    """Whether the second misfits are smaller, frame by frame, by more than chance."""
    gain = one - other
    return bool(gain.mean() * np.sqrt(len(gain)) > _SURE * max(float(gain.std()), 1e-30))


def _photon(scan: Scan) -> float:
    """What one photon counts in the frames of a scan."""
    sample = np.asarray(scan.diffraction[:_SAMPLE]).astype(np.float64)
    whole = bool((sample == np.rint(sample)).all())
    return smallest_step(sample) if whole else (unit_of(sample) or 1.0)


def _copy(
    trial: _Trial, lit: Scan, parts: list[_Part], empty: npt.NDArray[np.float64], free: npt.NDArray[np.bool_]
) -> Misfits:
    """The same with counts drawn from what the objects predict: nothing is wrong with these but noise."""
    rng = np.random.default_rng(0)
    light = lit.counts_per_frame()[:, None, None]
    found, counts, held = [], [], []
    for part in parts:
        expected = np.where(free, part.everywhere, 0.0)
        expected *= light / np.maximum(expected.sum(axis=(1, 2), keepdims=True), 1e-30)
        drawn = np.where(free, rng.poisson(np.minimum(expected, 1e15)), 0)
        copy = replace(lit, diffraction=drawn, statistics=None)
        again = trial.refit(copy.take(part.rest))
        found.append(trial.gathered(copy.take(part.held), again)[0])
        counts.append(drawn[part.held].astype(np.float64))
        held.append(part.held)
    every = np.concatenate(held)
    return misfits(np.concatenate(counts), np.concatenate(found), empty[every], free[every])


def _short(config: RefineConfig, sub_pixel: SubPixel) -> RefineConfig:
    return evolve(
        config,
        refine_epochs=_EPOCHS,
        refine_probe=False,
        error_bars="none",
        probe_modes=None,
        probe_support=None,
        probe_variation=0,
        probe_variation_smooth=0.0,
        refine_positions=False,
        position_search_px=None,
        refine_geometry=False,
        refine_drift=False,
        refine_background="off",
        refine_batch_size=None,
        sub_pixel=sub_pixel,
    )


def _neighbours(scan: Scan) -> Rows:
    """Frames around the middle of the scan, as many as are looked at."""
    count = min(scan.n_frames, _MOST_FRAMES, max(_USUAL_FRAMES, _MOST_VALUES // scan.N**2))
    middle = np.median(scan.positions, axis=0)
    distance = np.hypot(*(scan.positions - middle).T)
    return np.sort(np.argsort(distance, kind="stable")[:count])


def _empty(scan: Scan) -> StitchedObject:
    geometry = WorkingCanvas.around(scan.positions, scan.N, 2).geometry
    origin = np.array(geometry.origin, dtype=np.float64)
    return StitchedObject(
        object=flat(geometry.shape, origin, tilt_of(scan), scan.N).astype(np.complex64),
        weight=np.ones(geometry.shape, np.float32),
        origin=origin,
    )


def _weight_of_half(weight: npt.NDArray[np.floating]) -> float:
    """Illumination that half of the light lies above."""
    values = np.sort(weight, axis=None)[::-1].astype(np.float64)
    reached = np.cumsum(values)
    return float(values[np.searchsorted(reached, 0.5 * reached[-1])])


def _seen_by_others(outside: Scan, made: StitchedObject) -> npt.NDArray[np.bool_]:
    """Frames most of whose light falls where the object was lit when it was made."""
    lit = np.pad(made.weight > _LIT * _weight_of_half(made.weight), outside.N)
    light = (np.abs(outside.probe) ** 2).sum(axis=0)
    corners = np.rint(outside.positions + made.origin).astype(np.int64) - outside.N // 2 + outside.N
    shares = [
        float(light[lit[top : top + outside.N, left : left + outside.N]].sum() / light.sum())
        for top, left in corners
    ]
    return np.asarray(shares) > _SEEN_BY_OTHERS


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
