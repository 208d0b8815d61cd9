"""Measured frames, read batch by batch from the array of the scan."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ptycho_torch.data import Scan

__all__ = ["FrameSource"]


class FrameSource:
    """Normalised intensities of chosen frames.

    The array of the scan is neither copied nor converted as a whole: memory beyond it is that of one
    batch.

    Parameters
    ----------
    scan
        Counts, any real dtype.
    intensity_scale
        Counts per unit of normalised intensity.
    device, dtype
        Where and in which real dtype batches are wanted.
    """

    def __init__(self, scan: Scan, intensity_scale: float, device: torch.device, dtype: torch.dtype) -> None:
        self.frames = scan.diffraction
        self.per_count = 1.0 / intensity_scale
        self.device = device
        self.dtype = dtype
        self.measured: Tensor | None = None
        if scan.bad_pixels is not None and scan.bad_pixels.any():
            self.measured = torch.from_numpy(~scan.bad_pixels).to(device=device, dtype=dtype)

    def load(self, indices: npt.NDArray[np.int64]) -> Tensor:
        """Intensities ``(batch, N, N)`` in normalised units; zero at bad pixels."""
        host = np.float64 if self.dtype == torch.float64 else np.float32
        chosen = np.ascontiguousarray(self.frames[indices], dtype=host)
        intensity = torch.from_numpy(chosen).to(self.device).mul_(self.per_count)
        return intensity if self.measured is None else intensity.mul_(self.measured)
