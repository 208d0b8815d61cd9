"""Whether positions that drift, jump or are stretched along the scan explain frames far better.

Frames that overlap were mostly taken soon after each other, so a drift or a jump hardly shows in them: each
side of a jump is right in itself. What tells is the seam, where frames from before and after it meet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import numpy as np
import numpy.typing as npt

from ptycho_torch.data import Scan
from ptycho_torch.diagnosis.moves import Moved
from ptycho_torch.refine.held_out.scale import ABOVE_NOISE, gain_of
from ptycho_torch.refine.held_out.seams import find_seams
from ptycho_torch.refine.held_out.trial import Counts, Measured, Part, Positions, Trial

__all__ = ["better_moves"]

_LEAST_MISFIT = 0.01
"""Share of the misfit of an empty object that is not worth the time to look into."""

_SURE = 2.0
"""Only the frames at a seam gain, so that their gains scatter widely. `ptycho_torch.diagnosis.moves.LIMIT`
keeps chance out: without a drift or a jump the fits leave as much as before, or more.
"""

_WORTH_MORE = 0.8
"""Share of the misfit under which the first part has to come for the others to be looked at."""

Guess = tuple[Moved, Counts]
"""How the frames of one part move, and what is predicted for those that were held out, (k, N, N)."""


def better_moves(trial: Trial, lit: Scan, parts: list[Part], measured: Measured) -> Moved | None:
    """How the frames have moved against their positions, where that explains those held out best.

    Parameters
    ----------
    trial
        How objects are made.
    lit
        Neighbouring frames in the order in which they were taken.
    parts
        Frames of them that were held out, with the positions as they are.
    measured
        Their counts.

    Returns
    -------
    Moved or None
        The best of a jump, a drift, and a scan that is stretched or sheared; None if it explains the
        frames no better than chance would, or if there is nothing to explain.
    """
    found = measured.misfits(np.concatenate([part.predicted for part in parts]))
    opened = found.made
    if opened.sum() <= max(ABOVE_NOISE * measured.noise(), _LEAST_MISFIT * found.empty.sum()):
        return None
    best = None
    for guess in _guesses(trial, lit, parts[0], measured):
        tried = _tried(guess, parts, measured)
        if tried is None:
            continue
        moved, misfit = tried
        share = float(misfit.sum() / opened.sum())
        if gain_of(opened, misfit) > _SURE and (best is None or share < best.share):
            best = replace(moved, share=share)
    return best


def _tried(
    guess: Callable[[Part], Guess], parts: list[Part], measured: Measured
) -> tuple[Moved, npt.NDArray[np.float64]] | None:
    """The largest move of all parts, and the misfit to their frames; None if the first part gains little."""
    moved, predicted = guess(parts[0])
    first = measured.of(parts[0].held).misfits(predicted).made
    opened = measured.of(parts[0].held).misfits(parts[0].predicted).made
    if first.sum() > _WORTH_MORE * opened.sum():
        return None
    every = [predicted]
    for part in parts[1:]:
        other, predicted = guess(part)
        if np.hypot(*other.by_px) > np.hypot(*moved.by_px):
            moved = other
        every.append(predicted)
    return moved, measured.misfits(np.concatenate(every)).made


def _guesses(trial: Trial, lit: Scan, part: Part, measured: Measured) -> Iterator[Callable[[Part], Guess]]:
    for seam in find_seams(trial, lit, part, measured):
        yield partial(_jumped, trial, lit, *seam)
    yield partial(_fitted, trial, lit, True)
    yield partial(_fitted, trial, lit, False)


def _jumped(trial: Trial, lit: Scan, frame: int, offset: Positions, part: Part) -> Guess:
    later = np.arange(lit.n_frames)[:, None] >= frame
    there = replace(lit, positions=lit.positions + np.where(later, offset, 0.0))
    by = (float(offset[0]) + 0.0, float(offset[1]) + 0.0)  # no minus before zero
    moved = Moved(kind="jump", by_px=by, from_frame=int(lit.frame_index[frame]))
    return moved, trial.gathered(there, trial.refit(there.take(part.rest)))[0][part.held]


def _fitted(trial: Trial, lit: Scan, drift: bool, part: Part) -> Guess:
    """With a drift, or an affine map, fitted along with the object."""
    made, positions = trial.refit_moving(lit, part.rest, drift=drift)
    by = np.ptp(positions - lit.positions, axis=0)
    moved = Moved(kind="drift" if drift else "stretch", by_px=(float(by[0]), float(by[1])))
    return moved, trial.gathered(replace(lit, positions=positions), made)[0][part.held]
