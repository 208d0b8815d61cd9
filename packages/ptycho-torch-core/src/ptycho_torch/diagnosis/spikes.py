"""What surrounds each pixel of a map, and what one step of its values is."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["SPIKE", "around", "smallest_step", "spikes"]

SPIKE = 20.0
"""How far a value has to stand above the second largest around it to be no light.

Light of a probe that fills at most half of the frame makes speckles of two pixels and more: at the tip of one
the largest neighbours hold half of the peak. The largest factor over scans of many kinds is 4.
"""

_LEAST = 25.0


def around(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The eight neighbours of every pixel, ascending: (8, H, W); the border is a mirror."""
    padded = np.pad(values, 1, mode="reflect")
    height, width = values.shape
    stack = [
        padded[1 + dy : 1 + dy + height, 1 + dx : 1 + dx + width]
        for dy in (-1, 0, 1)
        for dx in (-1, 0, 1)
        if dy or dx
    ]
    return np.sort(np.stack(stack), axis=0)


def smallest_step(frames: npt.NDArray[Any]) -> float:
    """Smallest step between the values of frames: a detector of charge counts several units per photon.

    Parameters
    ----------
    frames
        (k, ...) values of a few frames.

    Returns
    -------
    float
        Median over the frames of the greatest common divisor of their values, so that a single value that
        is no count changes nothing; 1.0 where values are no whole numbers.
    """
    values = np.asarray(frames, dtype=np.float64)
    whole = np.rint(values)
    if np.abs(whole).max(initial=0) > 2.0**52 or not np.allclose(values, whole, rtol=1e-6, atol=1e-6):
        return 1.0
    steps = [int(np.gcd.reduce(np.unique(frame).astype(np.int64))) for frame in whole]
    return max(float(np.median([step for step in steps if step] or [1])), 1.0)


def spikes(values: npt.NDArray[Any], *, n_frames: int = 1, factor: float = SPIKE) -> npt.NDArray[np.bool_]:
    """Pixels far above all but one of their neighbours, more than counting noise explains.

    Parameters
    ----------
    values
        (H, W) counts per frame.
    n_frames
        Frames that the values are the mean of.
    factor
        Above the second largest neighbour.

    Returns
    -------
    ndarray
        (H, W) bool.
    """
    second = around(values)[-2]
    counts = values * n_frames
    expected = np.maximum(factor * second * n_frames, 0)
    return (counts > expected + 6 * np.sqrt(expected) + _LEAST).astype(np.bool_)
