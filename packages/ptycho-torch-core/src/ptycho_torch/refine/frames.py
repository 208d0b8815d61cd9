"""Measured frames, read batch by batch from the array of the scan."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ptycho_torch.data import Scan
from ptycho_torch.errors import DataError, fault

__all__ = ["FrameSource", "Indices", "knows_dose", "mean_counts"]

Indices = npt.NDArray[np.int64]
"""Numbers of frames."""


def knows_dose(scan: Scan) -> bool:
    """Whether the counts of a scan are those of its measurement.

    Amplitudes that are no roots of whole counts say nothing of the photons that made them.
    """
    return scan.domain.domain == "counts" or scan.domain.is_whole


def mean_counts(scan: Scan) -> float:
    """Counts per frame, on the mean.

    Raises
    ------
    DataError
        If there are none.
    """
    mean = float(scan.counts_per_frame().mean())
    if not mean > 0:
        raise DataError(fault("diffraction", "expected counts, got none in any frame"), scan.source)
    return mean


class FrameSource:
    """Normalised intensities of chosen frames, and whether their dose is known.

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
        self.knows_dose = knows_dose(scan)
        self._with_ceiling = scan if scan.ceiling is not None else None

    @property
    def masks_each_frame(self) -> bool:
        """Whether frames have masks of their own, beside the one of the scan."""
        return self._with_ceiling is not None

    def load(self, indices: Indices) -> Tensor:
        """Intensities ``(batch, N, N)`` in normalised units; zero where nothing was measured."""
        return self.seen(indices)[0]

    def seen(self, indices: Indices) -> tuple[Tensor, Tensor | None]:
        """Intensities, and where they were measured.

        Returns
        -------
        intensity
            Real, ``(batch, N, N)``, in normalised units; zero where nothing was measured.
        measured
            Real, ``(N, N)`` or ``(batch, N, N)``: one where measured, zero elsewhere; None: everywhere.
        """
        host = np.float64 if self.dtype == torch.float64 else np.float32
        stored, measured = self.frames[indices], self.measured
        if self._with_ceiling is not None:
            # Before the frames are scaled, which may happen in place.
            free = self._with_ceiling.measured(stored)
            measured = torch.from_numpy(free).to(device=self.device, dtype=self.dtype)
        chosen = np.ascontiguousarray(stored, dtype=host)
        intensity = torch.from_numpy(chosen).to(self.device).mul_(self.per_count)
        return (intensity, None) if measured is None else (intensity.mul_(measured), measured)
