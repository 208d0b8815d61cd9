"""Which frames of a scan are looked at."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from ptycho_torch.data import Scan
from ptycho_torch.diagnosis.verdict import Misfits

__all__ = ["neighbours", "spread_over", "worst_place"]

_USUAL_FRAMES = 24
_MOST_FRAMES = 256
_MOST_VALUES = 1 << 20
_AROUND = 5
_WORSE, _WORSE_BY = 2.0, 0.02


def neighbours(scan: Scan, place: npt.NDArray[np.float64] | None = None) -> npt.NDArray[np.int64]:
    """Rows of the frames around a place (2,) ``[y, x]``, in the order in which they were taken.

    As many as are looked at; around the middle of the scan if no place is given.
    """
    count = min(scan.n_frames, _MOST_FRAMES, max(_USUAL_FRAMES, _MOST_VALUES // scan.N**2))
    middle = np.median(scan.positions, axis=0) if place is None else place
    distance = np.hypot(*(scan.positions - middle).T)
    return np.sort(np.argsort(distance, kind="stable")[:count])


def spread_over(scan: Scan) -> npt.NDArray[np.int64]:
    """Rows of frames all over a scan, as many as are looked at."""
    count = min(scan.n_frames, 4 * _MOST_FRAMES, max(4 * _USUAL_FRAMES, 4 * _MOST_VALUES // scan.N**2))
    return np.unique(np.linspace(0, scan.n_frames - 1, count).astype(np.int64))


def worst_place(scan: Scan, sample: npt.NDArray[np.int64], found: Misfits) -> npt.NDArray[np.float64] | None:
    """Place (2,) ``[y, x]`` around which frames are explained far worse than elsewhere; None: nowhere.

    Parameters
    ----------
    scan
        All frames.
    sample, found
        Rows of some of them, and how badly a result explains these.
    """
    share = found.made / np.maximum(found.empty, max(float(found.empty.mean()), 1e-30))
    places = scan.positions[sample]
    _, near = cKDTree(places).query(places, k=min(_AROUND, len(places)))
    around = np.median(share[near.reshape(len(places), -1)], axis=1)
    worst = int(around.argmax())
    usual = max(float(np.median(around)), 0.0)
    return places[worst] if around[worst] > _WORSE * usual + _WORSE_BY else None
