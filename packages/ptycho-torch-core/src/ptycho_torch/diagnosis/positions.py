"""Positions that cannot be where the frames were taken."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from ptycho_torch.diagnosis.evidence import Evidence
from ptycho_torch.diagnosis.finding import Diagnosis, Finding, Remedy, numbered

__all__ = ["POSITION_DIAGNOSES", "canvas", "line", "overlap", "raster", "repeats", "stray", "typical_step"]

Positions = npt.NDArray[np.float64]
_FEW = 0.05
_LARGE_BYTES = 4 << 30
_EMPTY_CANVAS = 0.02
_COPIES = 8
_LEAST_COPIES = 4
_MOST_COPIES = 0.5
_LEAST_OVERLAP = 0.5
_LESS_THAN_A_PIXEL = 0.5


def typical_step(positions: Positions) -> float:
    """Median distance to the nearest different position; px. NaN for a single one."""
    from scipy.spatial import cKDTree

    different = np.unique(positions, axis=0)
    if len(different) < 2:
        return math.nan
    distances, _ = cKDTree(different).query(different, k=2)
    return float(np.median(distances[:, 1]))


def _islands(positions: Positions, reach: float) -> npt.NDArray[np.int64]:
    """Number of the group of each position whose members reach each other in steps of ``reach``."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import cKDTree

    cells, inverse = np.unique(
        np.floor(positions / (reach / 2)).astype(np.int64), axis=0, return_inverse=True
    )
    # One position of each cell stands for all: cells that touch within the reach belong together.
    pairs = cKDTree(cells.astype(np.float64)).query_pairs(2.0 * math.sqrt(2.0), output_type="ndarray")
    graph = coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(len(cells), len(cells)))
    _, labels = connected_components(graph, directed=False)
    return np.asarray(labels)[inverse.reshape(-1)]


def _stand_for_none(positions: Positions, labels: npt.NDArray[np.int64], main: int) -> npt.NDArray[np.bool_]:
    """Positions far from the scan that share a coordinate to the last bit: a value for "not read"."""
    sizes = np.bincount(labels)
    points = np.zeros(len(sizes), dtype=np.bool_)
    for axis in (0, 1):
        _, first = np.unique(np.column_stack([labels, positions[:, axis]]), axis=0, return_index=True)
        points |= np.bincount(labels[first], minlength=len(sizes)) == 1
    points[main] = False
    found: npt.NDArray[np.bool_] = (points & (sizes >= _LEAST_COPIES))[labels]
    return found if np.count_nonzero(found) <= _MOST_COPIES * len(positions) else np.zeros_like(found)


def stray(evidence: Evidence) -> Finding:
    """Few positions far away from all others."""
    from scipy.spatial import cKDTree

    positions, name = evidence.positions, "stray"
    step = typical_step(positions)
    if evidence.n_frames < 4 or math.isnan(step):
        return Finding(name=name, found=False, text="too few positions to call one a stray")
    reach = max(float(evidence.size), 10 * step)
    labels = _islands(positions, reach)
    sizes = np.bincount(labels)
    main = int(sizes.argmax())
    small = sizes <= max(1, _FEW * evidence.n_frames)
    small[main] = False
    far = small[labels] | _stand_for_none(positions, labels, main)
    if not far.any():
        return Finding(
            name=name, found=False, text="every position has others near it", numbers={"reach_px": reach}
        )
    distances, _ = cKDTree(positions[labels == main]).query(positions[far])
    where = np.flatnonzero(far)
    shown = ", ".join(
        f"number {number} at y {positions[number, 0]:.6g}, x {positions[number, 1]:.6g}, "
        f"{distance:.4g} px away"
        for number, distance in zip(where[:4], distances[:4], strict=True)
    )
    more = f" and {len(where) - 4} more" if len(where) > 4 else ""
    count = len(where)
    return Finding(
        name=name,
        found=True,
        severity="warning",
        text=(
            f"{count} of {evidence.n_frames} positions {'lies' if count == 1 else 'lie'} far from "
            f"all others: {shown}{more}"
        ),
        advice="their frames are left out; correct the positions to use them",
        numbers={"positions": where.tolist(), "distances_px": [float(value) for value in distances]},
        remedy=Remedy(drop=far),
    )


def _runs(positions: Positions) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """First index and length of every run of equal positions that follow each other."""
    changes = np.any(np.diff(positions, axis=0) != 0, axis=1)
    starts = np.r_[0, np.flatnonzero(changes) + 1]
    return starts, np.diff(np.r_[starts, len(positions)])


def _one_value_everywhere(positions: Positions) -> npt.NDArray[np.bool_]:
    """Positions that hold a value which comes back far more often than any other."""
    _, which, counts = np.unique(positions, axis=0, return_inverse=True, return_counts=True)
    usual = float(np.median(counts))
    often = (counts >= _LEAST_COPIES) & (counts > _LEAST_COPIES * usual)
    # Places that a scan comes back to are several, or one in a regular order; a value for "not read" is one.
    return np.asarray((often & (often.sum() == 1))[which.reshape(-1)])


def repeats(evidence: Evidence) -> Finding:
    """Positions that stopped being read: one value for many frames that follow each other."""
    positions, name, n = evidence.positions, "repeats", evidence.n_frames
    starts, lengths = _runs(positions)
    different = len(np.unique(positions, axis=0))
    numbers: dict[str, Any] = {"n_different": different}
    if n < 4 or different < 2:
        return Finding(name=name, found=False, text=f"{different} different positions", numbers=numbers)
    usual = float(np.median(lengths))
    # A scan that takes several frames at every point has runs of one length; an encoder that stops, one long
    # one.
    long = (lengths >= 3) & (lengths > 3 * usual)
    drop = np.zeros(n, dtype=np.bool_)
    for start, length in zip(starts[long], lengths[long], strict=True):
        drop[start : start + length] = True
    drop |= _one_value_everywhere(positions)
    zero = ~positions.any(axis=1)
    if zero.sum() >= 2 and zero.sum() > 3 * usual:
        drop |= zero
    if not drop.any():
        text = f"{different} different positions for {n} frames"
        return Finding(name=name, found=False, text=text, numbers=numbers)
    at_end = drop[-1] and starts[long].size == 1
    count = int(drop.sum())
    where = positions[np.flatnonzero(drop)[0]]
    text = (
        f"{count} positions {'at the end ' if at_end else ''}hold one and the same value, y {where[0]:.6g}, "
        f"x {where[1]:.6g} (numbers {numbered(drop)}): they were not read"
    )
    numbers["positions"] = np.flatnonzero(drop).tolist()
    if count > 0.5 * n:
        return Finding(
            name=name,
            found=True,
            severity="warning",
            text=text,
            numbers=numbers,
            advice="too many to leave their frames out: look for the positions of these frames",
        )
    return Finding(
        name=name,
        found=True,
        severity="warning",
        text=text,
        numbers=numbers,
        advice="their frames are left out",
        remedy=Remedy(drop=drop),
    )


def line(evidence: Evidence) -> Finding:
    """A scan along a line, which leaves the object across it to the probe alone."""
    positions, name = evidence.positions, "line"
    if evidence.n_frames < 3:
        return Finding(name=name, found=False, text=f"{evidence.n_frames} positions")
    spread = positions - positions.mean(axis=0)
    along, across = np.linalg.svd(spread, compute_uv=False) / math.sqrt(evidence.n_frames)
    numbers = {"along_px": float(along), "across_px": float(across)}
    text = f"positions spread over {along:.4g} px along and {across:.4g} px across"
    if along == 0 or across > 0.02 * along or across > 0.1 * evidence.diameter:
        return Finding(name=name, found=False, text=text, numbers=numbers)
    advice = "the object is known along it only; neighbouring lines would fix what lies across"
    spans = np.ptp(positions, axis=0)
    if 0 < spans.min() < _LESS_THAN_A_PIXEL:
        small, large = int(spans.argmin()), int(spans.argmax())
        said = f"{'yx'[small]} spans {spans[small]:.2g} px and {'yx'[large]} {spans[large]:.4g}"
        advice += f"; {said}: if this is no line scan, one of the two is in another unit"
    return Finding(
        name=name,
        found=True,
        text=f"all positions lie on a line ({text})",
        advice=advice,
        numbers=numbers,
    )


def overlap(evidence: Evidence) -> Finding:
    """Too little overlap of neighbouring patches."""
    step, name = typical_step(evidence.positions), "overlap"
    if math.isnan(step):
        return Finding(name=name, found=False, text="one position has no neighbour to overlap with")
    share = max(0.0, 1 - step / evidence.diameter)
    text = f"neighbouring patches overlap by {share:.0%} of the probe diameter (step {step:.4g} px)"
    numbers = {"overlap": share, "step_px": step, "probe_diameter_px": evidence.diameter}
    if share >= _LEAST_OVERLAP:
        return Finding(name=name, found=False, text=text, numbers=numbers)
    if share == 0:
        return Finding(
            name=name,
            found=True,
            severity="warning",
            text=f"{text}: frames do not overlap",
            advice="check the unit of the positions and the size of the probe: `inspect --scale`",
            numbers=numbers,
        )
    return Finding(name=name, found=True, text=text, advice="60 % or more is usual", numbers=numbers)


def raster(evidence: Evidence) -> Finding:
    """A grid without any irregularity, which leaves its own pattern in the object."""
    from scipy.spatial import cKDTree

    positions, name = evidence.positions, "raster"
    step = typical_step(positions)
    if evidence.n_frames < 16 or math.isnan(step):
        return Finding(name=name, found=False, text="too few positions to call them a raster")
    different = np.unique(positions, axis=0)
    distances, neighbours = cKDTree(different).query(different, k=2)
    offsets = np.abs(different[neighbours[:, 1]] - different)
    regular = float(
        np.mean((offsets.min(axis=1) < 0.02 * step) & (np.abs(distances[:, 1] - step) < 0.02 * step))
    )
    numbers = {"regular": regular, "step_px": step}
    if regular < 0.9:
        return Finding(name=name, found=False, text="the positions are no regular raster", numbers=numbers)
    return Finding(
        name=name,
        found=True,
        text=f"the positions are a regular raster (step {step:.4g} px)",
        advice="it may show as a pattern in the object; jittered or spiral scans do not",
        numbers=numbers,
    )


def canvas(evidence: Evidence) -> Finding:
    """The array that the object needs, and the memory it takes."""
    positions, size, name = evidence.positions, evidence.size, "canvas"
    reach = np.ceil(np.ptp(positions, axis=0)) + size
    pixels = float(reach.prod())
    memory = pixels * 8 * _COPIES
    covered = min(1.0, evidence.n_frames * float(size) ** 2 / pixels)
    text = (
        f"the object takes {reach[0]:.0f} x {reach[1]:.0f} px, about {_bytes(memory)} of memory "
        "while it is worked on"
    )
    numbers = {"height_px": float(reach[0]), "width_px": float(reach[1]), "bytes": memory, "covered": covered}
    if memory < _LARGE_BYTES or covered > _EMPTY_CANVAS:
        return Finding(name=name, found=False, text=text, numbers=numbers)
    return Finding(
        name=name,
        found=True,
        severity="warning",
        text=f"{text}, of which the frames cover at most {covered:.2%}",
        advice="check the unit of the positions, and whether single ones are wrong",
        numbers=numbers,
    )


def _bytes(number: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.4g} TB"


POSITION_DIAGNOSES: tuple[Diagnosis, ...] = (
    Diagnosis(
        name="stray",
        looks_for="positions far away from all others",
        threshold=(
            f"at most {_FEW:.0%} of them, or {_LEAST_COPIES} and more that share a coordinate to the last "
            "bit, farther from the rest than a frame and than ten steps: their frames share no pixel with "
            "others"
        ),
        examine=stray,
        cleans=True,
    ),
    Diagnosis(
        name="repeats",
        looks_for="positions that were not read",
        threshold=(
            "three or more equal positions in a row, three times as many as is usual in the scan; or one "
            "value that comes back four times as often as is usual"
        ),
        examine=repeats,
        cleans=True,
    ),
    Diagnosis(
        name="canvas",
        looks_for="positions that would need an enormous array",
        threshold=(
            f"more than {_LARGE_BYTES >> 30} GB, of which the frames cover less than {_EMPTY_CANVAS:.0%}"
        ),
        examine=canvas,
    ),
    Diagnosis(
        name="line",
        looks_for="scans along a line",
        threshold=(
            "the extent across the line is less than a fiftieth of that along it, and less than a tenth of "
            "the probe"
        ),
        examine=line,
    ),
    Diagnosis(
        name="overlap",
        looks_for="little overlap",
        threshold=f"below {_LEAST_OVERLAP:.0%} of the probe diameter, where solutions become ambiguous",
        examine=overlap,
    ),
    Diagnosis(
        name="raster",
        looks_for="grids without irregularity",
        threshold="nine of ten nearest neighbours along an axis are at one distance, within a fiftieth",
        examine=raster,
    ),
)
