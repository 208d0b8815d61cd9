"""Where one side of a scan lies elsewhere than the other."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.spatial import cKDTree

from ptycho_torch.data import Scan
from ptycho_torch.data.summary import probe_diameter
from ptycho_torch.diagnosis.verdict import misfits
from ptycho_torch.refine.held_out.registration import offset_between
from ptycho_torch.refine.held_out.trial import Measured, Part, Positions, Rows, Trial

__all__ = ["find_seams"]

_SIDE = 4
_SEAMS = 4
_TRIED = 2
_SAME_PX = 1.5
_SEAM_STEPS = 24
_EPOCHS = 10
_OVERLAPPING = 0.6
_NEAR = 1.2
_WORSE = 1.5
_FEW_BESIDE = 0.25
"""Frames beside the seam, as a share of all, below which there is nothing to compare it with: scans in random
order."""


def find_seams(trial: Trial, lit: Scan, part: Part, measured: Measured) -> list[tuple[int, Positions]]:
    """Rows from which on frames may lie elsewhere, and how far (2,), the likeliest first; empty: nowhere.

    Looked for about the frames at which what was taken before and after is explained worst, down to one
    frame.
    """
    diameter = probe_diameter(lit.probe)
    known: dict[int, tuple[float, Positions]] = {}

    def gain(frame: int) -> float:
        if frame not in known:
            known[frame] = 0.0, np.zeros(2)
            sides = _sides(lit.positions, frame, _NEAR * diameter)
            if min(len(side) for side in sides) >= _SIDE:
                before, after = (trial.refit(lit.take(side), epochs=_EPOCHS) for side in sides)
                offset, better = offset_between(before, after, largest_px=lit.N // 4)
                # What the object shows that much farther on was taken that much nearer than stated.
                known[frame] = better, -offset
        return known[frame][0]

    suspects = _suspects(lit, part, measured, diameter)
    for start in {suspects[0], max(suspects, key=gain)} if suspects else ():
        _climb(start, lit.n_frames, gain)
    found: list[tuple[int, Positions]] = []
    for better, frame, offset in sorted(
        ((g, f, by) for f, (g, by) in known.items()), key=lambda one: -one[0]
    ):
        # Two sides that share little may agree by chance, and frames nearby mostly say the same offset.
        if better > 0 and all(np.hypot(*(offset - other)) > _SAME_PX for _, other in found):
            found.append((frame, offset))
    return found[:_TRIED]


def _climb(start: int, n_frames: int, gain: Callable[[int], float]) -> None:
    """Look for the row near one at which the gain is largest, in steps that become smaller."""
    best, step = start, _apart(n_frames)
    while step:
        best = max((best, *_within(n_frames, best - step, best + step)), key=gain)
        step //= 2


def _apart(n_frames: int) -> int:
    return max(_SIDE, n_frames // _SEAM_STEPS)


def _within(n_frames: int, *rows: int) -> list[int]:
    return [row for row in rows if _SIDE <= row <= n_frames - _SIDE]


def _suspects(lit: Scan, part: Part, measured: Measured, diameter: float) -> list[int]:
    """Rows at which the frames from before and after that overlap are explained worst."""
    found = misfits(measured.counts, part.everywhere, measured.empty, measured.free)
    left = found.made / np.maximum(found.empty, 0.1 * found.empty.mean())
    pairs = cKDTree(lit.positions).query_pairs(_OVERLAPPING * diameter, output_type="ndarray")
    scores = []
    for frame in range(_SIDE, lit.n_frames - _SIDE + 1):
        across = np.unique(pairs[(pairs[:, 0] < frame) & (pairs[:, 1] >= frame)])
        if len(across) < _SIDE:
            continue
        beside = np.delete(left, across)
        if len(beside) < _FEW_BESIDE * len(left) or left[across].mean() > _WORSE * max(beside.mean(), 0.0):
            scores.append((float(left[across].mean()), frame))
    chosen: list[int] = []
    for _, frame in sorted(scores, reverse=True):
        if all(abs(frame - other) > _apart(lit.n_frames) for other in chosen):
            chosen.append(frame)
        if len(chosen) == _SEAMS:
            break
    return chosen


def _sides(positions: Positions, frame: int, near: float) -> tuple[Rows, Rows]:
    """Rows before and after a frame that lie near frames of the other side."""
    rows = np.arange(len(positions))
    before, after = rows[:frame], rows[frame:]

    def of(side: Rows, other: Rows) -> Rows:
        return side[cKDTree(positions[other]).query(positions[side])[0] < near]

    return of(before, after), of(after, before)
