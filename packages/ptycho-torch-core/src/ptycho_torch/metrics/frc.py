r"""Fourier ring correlation of two complex images over a region.

.. math:: \mathrm{FRC}(q) = \frac{\mathrm{Re} \sum_{k \in q} F_1(k) F_2^*(k)}
   {\sqrt{\sum_{k \in q} |F_1(k)|^2 \; \sum_{k \in q} |F_2(k)|^2}}

with the 1-bit and half-bit thresholds of van Heel and Schatz, "Fourier shell correlation threshold criteria",
Journal of Structural Biology 151 (2005) 250-262. The ring correlation is normalised ring by ring: it reports
how far up in frequency two images agree and is blind to a noiseless blur, so it stands beside the other
scores and never instead of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from ptycho_torch.errors import ShapeError

__all__ = ["FrcCurve", "fourier_ring_correlation", "tukey_window"]

_TAPER_SHARE = 0.25


@dataclass(frozen=True, kw_only=True)
class FrcCurve:
    """Fourier ring correlation and where it falls below its thresholds.

    Attributes
    ----------
    frequency
        (rings,) float64, cycles/px, from the first ring above zero up to Nyquist.
    correlation
        (rings,) float64 in [-1, 1]; 0 where one of the images has no signal.
    threshold_1bit, threshold_half_bit
        (rings,) float64: 1-bit and half-bit criterion for the number of independent samples in each ring.
    n_samples
        (rings,) float64: Fourier samples per ring times the share of the field that the window lets through.
    crossing_half, crossing_1bit, crossing_half_bit
        First frequency at which the curve falls below 0.5, the 1-bit and the half-bit criterion, cycles/px,
        interpolated between rings; 0.5 (Nyquist) when it never does, 0.0 when it never was above. Rings
        below the first one above the criterion do not count: they hold the slowest variations across the
        whole field, which diffraction patterns hardly determine, and say nothing about resolution.
    """

    frequency: NDArray[np.float64] = field(repr=False)
    correlation: NDArray[np.float64] = field(repr=False)
    threshold_1bit: NDArray[np.float64] = field(repr=False)
    threshold_half_bit: NDArray[np.float64] = field(repr=False)
    n_samples: NDArray[np.float64] = field(repr=False)
    crossing_half: float
    crossing_1bit: float
    crossing_half_bit: float

    @property
    def period_half_px(self) -> float:
        """Full period at the 0.5 crossing, px; infinite when nothing is resolved."""
        return 1 / self.crossing_half if self.crossing_half > 0 else math.inf

    @property
    def period_1bit_px(self) -> float:
        """Full period at the 1-bit crossing, px; infinite when nothing is resolved."""
        return 1 / self.crossing_1bit if self.crossing_1bit > 0 else math.inf


def tukey_window(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Cosine-tapered (Tukey) window for a region of any outline.

    Parameters
    ----------
    mask
        (height, width) bool.

    Returns
    -------
    NDArray[np.float64]
        (height, width): 0 outside, rising as half a cosine with the distance from the outline, 1 inside.
    """
    distance = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    width = max(_TAPER_SHARE * 2 * float(distance.max()), 1.0)
    window = 0.5 * (1 - np.cos(np.pi * np.minimum(distance / width, 1)))
    return np.asarray(window, dtype=np.float64)


def fourier_ring_correlation(
    first: NDArray[np.complexfloating],
    second: NDArray[np.complexfloating],
    mask: NDArray[np.bool_] | None = None,
) -> FrcCurve:
    """Correlate two aligned complex images ring by ring.

    The mean under the window is taken out first: otherwise the transform of the window itself, which both
    images share, would correlate in the low rings, and a flat image would seem to be resolved. An image whose
    contrast is below one millionth of its mean level counts as flat and correlates with nothing.

    Parameters
    ----------
    first, second
        (height, width) complex, any unit, aligned to each other.
    mask
        (height, width) bool: the region; None for all pixels.

    Returns
    -------
    FrcCurve

    Raises
    ------
    ShapeError
        When the shapes differ or are not two-dimensional.
    """
    if first.ndim != 2 or first.shape != second.shape:
        raise ShapeError("images", "two of the same (height, width)", f"{first.shape} and {second.shape}")
    mask = np.ones(first.shape, dtype=bool) if mask is None else mask
    window = tukey_window(mask)
    spectra = [fft.fft2(_contrast(image, window)) for image in (first, second)]
    size = min(first.shape)
    n_rings = size // 2
    radius = np.hypot(fft.fftfreq(first.shape[0])[:, None], fft.fftfreq(first.shape[1])[None, :])
    ring = np.rint(radius * size).astype(int).ravel()

    def sums(values: NDArray[np.float64]) -> NDArray[np.float64]:
        total = np.bincount(ring, weights=values.ravel(), minlength=n_rings + 1)
        return np.asarray(total[1 : n_rings + 1], dtype=np.float64)

    cross = sums((spectra[0] * spectra[1].conj()).real)
    power = np.sqrt(sums(np.abs(spectra[0]) ** 2) * sums(np.abs(spectra[1]) ** 2))
    correlation = np.divide(cross, power, out=np.zeros_like(cross), where=power > 0)
    share = float((window**2).sum()) / window.size
    n_samples = sums(np.ones(first.shape)) * share
    root = np.sqrt(np.maximum(n_samples, 1.0))
    threshold = (0.5 + 2.4142 / root) / (1.5 + 1.4142 / root)
    half_bit = (0.2071 + 1.9102 / root) / (1.2071 + 0.9102 / root)
    frequency = np.arange(1, n_rings + 1) / size
    return FrcCurve(
        frequency=frequency,
        correlation=correlation,
        threshold_1bit=threshold,
        threshold_half_bit=half_bit,
        n_samples=n_samples,
        crossing_half=_crossing(frequency, correlation - 0.5),
        crossing_1bit=_crossing(frequency, correlation - threshold),
        crossing_half_bit=_crossing(frequency, correlation - half_bit),
    )


def _contrast(image: NDArray[np.complexfloating], window: NDArray[np.float64]) -> NDArray[np.complex128]:
    level = complex((image * window).sum() / window.sum())
    contrast = (image - level) * window
    if np.linalg.norm(contrast) <= 1e-6 * np.linalg.norm(image * window):
        return np.zeros_like(contrast)
    return np.asarray(contrast)


def _crossing(frequency: NDArray[np.float64], margin: NDArray[np.float64]) -> float:
    above = np.flatnonzero(margin >= 0)
    if above.size == 0:
        return 0.0
    below = np.flatnonzero(margin < 0)
    falls = below[below > above[0]]
    if falls.size == 0:
        return float(min(frequency[-1], 0.5))
    index = int(falls[0])
    before, after = margin[index - 1], margin[index]
    step = frequency[index] - frequency[index - 1]
    return float(frequency[index - 1] + step * before / (before - after))
