"""What few counts ask for: the smoothness that a diagnosis and a verdict name, from one function."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["FEW_COUNTS", "counts_per_object_pixel", "smoothness_for", "smoothness_to_try"]

FEW_COUNTS = 2000.0
"""Counts per frame below which a smoothness lowers the error of the object."""

_SMOOTHED = 0.3
"""Smoothness times counts per pixel of the object; errors of test scenes are lowest from 0.1 to 0.6."""

_LARGEST = 1.0


def counts_per_object_pixel(
    counts_per_frame: float, positions: npt.NDArray[np.float64], diameter: float
) -> float:
    """Counts that fell on a pixel of the object, over the area that the probe reached.

    Parameters
    ----------
    counts_per_frame
        Usual counts of a frame.
    positions
        (n, 2) of all frames; px.
    diameter
        Of a disk with the participation area of the probe; px.
    """
    reach: npt.NDArray[Any] = np.ptp(positions, axis=0) + diameter
    return counts_per_frame * len(positions) / max(float(reach.prod()), 1.0)


def smoothness_for(density: float) -> float:
    """Smoothness to begin with, one digit, at most one, for so many counts per pixel of the object."""
    return min(float(f"{_SMOOTHED / max(density, 1e-3):.1g}"), _LARGEST)


def smoothness_to_try(figure: float, used: float = 0.0) -> str:
    """The advice: what to give `refine`, where it was given ``used``."""
    if used >= figure:
        return f"refine with a --smoothness above {used:g}"
    return f"refine with --smoothness {figure:g} or near"
