"""Objects made from a part of the frames, and what they predict for the others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ptycho_config import RefineConfig, evolve
from ptycho_torch.data import Scan
from ptycho_torch.diagnosis.lacks import Kind
from ptycho_torch.diagnosis.verdict import Misfits, misfits
from ptycho_torch.reassembly import ALONE, StitchedObject
from ptycho_torch.refine.canvas import WorkingCanvas
from ptycho_torch.refine.residual import predicted_pairs
from ptycho_torch.refine.result import SubPixel
from ptycho_torch.refine.solver import refine
from ptycho_torch.refine.subsets import z_order
from ptycho_torch.refine.tilt import flat, tilt_of

__all__ = ["LIT", "Measured", "Part", "Rows", "Trial", "copy_of", "empty_object", "short", "weight_of_half"]

_EVERY = 4
_ENOUGH_HELD = 16
_EPOCHS, _EPOCHS_MOVING = 20, 12
LIT = 0.25
"""Share of the illumination that half of the light lies above, from which on a pixel counts as lit."""
_SEEN_BY_OTHERS = 0.9
_BRIGHTEST = 1.5

Rows = npt.NDArray[np.int64]
Counts = npt.NDArray[np.float64]
Positions = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """Some frames held out: which ones, what the others predict for them, and all that the others predict."""

    rest: Rows
    held: Rows
    predicted: Counts
    everywhere: Counts


@dataclass(frozen=True, kw_only=True, eq=False)
class Measured:
    """What predictions are compared with.

    Attributes
    ----------
    counts
        (n, N, N) float64 of all frames.
    empty
        (n, N, N) float64: what an empty object predicts.
    free
        (n, N, N) bool: measured pixels.
    held
        (k,) rows of the frames that were held out.
    """

    counts: Counts
    empty: Counts
    free: npt.NDArray[np.bool_]
    held: Rows

    def of(self, held: Rows) -> Measured:
        """Some of the frames that were held out."""
        return replace(self, held=held)

    def misfits(self, predicted: Counts) -> Misfits:
        """Of a prediction (k, N, N) for the frames that were held out."""
        held = self.held
        return misfits(self.counts[held], predicted, self.empty[held], self.free[held])

    def noise(self) -> float:
        """Standard deviation that counting gives to the misfit of all of these frames."""
        return float(np.sqrt(self.misfits(self.empty[self.held]).variance.sum()))


@dataclass(frozen=True, kw_only=True)
class Trial:
    """How objects are made from a part of the frames."""

    config: RefineConfig
    sub_pixel: SubPixel
    dark: npt.NDArray[np.floating] | None
    device: torch.device | str

    def parts(self, lit: Scan) -> Iterator[Part]:
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
                yield Part(rest=rest, held=held, predicted=predicted[held], everywhere=predicted)
            count += len(held)
            if count >= _ENOUGH_HELD:
                return

    def refit(self, rest: Scan, *, epochs: int = _EPOCHS) -> StitchedObject:
        """An object from some of the frames; where they hardly lit it, no brighter than elsewhere."""
        config = evolve(self.config, refine_epochs=epochs)
        made = refine(rest, config=config, device=self.device, processes=ALONE, dark=self.dark).object
        amplitude = np.abs(made.object)
        lit = made.weight > LIT * weight_of_half(made.weight)
        most = _BRIGHTEST * float(np.quantile(amplitude[lit], 0.99))
        factor = np.minimum(1.0, most / np.maximum(amplitude, 1e-12))
        return replace(made, object=(made.object * np.where(lit, 1.0, factor)).astype(np.complex64))

    def refit_with(
        self, rest: Scan, unknown: Kind
    ) -> tuple[StitchedObject, npt.NDArray[np.complexfloating], npt.NDArray[np.floating] | None]:
        """An object from some of the frames with one unknown more: the object, its probe and background."""
        changes: dict[Kind, dict[str, Any]] = {
            "background": {"refine_background": "smooth"},
            "dose": {"refine_dose": True},
            "probe": {"refine_probe": True},
        }
        config = evolve(self.config, refine_epochs=_EPOCHS, **changes[unknown])
        made = refine(rest, config=config, device=self.device, processes=ALONE, dark=self.dark)
        return made.object, made.probe, made.background

    def refit_moving(self, lit: Scan, rest: Rows, *, drift: bool) -> tuple[StitchedObject, Positions]:
        """An object from some of the frames with a drift, or an affine map, of their positions.

        Beside the object, the positions (n, 2) of all frames under what was found.
        """
        config = evolve(
            self.config, refine_epochs=_EPOCHS_MOVING, refine_drift=drift, refine_geometry=not drift
        )
        seen = lit.take(rest)
        made = refine(seen, config=config, device=self.device, processes=ALONE, dark=self.dark)
        if made.drift is not None:
            rows = np.arange(lit.n_frames)
            moved = [np.interp(rows, rest, along) for along in made.drift.T]
            return made.object, lit.positions + np.stack(moved, axis=1)
        assert made.geometry is not None
        middle = seen.positions.mean(axis=0)
        return made.object, np.asarray(middle + (lit.positions - middle) @ made.geometry.matrix.T)

    def shown(self, lit: Scan) -> float:
        """Share of the light of the probe that falls on measured pixels if there is nothing in the beam."""
        light = sum(float(predicted.double().sum()) for predicted, _ in self._pairs(lit, empty_object(lit)))
        return light / max(lit.n_frames * float((np.abs(lit.probe) ** 2).sum(dtype=np.float64)), 1e-30)

    def _pairs(self, scan: Scan, made: StitchedObject) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        return predicted_pairs(scan, made, sub_pixel=self.sub_pixel, device=self.device)()

    def gathered(self, scan: Scan, made: StitchedObject) -> tuple[Counts, Counts]:
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


def copy_of(
    trial: Trial, lit: Scan, parts: list[Part], empty: Counts, free: npt.NDArray[np.bool_]
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


def short(config: RefineConfig, sub_pixel: SubPixel) -> RefineConfig:
    """Settings of a short refinement of the object alone."""
    return evolve(
        config,
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
        tile_px=None,
        # Frames, held out or not, hardly show slow phases: what a frame says is judged without them.
        slow_phases=False,
        sub_pixel=sub_pixel,
    )


def empty_object(scan: Scan) -> StitchedObject:
    """With nothing in the beam, for all frames of a scan."""
    geometry = WorkingCanvas.around(scan.positions, scan.N, 2).geometry
    origin = np.array(geometry.origin, dtype=np.float64)
    return StitchedObject(
        object=flat(geometry.shape, origin, tilt_of(scan), scan.N).astype(np.complex64),
        weight=np.ones(geometry.shape, np.float32),
        origin=origin,
    )


def weight_of_half(weight: npt.NDArray[np.floating]) -> float:
    """Illumination that half of the light lies above."""
    values = np.sort(weight, axis=None)[::-1].astype(np.float64)
    reached = np.cumsum(values)
    return float(values[np.searchsorted(reached, 0.5 * reached[-1])])


def _seen_by_others(outside: Scan, made: StitchedObject) -> npt.NDArray[np.bool_]:
    """Frames most of whose light falls where the object was lit when it was made."""
    lit = np.pad(made.weight > LIT * weight_of_half(made.weight), outside.N)
    light = (np.abs(outside.probe) ** 2).sum(axis=0)
    corners = np.rint(outside.positions + made.origin).astype(np.int64) - outside.N // 2 + outside.N
    shares = [
        float(light[lit[top : top + outside.N, left : left + outside.N]].sum() / light.sum())
        for top, left in corners
    ]
    return np.asarray(shares) > _SEEN_BY_OTHERS
