"""From solutions that differ by their noise to a standard deviation at every pixel."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from ptycho_torch.data import Scan
from ptycho_torch.data.summary import probe_diameter
from ptycho_torch.errors import ShapeError
from ptycho_torch.metrics import align, coverage_region
from ptycho_torch.refine.result import RefineResult

__all__ = ["Solve", "levelled", "local_sigma", "middle_of"]

Solve = Callable[[Scan, str], RefineResult]
"""Solution of another scan of the same kind; the text says which, to who listens to the progress."""

_WINDOW_PX = 11
_FITTED_SHIFT_PX = 0.99


def middle_of(result: RefineResult) -> npt.NDArray[np.bool_] | None:
    """Well lit part of an object, without its rim, (height, width) bool; None where too little is left."""
    light = result.object.weight
    try:
        return coverage_region(light, light.shape, inset_px=probe_diameter(result.probe) / 2)
    except ShapeError:
        return None


def levelled(
    part: RefineResult, whole: RefineResult, region: npt.NDArray[np.bool_], *, is_fixed: bool
) -> npt.NDArray[np.complex128]:
    """An object without what no measurement fixes: a factor, a phase ramp and a shift beside another one.

    Parameters
    ----------
    part
        Its object is moved onto that of ``whole``.
    whole
        Result of the same scan.
    region
        (height, width) bool: pixels that count.
    is_fixed
        Whether probe and positions were given, which fixes the place of the object.
    """
    reach = 0.0 if is_fixed else _FITTED_SHIFT_PX
    return align(part.object.object, whole.object.object, region, max_shift_px=reach).aligned


def local_sigma(
    square: npt.NDArray[np.floating], sigma: npt.NDArray[np.floating], seen: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float32]:
    """Standard deviation from one square of an error at every pixel.

    One square says little. Its ratio to the variance of shot noise changes slowly, so that it is averaged
    over a window around every pixel.

    Parameters
    ----------
    square
        (height, width) real: an estimate of the variance at every pixel.
    sigma
        (height, width): standard deviation of shot noise.
    seen
        (height, width) bool: pixels that take part.

    Returns
    -------
    ndarray
        (height, width) float32; infinite at the others.
    """
    ratio = np.where(seen, square / np.where(seen, sigma.astype(np.float64) ** 2, 1.0), 0.0)
    share = ndimage.uniform_filter(seen.astype(np.float64), _WINDOW_PX, mode="constant")
    mean = ndimage.uniform_filter(ratio, _WINDOW_PX, mode="constant") / np.maximum(share, 1e-12)
    found = np.full(square.shape, np.inf, dtype=np.float32)
    found[seen] = sigma[seen] * np.sqrt(np.maximum(mean[seen], 0.0))
    return found
