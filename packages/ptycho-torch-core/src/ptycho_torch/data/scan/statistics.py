"""What the frames of a scan hold taken together, from one pass over them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ptycho_torch.control import Progress
from ptycho_torch.data.scan.contract import Scan, frame_chunks

__all__ = ["FrameStatistics", "frame_statistics"]


@dataclass(frozen=True, kw_only=True, eq=False)
class FrameStatistics:
    """Sums and extremes over the frames of a scan.

    Attributes
    ----------
    totals
        (n,) float64: counts of each frame.
    mean
        (N, N) float64: counts per frame of each pixel.
    highest, lowest
        (N, N) float64: largest and smallest counts of each pixel.
    n_zeros
        Pixels without a count in all frames together, those that were not measured left out.
    """

    totals: npt.NDArray[np.float64]
    mean: npt.NDArray[np.float64]
    highest: npt.NDArray[np.float64]
    lowest: npt.NDArray[np.float64]
    n_zeros: int


def frame_statistics(scan: Scan, *, progress: Progress | None = None) -> FrameStatistics:
    """Go through the frames once, in pieces.

    Parameters
    ----------
    scan
        Frames in counts.
    progress
        Called with frames done and frames in all.
    """
    n, size = scan.n_frames, scan.N
    totals, mean, highest = np.zeros(n), np.zeros((size, size)), np.zeros((size, size))
    lowest = np.full((size, size), np.inf)
    zeros = 0
    for part in frame_chunks(scan.diffraction):
        block = scan.diffraction[part]
        totals[part] = block.sum(axis=(1, 2), dtype=np.float64)
        mean += block.sum(axis=0, dtype=np.float64)
        np.maximum(highest, block.max(axis=0), out=highest)
        np.minimum(lowest, block.min(axis=0), out=lowest)
        zeros += block.size - int(np.count_nonzero(block))
        if progress is not None:
            progress(min(part.stop, n), n)
    unmeasured = 0 if scan.bad_pixels is None else int(scan.bad_pixels.sum())
    return FrameStatistics(
        totals=totals,
        mean=mean / n,
        highest=highest,
        lowest=lowest,
        n_zeros=zeros - unmeasured * n,
    )
