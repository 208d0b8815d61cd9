"""Reconstruct the frames of a caller on a canvas that it can lay over its own object."""

from __future__ import annotations

import logging

import numpy as np

from ptycho_torch.data.scan.memory import scan_of
from ptycho_torch.errors import DataError, Fault
from ptycho_torch.models import PatchModel
from ptycho_torch.reference.loading import Patterns
from ptycho_torch.reference.manager import LOGGER_NAME, ConfigManager
from ptycho_torch.reference.training import device_of
from ptycho_torch.reference.translation import inference_settings
from ptycho_torch.workflows import reconstruct

__all__ = ["reconstruct_patterns"]

logger = logging.getLogger(LOGGER_NAME)

HALF_PIXEL = 0.5
"""Pixel N / 2 of a patch is so many pixels beyond its middle, (N - 1) / 2, for even N."""


def reconstruct_patterns(model: PatchModel, patterns: Patterns, manager: ConfigManager) -> np.ndarray:
    """Reconstruct the object of frames in memory.

    Frames without counts are left out, and that is said.

    Parameters
    ----------
    model
        Trained.
    patterns
        Frames, probe and positions.
    manager
        Configuration of the model.

    Returns
    -------
    ndarray
        Complex64, ``(height, width)``; its middle is that of the bounding box of all positions.

    Raises
    ------
    DataError
        If the frames do not fit the model or none holds counts.
    """
    n_pixels = model.n_pixels
    if patterns.counts.shape[1:] != (n_pixels, n_pixels):
        height, width = patterns.counts.shape[1:]
        raise DataError(
            Fault(
                f"frames of {height} x {width} px do not fit a model of {n_pixels} px; train on frames of "
                "this size (cropping them would change the pixels of the object)",
                "frames",
            )
        )
    counts = patterns.counts
    lit = _lit(counts)
    if not lit.all():
        left_out = np.flatnonzero(~lit)
        text = "%d of %d frames hold no counts and are left out, the first of them number %d"
        logger.warning(text, len(left_out), len(lit), left_out[0])
    # The caller puts pixel (N - 1) / 2 of a patch on its position, this package pixel N / 2.
    positions = patterns.positions[lit] + HALF_PIXEL
    scan = scan_of(
        {
            "diff3d": counts[lit],
            "ycoords": positions[:, 0],
            "xcoords": positions[:, 1],
            "probeGuess": patterns.probe,
            "_metadata": {"frame_axis": "first"},
        },
        measurement_domain="counts",
    )
    low, high = patterns.positions.min(axis=0), patterns.positions.max(axis=0)
    middle = (low + high) / 2
    result = reconstruct(
        model.to(device_of(manager.training_config.device)),
        scan,
        centre=(float(middle[0]), float(middle[1])),
        **inference_settings(manager.inference_config, n_pixels),
    )
    return result.object


def _lit(counts: np.ndarray) -> np.ndarray:
    """Frames that hold finite counts, (n,) bool; a few at a time, since they may be many."""
    lit = np.zeros(len(counts), dtype=bool)
    for start in range(0, len(counts), 64):
        part = counts[start : start + 64]
        sums = part.sum(axis=(1, 2), dtype=np.float64)
        lit[start : start + 64] = np.isfinite(sums) & (sums > 0)
    return lit
