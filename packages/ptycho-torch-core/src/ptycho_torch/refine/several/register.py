r"""Where a reconstruction lies beside another one of the same object.

At every shift the products of neighbouring pixels of both are correlated over the pixels that both show
(masked correlation: Padfield, IEEE Trans. Image Process. 21, 2706, 2012). A phase ramp and a factor, which no
measurement fixes, only turn such products. Of a shift with n common pixels and the coefficient r,
:math:`-n \log(1 - r^2)` says how much better one image explains the other than chance does. Where it is
largest, shift, ramp and factor are fitted to the complex images (:mod:`ptycho_torch.metrics.alignment`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import fft, ndimage

from ptycho_torch.metrics.alignment import align, features
from ptycho_torch.metrics.region import common_region, lit_pixels
from ptycho_torch.reassembly import StitchedObject

__all__ = ["Registration", "register"]

_LIT = 0.3
"""Share of the median light from which on a pixel is known well enough to be compared."""
_AS_GOOD = 0.95
_REACH_PX = 3.0
_RIM_PX = 5
_TINY = 1e-12


@dataclass(frozen=True, kw_only=True)
class Registration:
    """How an object lies beside another one.

    Attributes
    ----------
    offset_px
        (2,) float64 ``[y, x]``: coordinate in the first = coordinate in the second + offset.
    agreement
        Correlation coefficient of the complex images over the pixels that both show, 0 to 1.
    overlap_px
        How many those are.
    ramp_rad_per_px
        (2,) float64 ``[y, x]``: the phase of the second rises by this much more than that of the first.
    """

    offset_px: npt.NDArray[np.float64]
    agreement: float
    overlap_px: int
    ramp_rad_per_px: npt.NDArray[np.float64]


def register(first: StitchedObject, second: StitchedObject, least_px: int) -> Registration | None:
    """Place one object beside another.

    Parameters
    ----------
    first, second
        Objects with their light.
    least_px
        Pixels that both have to show.

    Returns
    -------
    Registration or None
        None where no shift lets so many pixels overlap.
    """
    images, lit = zip(*(_shown(one) for one in (first, second)), strict=True)
    shift = _whole_shift(images, lit, least_px, np.asarray(second.origin) - np.asarray(first.origin))
    if shift is None:
        return None
    offset = shift + np.asarray(second.origin) - np.asarray(first.origin)
    here, there, _ = common_region(
        images[0].shape, first.origin, images[1].shape, np.asarray(second.origin) - offset
    )
    # The second one is interpolated: not from pixels that nobody has seen.
    known = ndimage.binary_erosion(lit[1], iterations=_RIM_PX)[there] & lit[0][here]
    if np.count_nonzero(known) < least_px // 2:
        return None
    found = align(images[1][there], images[0][here], known, max_shift_px=_REACH_PX)
    seen = known & found.valid
    return Registration(
        offset_px=offset - np.array(found.shift_px),
        agreement=_coefficient(found.aligned[seen], images[0][here][seen]),
        overlap_px=int(np.count_nonzero(seen)),
        ramp_rad_per_px=np.array(found.ramp_rad_per_px),
    )


def _shown(one: StitchedObject) -> tuple[npt.NDArray[np.complex128], npt.NDArray[np.bool_]]:
    """The image, in units of its mean brightness, and where it is lit."""
    image, light = np.asarray(one.object, dtype=np.complex128), np.asarray(one.weight)
    lit = lit_pixels(light, image.shape, _LIT)
    size = np.sqrt(np.mean(np.abs(image[lit]) ** 2)) if lit.any() else 0.0
    return np.where(lit, image / max(float(size), _TINY), 0), lit


def _whole_shift(
    images: tuple[npt.NDArray[np.complex128], ...],
    lit: tuple[npt.NDArray[np.bool_], ...],
    least_px: int,
    stated: npt.NDArray[np.float64],
) -> npt.NDArray[np.float64] | None:
    """Index in the first minus index in the second, whole pixels; of equals the one next to the stated."""
    size = tuple(fft.next_fast_len(a + b) for a, b in zip(images[0].shape, images[1].shape, strict=True))

    def spectrum(values: npt.NDArray[np.generic]) -> npt.NDArray[np.complex128]:
        return np.asarray(fft.fft2(values, s=size))

    def correlated(
        one: npt.NDArray[np.complex128], other: npt.NDArray[np.complex128]
    ) -> npt.NDArray[np.complex128]:
        return np.asarray(fft.ifft2(one * other.conj()))

    # Products of neighbours need both.
    inner = [ndimage.binary_erosion(one, iterations=_RIM_PX) for one in lit]
    masks = [spectrum(one.astype(np.float64)) for one in inner]
    count = np.maximum(correlated(masks[0], masks[1]).real, _TINY)
    product, norm = np.zeros(size), np.zeros(size)
    for pair in zip(*(features(image) for image in images), strict=True):
        seen = [
            np.where(mask, one - one[mask].mean(), 0) if mask.any() else one * 0
            for one, mask in zip(pair, inner, strict=True)
        ]
        values = [spectrum(one) for one in seen]
        means = correlated(values[0], masks[1]), correlated(masks[0], values[1])
        power = [spectrum(np.abs(one) ** 2) for one in seen]
        spread = [
            np.maximum(correlated(*terms).real - np.abs(mean) ** 2 / count, 0)
            for terms, mean in zip(((power[0], masks[1]), (masks[0], power[1])), means, strict=True)
        ]
        product += np.abs(correlated(values[0], values[1]) - means[0] * means[1] / count)
        norm += np.sqrt(spread[0] * spread[1])
    coefficient = np.where(norm > _TINY * norm.max(), product / np.maximum(norm, _TINY * norm.max()), 0)
    score = -count * np.log1p(-(np.minimum(coefficient, 1 - 1e-6) ** 2))
    score[count < least_px - 0.5] = 0
    if not score.max() > 0:
        return None
    candidates = np.argwhere(score >= _AS_GOOD * score.max())
    shifts = (candidates + np.array(images[1].shape)) % np.array(size) - np.array(images[1].shape)
    nearest = np.argmin(((shifts + stated) ** 2).sum(axis=1))
    return shifts[nearest].astype(np.float64)


def _coefficient(one: npt.NDArray[np.complex128], other: npt.NDArray[np.complex128]) -> float:
    """Correlation coefficient of complex numbers about their means."""
    one, other = one - one.mean(), other - other.mean()
    size = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(abs(np.vdot(one, other))) / size if size > 0 else 0.0
