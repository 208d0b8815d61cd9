"""Probes to begin with, where a file has none."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ptycho_torch.data.scan.lazy import Frames

__all__ = ["disk_probe", "gaussian_probe", "mean_frame", "probe_of_mean_frame"]

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
        total += np.nan_to_num(np.asarray(frames[index], dtype=np.float64), posinf=0.0, neginf=0.0)
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
    return (amplitude * np.sqrt(mean.sum() / (amplitude**2).sum()))[None].astype(np.complex64)


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
    return (amplitude * np.sqrt(mean.sum() / (amplitude**2).sum()))[None].astype(np.complex64)
