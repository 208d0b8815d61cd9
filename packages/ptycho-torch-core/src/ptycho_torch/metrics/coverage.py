r"""How often an error lies within its error bar.

For a complex normal error of standard deviation :math:`\sigma` a pixel lies within :math:`k\sigma` with the
probability :math:`1 - e^{-k^2}`: 0.632 within one, 0.982 within two.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho_torch.metrics.alignment import Alignment

__all__ = ["EXPECTED_ONE", "EXPECTED_TWO", "Coverage", "Decile", "coverage_of", "coverages"]

EXPECTED_ONE = float(1 - np.exp(-1))
EXPECTED_TWO = float(1 - np.exp(-4))
_DECILES = 10


@dataclass(frozen=True, kw_only=True)
class Decile:
    """Coverage of a tenth of the pixels.

    Attributes
    ----------
    middle
        Median over these pixels of what they were sorted by.
    within_one, within_two
        Share of pixels whose error is at most one or two standard deviations.
    """

    middle: float
    within_one: float
    within_two: float


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """How well error bars tell the error.

    Attributes
    ----------
    within_one, within_two
        Share of pixels whose error is at most one or two standard deviations; 0.632 and 0.982 are right.
    rms_error, rms_sigma
        Root mean squares of the error and of the standard deviation, in units of the truth.
    n_pixels
        Pixels that were looked at: those of the region with a finite standard deviation.
    by_illumination, by_amplitude
        The same in tenths of the pixels, sorted by their illumination and by the amplitude of the truth,
        lowest first; empty without illumination or with fewer than a hundred pixels.
    """

    within_one: float
    within_two: float
    rms_error: float
    rms_sigma: float
    n_pixels: int
    by_illumination: tuple[Decile, ...] = ()
    by_amplitude: tuple[Decile, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """All numbers, in types that JSON knows."""
        return {**asdict(self), "expected_within_one": EXPECTED_ONE, "expected_within_two": EXPECTED_TWO}


def coverage_of(
    image: NDArray[np.complexfloating],
    truth: NDArray[np.complexfloating],
    sigma: NDArray[np.floating],
    region: NDArray[np.bool_],
    weight: NDArray[np.floating] | None = None,
) -> Coverage | None:
    """Coverage of the standard deviations of an image whose truth is known.

    Parameters
    ----------
    image, truth
        (height, width) complex, aligned to each other.
    sigma
        (height, width): standard deviation of the complex value, in units of the truth.
    region
        (height, width) bool: pixels that count.
    weight
        (height, width): illumination, any unit.

    Returns
    -------
    Coverage or None
        None where no pixel of the region has a finite standard deviation above zero.
    """
    counted = region & np.isfinite(sigma) & (sigma > 0)
    if not counted.any():
        return None
    error, bars = np.abs(image - truth)[counted], sigma[counted].astype(np.float64)
    ratio = error / bars
    return Coverage(
        within_one=float((ratio <= 1).mean()),
        within_two=float((ratio <= 2).mean()),
        rms_error=float(np.sqrt((error**2).mean())),
        rms_sigma=float(np.sqrt((bars**2).mean())),
        n_pixels=int(counted.sum()),
        by_illumination=() if weight is None else _deciles(ratio, weight[counted]),
        by_amplitude=_deciles(ratio, np.abs(truth)[counted]),
    )


def coverages(
    alignment: Alignment,
    offset: NDArray[np.float64],
    truth: NDArray[np.complex128],
    sigmas: Mapping[str, NDArray[np.floating]],
    region: NDArray[np.bool_],
    weight: NDArray[np.floating] | None = None,
) -> dict[str, Coverage]:
    """Coverage of each kind of error bar of an image that was aligned to its truth.

    Parameters
    ----------
    alignment
        What was done to the image.
    offset
        [y, x] px: shift that was known before.
    truth
        (height, width) complex.
    sigmas, weight
        (height, width) each, as they belong to the image before it was aligned. They move as far as the image
        did, to whole pixels.
    region
        (height, width) bool: pixels of the truth that count.
    """
    move = tuple((-np.rint(np.asarray(alignment.shift_px) + offset).astype(int)).tolist())
    light = None if weight is None else np.roll(weight, move, axis=(0, 1))
    found = {}
    for name, sigma in sigmas.items():
        moved = np.roll(sigma, move, axis=(0, 1)) * abs(alignment.scale)
        found[name] = coverage_of(alignment.aligned, truth, moved, region, light)
    return {name: told for name, told in found.items() if told is not None}


def _deciles(ratio: NDArray[np.float64], values: NDArray[np.floating]) -> tuple[Decile, ...]:
    if len(ratio) < _DECILES**2:
        return ()
    order = np.argsort(values, kind="stable")
    return tuple(
        Decile(
            middle=float(np.median(values[part])),
            within_one=float((ratio[part] <= 1).mean()),
            within_two=float((ratio[part] <= 2).mean()),
        )
        for part in np.array_split(order, _DECILES)
    )
