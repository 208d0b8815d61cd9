r"""Solutions without a part of the frames each: what shot noise does not know.

The frames are dealt into K groups that are spread over the scan each. :math:`O_k` is the solution without
group k, and

.. math:: \hat\sigma^2 = \frac{K - 1}{K} \sum_k |O_k - \bar O|^2

the jackknife estimate of the variance (Efron and Stein, Annals of Statistics 9, 586, 1981). Frames disagree
by their photons, and also by their doses, positions, outliers and by what the model lacks. Where few frames
light a pixel, the solution without some of them is worse than the whole by more than their share, and the
estimate is too large.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from ptycho_config import Problem
from ptycho_torch.data import Scan
from ptycho_torch.reassembly import StitchedObject
from ptycho_torch.refine.error_bars.bars import ErrorBars
from ptycho_torch.refine.error_bars.spread import Solve, levelled, local_sigma, middle_of
from ptycho_torch.refine.frames import knows_dose
from ptycho_torch.refine.result import RefineResult
from ptycho_torch.refine.subsets import z_order

__all__ = ["N_GROUPS", "by_jackknife", "cannot_be_jackknifed", "groups"]

N_GROUPS = 8
_LEAST_FRAMES = 4 * N_GROUPS


def cannot_be_jackknifed(scan: Scan) -> Problem | None:
    """Why a scan cannot be solved without a part of its frames, or None."""
    if not knows_dose(scan):
        reason = "these are amplitudes of unknown dose, and the spread is told beside that of their photons"
        return Problem("error_bars", "jackknife", f"counts: {reason}; use none")
    if scan.n_frames < _LEAST_FRAMES:
        expected = f"at least {_LEAST_FRAMES} frames, four in each of {N_GROUPS} groups, not {scan.n_frames}"
        return Problem("error_bars", "jackknife", f"{expected}; use shot or thinning")
    return None


def groups(scan: Scan) -> list[npt.NDArray[np.int64]]:
    """Numbers of the frames of each group: neighbours along a curve through all positions part."""
    order = z_order(scan.positions)
    return [np.sort(order[number::N_GROUPS]) for number in range(N_GROUPS)]


def by_jackknife(whole: RefineResult, scan: Scan, solve: Solve, *, is_fixed: bool) -> ErrorBars:
    """Error bars from the spread of solutions without a part of the frames each.

    Parameters
    ----------
    whole
        Result of the scan, with the error bars of shot noise.
    scan
        The scan.
    solve
        Solves a part of it, from where the whole arrived.
    is_fixed
        Whether probe and positions were given.
    """
    assert whole.error_bars is not None
    bars, middle = whole.error_bars, middle_of(whole)
    seen = ~bars.null_space
    region = seen if middle is None else middle
    arrived = replace(scan, probe=whole.probe, positions=whole.positions)
    parts = []
    for number, out in enumerate(groups(scan), start=1):
        rest = np.setdiff1d(np.arange(scan.n_frames), out)
        part = solve(arrived.take(rest), f"without group {number} of {N_GROUPS}")
        placed = replace(part, object=_placed(part.object, whole.object))
        parts.append(levelled(placed, whole, region, is_fixed=is_fixed))
    square = np.var(parts, axis=0) * (N_GROUPS - 1)
    return replace(bars, method="jackknife", measured=local_sigma(square, bars.sigma, seen))


def _placed(part: StitchedObject, whole: StitchedObject) -> StitchedObject:
    """A smaller object on the array of the whole one; where it does not reach, that of the whole."""
    image = whole.object.copy()
    top, left = np.rint(whole.origin - part.origin).astype(int).tolist()
    image[top : top + part.object.shape[0], left : left + part.object.shape[1]] = part.object
    return replace(whole, object=image)
