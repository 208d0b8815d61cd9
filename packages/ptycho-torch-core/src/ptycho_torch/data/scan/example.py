"""One small scan, the same every time, that each format writes as its example."""

from __future__ import annotations

import numpy as np

from ptycho_torch.data.scan.contract import Scan
from ptycho_torch.data.scan.geometry import DETECTOR_PIXEL, DISTANCE, ENERGY

__all__ = ["example_scan"]

_N_FRAMES, _SIZE = 12, 16


def example_scan() -> Scan:
    """Twelve frames of 16 x 16 counts, uint16, on a jittered raster; with geometry, without an object.

    Detector pixels are not square, so that exchanged axes show.
    """
    rng = np.random.default_rng(20)
    y, x = (axis.ravel().astype(np.float64) for axis in np.mgrid[0:3, 0:4])
    positions = np.stack([24 + 5 * y, 30 + 4 * x], axis=1) + rng.uniform(-1, 1, (_N_FRAMES, 2))
    r, c = np.mgrid[:_SIZE, :_SIZE] - _SIZE // 2
    probe = np.exp(-(r**2 + 0.7 * c**2) / 20.0 + 0.1j * r * c)
    spot = np.exp(-((r - 0.8) ** 2 + c**2) / 18.0)
    counts = rng.poisson(400 * spot * rng.uniform(0.8, 1.2, (_N_FRAMES, 1, 1)))
    return Scan(
        diffraction=counts.astype(np.uint16),
        positions=positions,
        probe=np.stack([probe, 0.2 * probe * c]).astype(np.complex64),
        metadata={
            ENERGY: 8000.0,
            DISTANCE: 1.2,
            DETECTOR_PIXEL[0]: 60e-6,
            DETECTOR_PIXEL[1]: 75e-6,
            "nphotons": float(counts.sum() / _N_FRAMES),
        },
    )
