"""Whether other distances between the positions explain frames far better."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from ptycho_torch.data import Scan
from ptycho_torch.refine.held_out.trial import Measured, Part, Trial

__all__ = ["ABOVE_NOISE", "better_scale", "gain_of"]

_STEP = 0.05
_SCALES = (0.7, 1.4)
"""Beyond, the frames are not explained at all."""
_SURE = 3.0
ABOVE_NOISE = 4.0
"""Standard deviations of counting noise above which a misfit is looked into further."""


def better_scale(trial: Trial, lit: Scan, parts: list[Part], measured: Measured) -> tuple[float, float]:
    """Factor on the distances of the positions under which the held frames are predicted best, and the misfit
    under it as a share of that as they are.

    Frames that overlap are explained a good deal even if their positions are some per cent too far apart: the
    object is bent to them. So the neighbouring factors are tried as well.
    """

    def under(factor: float) -> npt.NDArray[np.float64]:
        middle = lit.positions.mean(axis=0)
        moved = replace(lit, positions=middle + factor * (lit.positions - middle))
        found = [trial.gathered(moved, trial.refit(moved.take(part.rest)))[0][part.held] for part in parts]
        return measured.misfits(np.concatenate(found)).made

    opened = measured.misfits(np.concatenate([part.predicted for part in parts])).made
    best, factor = opened, 1.0
    if opened.sum() <= ABOVE_NOISE * measured.noise():
        return factor, 1.0
    for way in (1 - _STEP, 1 + _STEP):
        tried = way
        found = under(tried)
        while gain_of(best, found) > _SURE and _SCALES[0] < tried < _SCALES[1]:
            best, factor, tried = found, tried, tried * way
            found = under(tried)
        if factor != 1.0:
            break
    return factor, float(best.sum() / opened.sum())


def gain_of(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> float:
    """How much smaller the second misfits are, frame by frame, in standard errors of the mean."""
    gain = one - other
    return float(gain.mean() * np.sqrt(len(gain)) / max(float(gain.std()), 1e-30))
