"""Crop detector frames around the zero frequency and bring everything in real space to the new pixel size.

An object pixel is ``wavelength * distance / (N * detector_pixel)`` wide. Frames of N0 px cropped to N px
therefore belong to object pixels that are N0 / N times larger, and to a window of the same physical width. So
the frames are cropped as they are; of the probe its *Fourier transform* is cropped, with the same indices;
positions shrink by N / N0; object and labels are low-pass filtered and resampled. With orthonormal transforms
the cropped probe keeps its scale: for an empty object it predicts exactly the cropped frame. For another
object the agreement is limited by the light that the object scatters beyond the crop. Cutting the centre out
of the probe in real space instead would describe frames that were binned, not cropped.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from math import gcd
from typing import Any

import numpy as np
import numpy.typing as npt

from ptycho_torch.data.scan.lazy import Frames, FrameStack

__all__ = [
    "CROP_ENTRY",
    "crop_detector",
    "crop_fourier",
    "crop_frames",
    "crop_middle",
    "cropped_parts",
    "resample",
]

logger = logging.getLogger(__name__)

CROP_ENTRY = "detector_crop"
"""Metadata entry: what was cropped, and the factor on the positions."""


def crop_frames(frames: Frames, N: int) -> Frames:
    """Frames of the central N x N pixels; a view of an array, and nothing is read of a `FrameStack`."""
    return frames.crop(N) if isinstance(frames, FrameStack) else crop_middle(np.asarray(frames), N)


def crop_middle(values: npt.NDArray[Any], N: int) -> npt.NDArray[Any]:
    """View of the central N x N pixels of the last two axes; index N0 // 2 becomes index N // 2."""
    top, left = (size // 2 - N // 2 for size in values.shape[-2:])
    return values[..., top : top + N, left : left + N]


def crop_fourier(field: npt.NDArray[Any], N: int) -> npt.NDArray[np.complex64]:
    """Field on N x N larger pixels with the central N x N frequencies of ``field``.

    ``p = ifft2(crop(fft2(P)))`` with orthonormal transforms: the power in the kept frequencies is kept.

    Parameters
    ----------
    field
        (..., N0, N0) complex; centre at index N0 // 2.
    N
        Even, at most N0.

    Returns
    -------
    ndarray
        (..., N, N) complex64; centre at index N // 2.
    """
    size = field.shape[-1]
    # For an even number of pixels the centre of both arrays lies at the same phase, and needs no shift.
    centred = np.fft.ifftshift(field, axes=(-2, -1)) if size % 2 else field
    spectrum = np.fft.fftshift(np.fft.fft2(centred.astype(np.complex128), norm="ortho"), axes=(-2, -1))
    kept = np.fft.ifftshift(crop_middle(spectrum, N), axes=(-2, -1))
    result = np.fft.ifft2(kept, norm="ortho")
    return (np.fft.fftshift(result, axes=(-2, -1)) if size % 2 else result).astype(np.complex64)


def _resample_axis(values: npt.NDArray[Any], axis: int, size_from: int, size_to: int) -> npt.NDArray[Any]:
    length = values.shape[axis]
    unit = size_from // gcd(size_from, size_to)
    padded = -(-length // unit) * unit
    widths = [(0, 0)] * values.ndim
    widths[axis] = (0, padded - length)
    extended = np.pad(values, widths, mode="edge")
    # The mirror image makes the period continuous, so the filter does not ring at the borders.
    period = np.concatenate([extended, np.flip(extended, axis)], axis)
    n_from, n_to = 2 * padded, 2 * padded * size_to // size_from
    spectrum = np.fft.fft(period, axis=axis)
    half = n_to // 2
    low = np.take(spectrum, np.arange(half), axis)
    high = np.take(spectrum, np.arange(n_from - (n_to - half), n_from), axis)
    result = np.fft.ifft(np.concatenate([low, high], axis), axis=axis) * (n_to / n_from)
    return np.take(result, np.arange(-(-length * size_to // size_from)), axis)


def resample(values: npt.NDArray[Any], size_from: int, size_to: int) -> npt.NDArray[np.complex64]:
    """Low-pass filter the last two axes and sample them on pixels ``size_from / size_to`` times larger.

    New index i lies at old index ``i * size_from / size_to``, so coordinates and origins scale by
    ``size_to / size_from``; the values of a constant stay.

    Parameters
    ----------
    values
        (..., H, W) complex.

    Returns
    -------
    ndarray
        (..., ceil(H * size_to / size_from), ceil(W * size_to / size_from)) complex64.
    """
    wide = _resample_axis(values.astype(np.complex128), -2, size_from, size_to)
    return _resample_axis(wide, -1, size_from, size_to).astype(np.complex64)


def crop_detector(parts: Mapping[str, Any], size: int, N: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """As `cropped_parts`, told to the user.

    Parameters
    ----------
    parts, size, N
        As for `cropped_parts`.

    Returns
    -------
    parts, note
        The same names, and what was done, for the metadata.

    Warns
    -----
    UserWarning
        Always: a crop changes the resolution of the result.
    """
    result, scale = cropped_parts(parts, size, N)
    message = f"frames of {size} x {size} px were cropped to the central {N} x {N}"
    if scale != 1.0:
        message += (
            f"; object pixels are {1 / scale:g} times larger, so positions were multiplied by {scale:g} and "
            "probe and object resampled"
        )
    else:
        message += "; the probe has that size already, so probe, positions and object stay as they are"
    warnings.warn(message, UserWarning, stacklevel=5)
    return result, {"from_px": size, "to_px": N, "position_scale": scale}


def cropped_parts(parts: Mapping[str, Any], size: int, N: int) -> tuple[dict[str, Any], float]:
    """Bring the real-space parts of a scan to the object pixels of frames cropped from ``size`` to ``N``.

    A probe that already has N pixels says that probe, positions, object and labels were made for the cropped
    frames: they stay as they are.

    Parameters
    ----------
    parts
        positions, positions_nominal, probe, object_truth, object_truth_origin and labels, named as in `Scan`.
    size, N
        Edge of the frames before and after, the second even; px.

    Returns
    -------
    parts, scale
        The same names, and the factor on the positions.
    """
    result = dict(parts)
    scale = 1.0 if parts["probe"].shape[-1] == N else N / size
    if scale != 1.0:
        for name in ("positions", "positions_nominal", "object_truth_origin"):
            result[name] = parts[name] * scale
        result["probe"] = crop_fourier(parts["probe"], N)
        if parts["object_truth"] is not None:
            result["object_truth"] = resample(parts["object_truth"], size, N)
        if parts["labels"] is not None:
            result["labels"] = np.stack([resample(patch, size, N) for patch in parts["labels"]])
    return result, scale
