"""Canvases whose middle is a given point."""

from __future__ import annotations

import math

import numpy as np

from ptycho_torch.errors import ShapeError
from ptycho_torch.reassembly.stitching import CanvasGeometry

__all__ = ["centred_canvas"]


def centred_canvas(
    positions: np.ndarray, n_pixels: int, centre: tuple[float, float]
) -> tuple[CanvasGeometry, np.ndarray]:
    """Smallest canvas that holds every patch whole and whose middle is a point, to the fraction of a pixel.

    The middle of an array of ``L`` pixels is index ``(L - 1) / 2``.

    Parameters
    ----------
    positions
        Float, ``(n, 2)``, ``[y, x]`` in px.
    n_pixels
        Side of a patch.
    centre
        ``(y, x)`` in px: the point that becomes the middle.

    Returns
    -------
    geometry : CanvasGeometry
        With a whole-pixel origin for the shifted positions.
    shift : ndarray
        float64, ``(2,)``, from 0 up to 1 px: to be added to all positions before they are placed.

    Raises
    ------
    ShapeError
        If there is no position or the array has another shape.
    """
    if positions.ndim != 2 or positions.shape[1] != 2 or len(positions) == 0:
        raise ShapeError("positions", "(n, 2) with n >= 1", positions.shape)
    lengths, origins, shifts = [], [], []
    for axis, middle in enumerate(centre):
        relative = positions[:, axis] - middle
        length = _length(float(relative.min()), float(relative.max()), n_pixels)
        offset = (length - 1) / 2 - middle
        lengths.append(length)
        origins.append(float(math.floor(offset)))
        shifts.append(offset - math.floor(offset))
    geometry = CanvasGeometry(shape=(lengths[0], lengths[1]), origin=(origins[0], origins[1]))
    return geometry, np.array(shifts)


def _length(low: float, high: float, n_pixels: int) -> int:
    """Least number of pixels about zero that hold patches at positions from ``low`` to ``high``."""
    half = n_pixels // 2
    length = max(1, math.floor(2 * max(half - low, high - half + n_pixels - 1)))
    while not (
        math.floor(low + (length - 1) / 2) >= half
        and math.ceil(high + (length - 1) / 2) - half + n_pixels <= length
    ):
        length += 1
    while length > 1 and (
        math.floor(low + (length - 2) / 2) >= half
        and math.ceil(high + (length - 2) / 2) - half + n_pixels <= length - 1
    ):
        length -= 1
    return length
