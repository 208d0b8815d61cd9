"""Probes to begin with, where a file has none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from ptycho_torch.data.scan.lazy import Frames
from ptycho_torch.diagnosis.statistics import are_counts

__all__ = [
    "aperture_probe",
    "defocused",
    "disk_probe",
    "gaussian_probe",
    "mean_frame",
    "probe_of_mean_frame",
]

_SAMPLED = 200
_EDGE_PX = 1.0


def mean_frame(frames: Frames, bad: npt.NDArray[Any] | None) -> npt.NDArray[np.float64]:
    """Mean of frames spread over the scan, (N, N); what was not measured is zero.

    Parameters
    ----------
    frames
        ``(n, N, N)`` counts.
    bad
        (N, N), true where the detector did not measure.
    """
    chosen = np.unique(np.linspace(0, len(frames) - 1, _SAMPLED).astype(np.int64))
    total = np.zeros(frames.shape[1:])
    for index in chosen.tolist():
        values = np.asarray(frames[index], dtype=np.float64)
        total += np.where(are_counts(values), values, 0.0)
    mean = np.maximum(total, 0) / len(chosen)
    return mean if bad is None else np.where(bad.astype(bool), 0.0, mean)


def probe_of_mean_frame(mean: npt.NDArray[np.float64]) -> npt.NDArray[np.complex64]:
    """Inverse transform of the root of the mean frame, (1, N, N): the smallest probe with this far field."""
    field = np.fft.ifft2(np.fft.ifftshift(np.sqrt(mean)), norm="ortho")
    return np.fft.fftshift(field)[None].astype(np.complex64)


def disk_probe(mean: npt.NDArray[np.float64], diameter_px: tuple[float, float]) -> npt.NDArray[np.complex64]:
    """Evenly lit disk with the light of the mean frame, (1, N, N).

    Parameters
    ----------
    mean
        (N, N) counts.
    diameter_px
        ``(y, x)``: diameter in object pixels.
    """
    y, x = (np.arange(size) - size // 2 for size in mean.shape)
    inside = 1 - np.hypot(2 * y[:, None] / diameter_px[0], 2 * x[None] / diameter_px[1])
    amplitude = np.clip(inside * min(diameter_px) / 2 / _EDGE_PX + 0.5, 0, 1)
    return _with_light(amplitude, mean)


def gaussian_probe(
    mean: npt.NDArray[np.float64], diameter_px: tuple[float, float]
) -> npt.NDArray[np.complex64]:
    """Gaussian with the light of the mean frame, (1, N, N).

    Parameters
    ----------
    mean
        (N, N) counts.
    diameter_px
        ``(y, x)``: full width at half maximum of the intensity in object pixels.
    """
    y, x = (np.arange(size) - size // 2 for size in mean.shape)
    squares = (y[:, None] / diameter_px[0]) ** 2 + (x[None] / diameter_px[1]) ** 2
    amplitude = np.exp(-2 * np.log(2) * squares)
    return _with_light(amplitude, mean)


def aperture_probe(
    mean: npt.NDArray[np.float64],
    *,
    pixel_m: tuple[float, float],
    largest_frequency: float,
    stop_share: float = 0.0,
) -> npt.NDArray[np.complex64]:
    """Focus of a round aperture with the light of the mean frame, (1, N, N).

    A Fresnel zone plate lights the frequencies up to ``1 / (2 outer zone)``, because its numerical aperture
    is ``wavelength / (2 outer zone)``; a lens those up to ``sin(half angle) / wavelength``.

    Parameters
    ----------
    mean
        (N, N) counts.
    pixel_m
        ``(y, x)``: object pixel.
    largest_frequency
        At the rim of the aperture; 1/m.
    stop_share
        Diameter of the central stop over that of the aperture.
    """
    squares = _squared_frequencies(mean.shape, pixel_m)
    lit = (squares <= largest_frequency**2) & (squares >= (stop_share * largest_frequency) ** 2)
    return _with_light(np.fft.fftshift(np.fft.ifft2(lit)), mean)


def defocused(
    guess: Callable[[npt.NDArray[np.float64]], npt.NDArray[np.complex64]],
    mean: npt.NDArray[np.float64],
    *,
    pixel_m: tuple[float, float],
    wavelength_m: float,
    defocus_m: float,
) -> npt.NDArray[np.complex64]:
    """A probe brought along the beam, (1, N, N); each frequency q gets ``exp(-i pi wavelength defocus q^2)``.

    Parameters
    ----------
    guess
        From the mean frame to the probe in focus.
    mean
        (N, N) counts.
    pixel_m
        ``(y, x)``: object pixel.
    wavelength_m, defocus_m
        Wavelength, and way from the focus to the sample.
    """
    phase = np.exp(-1j * np.pi * wavelength_m * defocus_m * _squared_frequencies(mean.shape, pixel_m))
    far = np.fft.fft2(np.fft.ifftshift(guess(mean)[0].astype(np.complex128)))
    return np.fft.fftshift(np.fft.ifft2(far * phase))[None].astype(np.complex64)


def _squared_frequencies(shape: tuple[int, ...], pixel_m: tuple[float, float]) -> npt.NDArray[np.float64]:
    """Square of the frequency in the order of the transform, (H, W); 1/m^2."""
    qy, qx = (np.fft.fftfreq(size, pixel) for size, pixel in zip(shape, pixel_m, strict=True))
    return np.asarray(qy[:, None] ** 2 + qx[None] ** 2)


def _with_light(field: npt.NDArray[Any], mean: npt.NDArray[np.float64]) -> npt.NDArray[np.complex64]:
    return (field * np.sqrt(mean.sum() / (np.abs(field) ** 2).sum()))[None].astype(np.complex64)
