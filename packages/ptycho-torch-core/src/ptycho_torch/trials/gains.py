"""By how much settings of a refinement predict frames better than others, and when that is no chance.

Settings are compared on a region of the scan by frames that were held out with most of their pixels hidden,
see :mod:`ptycho_torch.trials.hidden`; all that are compared see the same pixels.

Settings pay beside others if they lower the deviance of the held-out frames by `LEAST` or more in each of
`SPLITS` splits, and in the mean over all frames by `SURE` standard errors of it. Chance hardly favours one
side in all four splits. The least share is there because on clean scans some gains are sure and yet of no
use: with few counts a background takes up what a noisy object spreads over the detector, 1 % or so, and
further epochs gain about as much. A gain must also reach `FLOOR` per photon: without noise no fit is at its
end after `EPOCHS`, and one that converges faster leaves half as much of next to nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ptycho_torch.data.scan.contract import Scan
from ptycho_torch.data.scan.geometry import is_near_field
from ptycho_torch.refine.held_out.judging import photon_of
from ptycho_torch.trials.fit import SURE
from ptycho_torch.trials.neighbours import choose_neighbours

__all__ = [
    "EPOCHS",
    "FLOOR",
    "LEAST",
    "SPLITS",
    "Deviances",
    "Gain",
    "Region",
    "gain_of",
    "may_pay",
    "region_of",
    "share_of_gain",
    "why_untold",
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

Deviances = Sequence[npt.NDArray[np.float64]]
"""One array (k,) per split that was looked at: the deviance of every held-out frame, per photon."""


@dataclass(frozen=True, kw_only=True)
class Gain:
    """By how much settings predict better than others, in the splits that were looked at.

    Attributes
    ----------
    share
        Of the mean deviance that is gone; -inf where a fit went astray.
    sureness
        The mean gain of a frame in standard errors.
    n_splits
        Splits that were looked at.
    pays
        Whether all that is asked of a gain is there.
    deviances
        What it was found from.
    """

    share: float
    sureness: float
    n_splits: int
    pays: bool
    deviances: Deviances = field(repr=False)


def gain_of(before: Deviances, after: Deviances) -> Gain:
    """Compare two fits of the same splits; ``before`` may have seen more of them."""
    seen = before[: len(after)]
    gain = np.concatenate(seen) - np.concatenate(after)
    error = float(gain.std(ddof=1)) / math.sqrt(len(gain))
    sure = float(gain.mean()) / max(error, 1e-30)
    enough = all(may_pay(one, other) for one, other in zip(seen, after, strict=True))
    pays = enough and len(after) == SPLITS and sure >= SURE
    return Gain(
        share=share_of_gain(seen, after), sureness=sure, n_splits=len(after), pays=pays, deviances=after
    )


def share_of_gain(before: Deviances, after: Deviances) -> float:
    """Share of the mean deviance that is gone; -inf where a fit went astray."""
    one, other = (float(np.concatenate(values).mean()) for values in (before, after))
    return 1 - other / one if math.isfinite(other) and one > 0 else -math.inf


def may_pay(before: npt.NDArray[np.float64], after: npt.NDArray[np.float64]) -> bool:
    """Whether the gain in one split is one of use."""
    return share_of_gain([before], [after]) >= LEAST and float((before - after).mean()) >= FLOOR


def why_untold(scan: Scan) -> str | None:
    """Why nothing can be told of a scan by frames held out, or None."""
    if is_near_field(scan.metadata):
        return "unknowns are tried for scans in the far field"
    if scan.n_frames < _FEWEST:
        return f"{scan.n_frames} frames are too few to tell; {_FEWEST} or more are needed"
    return None


@dataclass(frozen=True, kw_only=True)
class Region:
    """Neighbouring frames that are fitted.

    Attributes
    ----------
    scan
        In photons, in memory, in the order in which they were measured.
    photon
        Counts of the scan that are one photon.
    """

    scan: Scan = field(repr=False)
    photon: float


def region_of(scan: Scan, *, whole: bool = False) -> Region:
    """A hundred frames at most about the place where frames differ most.

    Parameters
    ----------
    scan
        As opened, with frames enough, see `why_untold`.
    whole
        Leave the frames as large as they are, where they could be cropped to the light.
    """
    wanted = max(_FEWEST, min(_FRAMES, _VALUES // min(scan.N, 256) ** 2))
    region = choose_neighbours(scan, spread=False, wanted=wanted, whole=whole)
    # A drift is smooth in the number of the frame.
    chosen = region.scan.take(np.argsort(region.indices))
    photon = photon_of(chosen)
    return Region(scan=chosen.scaled(1 / photon), photon=photon)
