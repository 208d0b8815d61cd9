"""Why a result that explains its frames is doubted, and what is said where nothing can be told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from ptycho_torch.diagnosis.lacks import WORTH_A_WARNING, Lack
from ptycho_torch.diagnosis.moves import LIMIT as LIMIT_OF_MOVES
from ptycho_torch.diagnosis.moves import Moved
from ptycho_torch.diagnosis.verdict import Verdict

__all__ = [
    "LIMIT_OF_SCALE",
    "lack_doubted",
    "misled_doubted",
    "moves_doubted",
    "scale_doubted",
    "spoiled_there",
    "untold",
    "worst_of",
]

LIMIT_OF_SCALE = 0.6
"""A result is wrong where other distances between the positions leave less than this share of its misfit.

Positions that are right leave more under any other factor. Too little overlap and noise favour smaller
distances by their square, a tenth for a step of one twentieth.
"""


def scale_doubted(passed: Verdict, best: tuple[float, float]) -> Verdict:
    """The verdict, unless the positions fit far better at other distances.

    Parameters
    ----------
    passed
        Of the positions as they are.
    best
        Factor on their distances that was found best, and the misfit under it as a share of that as they are.
    """
    factor, share = best
    if share > LIMIT_OF_SCALE:
        return passed
    text = (
        f"{passed.sentence}, but still better with positions {factor:.2g} times as far apart, which leave "
        f"{share:.0%} of that misfit: their scale or unit is wrong; `ptycho-torch inspect --scale SCAN` "
        "finds the factor"
    )
    return replace(passed, is_bad=True, sentence=text, better_scale=factor)


def moves_doubted(passed: Verdict, best: Moved | None) -> Verdict:
    """The verdict, unless the frames fit far better where they have moved against their positions.

    Parameters
    ----------
    passed
        Of the positions as they are.
    best
        How they fit best; None: not better than they are.
    """
    if best is None or best.share > LIMIT_OF_MOVES:
        return passed
    text = f"{passed.sentence}, but still better with {best.sentence()}"
    return replace(passed, is_bad=True, sentence=text, moved=best)


def lack_doubted(found: Verdict, best: Lack | None) -> Verdict:
    """The verdict with the unknown that is lacking: wrong where that leaves much, else only said.

    Parameters
    ----------
    found
        Of the result as it is.
    best
        The unknown with which frames that were held out are predicted best; None: nothing is lacking.
    """
    if best is None or found.misfit is None or not found.misfit_of_empty_object:
        return found
    is_bad = found.is_bad or found.misfit > WORTH_A_WARNING[best.kind] * found.misfit_of_empty_object
    but = ", but" if is_bad and not found.is_bad else ";"
    text = f"{found.sentence}{but} still better with {best.sentence()}"
    return replace(found, is_bad=is_bad, sentence=text, lacking=best)


def misled_doubted(found: Verdict, worse: str | None) -> Verdict:
    """The verdict, unless the refinement itself explains the frames worse than what it began with.

    Parameters
    ----------
    found
        By frames that were held out.
    worse
        What there is to say of the refinement; None: it led towards the frames.
    """
    if worse is None:
        return found
    return replace(found, is_bad=True, sentence=f"{worse}; {found.sentence}")


def spoiled_there(found: Verdict, frames: npt.NDArray[np.int64], place: npt.NDArray[np.float64]) -> Verdict:
    """A verdict by frames of the place that fits worst, saying which these are.

    Parameters
    ----------
    found
        Verdict by frames around the place.
    frames
        (k,) their numbers.
    place
        (2,) ``[y, x]``; px.
    """
    y, x = place
    where = (
        f"around y = {y:.0f} px, x = {x:.0f} px, where the object fits worst (frames {frames.min()} to "
        f"{frames.max()}),"
    )
    return replace(found, sentence=f"{where} {found.sentence}")


def untold(because: str) -> Verdict:
    """A verdict that cannot be told, and why."""
    return Verdict(is_bad=False, is_told=False, sentence=f"the object cannot be judged: {because}")


def worst_of(verdicts: Sequence[Verdict]) -> Verdict:
    """The least favourable of some verdicts, at least one: a bad one, else one that cannot be told."""

    def rank(one: Verdict) -> tuple[bool, bool, float]:
        share = 0.0
        if one.misfit is not None and one.misfit_of_empty_object:
            share = one.misfit / one.misfit_of_empty_object
        return one.is_bad, not one.is_told, share

    return max(verdicts, key=rank)
