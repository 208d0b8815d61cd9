"""Choose a few dozen neighbouring frames on which a question about a whole scan can be decided."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from ptycho_torch.data.scan.contract import Scan
from ptycho_torch.data.scan.crop import crop_middle, cropped_parts
from ptycho_torch.data.summary import probe_diameter

__all__ = ["FEWEST", "Neighbours", "choose_neighbours"]

FEWEST = 12
"""Frames below which no statement is made: fewer leave less than two to be predicted by their neighbours."""

_WANTED = 36
_SAMPLE = 128
_AROUND = 8
_SMALLEST = 64
_LIGHT = 0.95
_APART = 0.1


@dataclass(frozen=True, kw_only=True)
class Neighbours:
    """Neighbouring frames, in memory, of which some are only predicted.

    Attributes
    ----------
    scan
        The frames, those in the middle first; cropped to where the light is.
    held
        (n,) bool; frames that no fit sees.
    indices
        (n,) int64; their numbers in the scan they come from.
    diameter
        Of the probe, see `ptycho_torch.data.summary.probe_diameter`; px.
    step
        Median distance to the nearest other position; px, NaN for one position.
    """

    scan: Scan = field(repr=False)
    held: npt.NDArray[np.bool_] = field(repr=False)
    indices: npt.NDArray[np.int64] = field(repr=False)
    diameter: float
    step: float

    @property
    def n_frames(self) -> int:
        """Frames, those held out included."""
        return len(self.indices)


def choose_neighbours(
    scan: Scan, *, spread: bool = True, wanted: int = _WANTED, whole: bool = False
) -> Neighbours:
    """Neighbouring frames about the place of a scan where frames differ most.

    Frames that all look alike, as those beside a sample, fit in any way.

    Parameters
    ----------
    scan
        The whole scan. At most some 160 of its frames are read.
    spread
        Skip frames that are nearer to one another than a tenth of the probe, so that those of a dense scan
        still cover some ground. Not where the scale of the positions is in doubt.
    wanted
        How many frames, where the scan has so many.
    whole
        Leave the frames as large as they are, so that pixels of the object stay those of the scan.
    """
    diameter = probe_diameter(scan.probe)
    middle = _liveliest(scan)
    distance = np.linalg.norm(scan.positions - scan.positions[middle], axis=1)
    order = np.argsort(distance, kind="stable")
    order = order[scan.scan_index[order] == scan.scan_index[middle]]
    indices = _thinned(scan.positions, order, _APART * diameter, wanted) if spread else order[:wanted]
    if len(indices) < FEWEST:
        indices = order[:wanted]
    # Held-out frames have neighbours on all sides, so none of the outer third.
    held = np.zeros(len(indices), dtype=bool)
    held[2 : max(3, 2 * len(indices) // 3) : 3] = True
    chosen = _small(scan, indices, whole=whole)
    ratio = chosen.N / scan.N if chosen.probe.shape[-1] != scan.probe.shape[-1] else 1.0
    return Neighbours(
        scan=chosen, held=held, indices=indices, diameter=diameter * ratio, step=_step(chosen.positions)
    )


def _liveliest(scan: Scan) -> int:
    """Index of the frame about which frames differ most from the mean one; no single outlier decides."""
    sample = np.unique(np.linspace(0, scan.n_frames - 1, min(scan.n_frames, _SAMPLE)).astype(np.int64))
    light = np.stack([np.sqrt(scan.diffraction[int(i)].astype(np.float32)) for i in sample])
    light /= np.maximum(np.linalg.norm(light, axis=(1, 2), keepdims=True), 1e-12)
    mean = light.mean(axis=0)
    difference = np.linalg.norm(light - mean, axis=(1, 2))
    tree = cKDTree(scan.positions[sample])
    _, near = tree.query(scan.positions[sample], k=min(_AROUND, len(sample)))
    level = np.median(difference[near.reshape(len(sample), -1)], axis=1)
    # Where all is alike, the middle of the scan has the most neighbours.
    centre = np.median(scan.positions, axis=0)
    away = np.linalg.norm(scan.positions[sample] - centre, axis=1)
    alike = np.flatnonzero(level >= 0.95 * level.max())
    return int(sample[alike[np.argmin(away[alike])]])


def _thinned(
    positions: npt.NDArray[np.float64], order: npt.NDArray[np.int64], apart: float, wanted: int
) -> npt.NDArray[np.int64]:
    """The first frames in ``order`` that keep a distance from all before them."""
    chosen: list[int] = []
    for index in order.tolist():
        if len(chosen) == wanted:
            break
        if not chosen or np.linalg.norm(positions[chosen] - positions[index], axis=1).min() >= apart:
            chosen.append(index)
    return np.array(chosen, dtype=np.int64)


def _small(scan: Scan, indices: npt.NDArray[np.int64], *, whole: bool) -> Scan:
    """The chosen frames in memory, cropped to the middle that holds nearly all light, or whole."""
    frames = np.asarray(scan.diffraction[indices])
    size = scan.N if whole else _lit_size(frames)
    bad, ceiling = scan.bad_pixels, scan.ceiling
    parts: dict[str, Any] = {
        "positions": scan.positions[indices],
        "positions_nominal": scan.positions[indices],
        "probe": scan.probe,
        "object_truth": None,
        "object_truth_origin": np.zeros(2),
        "labels": None,
    }
    if size < scan.N:
        parts, _ = cropped_parts(parts, scan.N, size)
        frames = crop_middle(frames, size)
        bad = None if bad is None else crop_middle(bad, size)
        ceiling = None if ceiling is None else crop_middle(ceiling, size)
    return Scan(
        diffraction=np.ascontiguousarray(frames),
        bad_pixels=bad,
        ceiling=ceiling,
        domain=scan.domain,
        source=scan.source,
        **parts,
    )


def _lit_size(frames: npt.NDArray[np.number]) -> int:
    """Edge of the smallest middle, 64 px or more, that holds nearly all counts; px."""
    full = frames.shape[-1]
    if full % 2:
        return full
    mean = frames.mean(axis=0, dtype=np.float64)
    size = _SMALLEST
    while size < full and crop_middle(mean, size).sum() < _LIGHT * mean.sum():
        size *= 2
    return min(size, full)


def _step(positions: npt.NDArray[np.float64]) -> float:
    different = np.unique(positions, axis=0)
    if len(different) < 2:
        return math.nan
    distances, _ = cKDTree(different).query(different, k=2)
    return float(np.median(distances[:, 1]))
