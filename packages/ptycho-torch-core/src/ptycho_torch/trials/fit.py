"""Fit the neighbours one way, and compare how well several ways predict the frames that were held out.

Every way is judged by the Poisson deviance of the held-out frames, which holds at any dose. Two numbers tell
whether one way is worse than another:

- the mean difference of the deviances of the same frames in units of its standard error, so that chance does
  not decide;
- the share of the light's structure that it explains: 1 for the best way, 0 for an empty object.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import torch

from ptycho_config import OrientationConfig
from ptycho_torch.data.scan.contract import Scan
from ptycho_torch.data.scan.orientation import oriented
from ptycho_torch.physics import poisson_deviance
from ptycho_torch.reassembly import StitchedObject
from ptycho_torch.refine import refine
from ptycho_torch.refine.residual import predicted_pairs
from ptycho_torch.trials.neighbours import Neighbours

__all__ = ["LONG", "SHARE", "SHORT", "SURE", "Fit", "empty_fit", "fit", "is_worse", "share_of", "sureness"]

SHORT, LONG = 4, 16
"""Epochs of a first look, and of a fit on which a statement stands."""

SURE = 3.0
"""Standard errors from which a difference is none of chance: one in some 700 if it were normal."""

SHARE = 0.995
"""Share of the explained structure above which two ways count as equal.

Ways that are equal by symmetry reach 0.999 to 1.000 of each other after `LONG` epochs (they differ by the
order of frames), the nearest that is not, an astigmatic probe mirrored, 0.989, and frames that lie wrongly
against positions 0.95 or less.
"""

_SMOOTHNESS = 0.03
"""Keeps fits of few counts from following the noise; without effect on the order at many."""


@dataclass(frozen=True, kw_only=True)
class Fit:
    """One way of looking at the neighbours.

    Attributes
    ----------
    settings
        How frames and positions were turned and scaled, beside how the scan was opened.
    deviances
        (n_held,) float64; per photon of each held-out frame, relative to the mean frame.
    """

    settings: OrientationConfig
    deviances: npt.NDArray[np.float64] = field(repr=False)

    @property
    def deviance(self) -> float:
        """Mean over the held-out frames."""
        return float(self.deviances.mean())


def fit(neighbours: Neighbours, settings: OrientationConfig, epochs: int) -> Fit:
    """Refine an object from flat under ``settings`` and predict the held-out frames."""
    turned = oriented(neighbours.scan, settings)
    seen, held = turned.take(~neighbours.held), turned.take(neighbours.held)
    made = refine(seen, epochs=epochs, tolerance=0, smoothness=_SMOOTHNESS)
    return Fit(settings=settings, deviances=_deviances(held, made.object))


def empty_fit(neighbours: Neighbours) -> Fit:
    """What an empty object predicts for the held-out frames."""
    held = neighbours.scan.take(neighbours.held)
    # All of an empty object is alike, so the frames may lie in one place, however far apart they are.
    held = replace(held, positions=np.zeros_like(held.positions))
    shape = (2 * held.N, 2 * held.N)
    flat = StitchedObject(
        object=np.ones(shape, dtype=np.complex64),
        weight=np.ones(shape, dtype=np.float32),
        origin=np.full(2, held.N, dtype=np.float64),
    )
    return Fit(settings=OrientationConfig(), deviances=_deviances(held, flat))


def _deviances(scan: Scan, fitted: StitchedObject) -> npt.NDArray[np.float64]:
    pairs = list(predicted_pairs(scan, fitted)())
    predicted, counts = (torch.cat(parts).double() for parts in zip(*pairs, strict=True))
    light = predicted.sum()
    predicted = predicted * (counts.sum() / light if light > 0 else 1.0)
    # Both are zero where nothing was measured, which adds nothing.
    mean = float(counts.sum()) / len(counts)
    return np.array(
        [
            float(poisson_deviance(one[None], other[None], mean_counts=mean))
            for one, other in zip(predicted, counts, strict=True)
        ]
    )


def sureness(worse: Fit, better: Fit) -> float:
    """Mean difference of the deviances of the same frames, in standard errors of it."""
    difference = worse.deviances - better.deviances
    error = float(difference.std(ddof=1)) / math.sqrt(len(difference))
    mean = float(difference.mean())
    return mean / error if error > 0 else math.copysign(math.inf, mean) if mean else 0.0


def share_of(one: Fit, best: Fit, empty: Fit) -> float:
    """Structure that one way explains, as a share of what the best does; below 0: worse than nothing."""
    span = empty.deviance - best.deviance
    return (empty.deviance - one.deviance) / span if span > 0 else math.nan


def is_worse(one: Fit, best: Fit, empty: Fit) -> bool:
    """Whether the frames tell that this way is not the right one."""
    return sureness(one, best) >= SURE and share_of(one, best, empty) < SHARE
