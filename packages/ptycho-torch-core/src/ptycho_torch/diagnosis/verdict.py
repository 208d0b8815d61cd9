r"""Whether a result explains frames better than an empty object does.

A solution fits the frames that it saw, wrong ones too. So frames are held out, and their counts I are
compared with what an object made from the other frames predicts, :math:`\lambda`, and with what an empty
object predicts, f:

.. math:: E(\lambda) = \sum \frac{(I - \lambda)^2 - I}{m + m_0}

with m the mean frame, which hardly depends on the noise of any single one. Taking I off leaves, on average,
no trace of counting noise, so E holds at any dose: 0 for a perfect prediction, :math:`E(f)` for an empty
object. The same is done for the departures of I and of the predictions from their own means over the frames,
in which pixels that never change, gaps and beam stops for example, take no part. The larger of the two
ratios decides.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["LIMIT", "Misfits", "Verdict", "misfits", "verdict"]

Counts = npt.NDArray[np.float64]

LIMIT = 0.5
"""Share of the misfit of an empty object above which a result is questioned.

Right results stay below 0.25 in the runs of ``benchmarks/verdict.md``, and all but one of the wrong ones are
above it; the room is left for results that are poor.
"""

_SEEN = 4.0
_NOISE = 0.5
_FLOOR = 0.05
_KEPT = 0.95


@dataclass(frozen=True, kw_only=True, eq=False)
class Misfits:
    """Sums over the pixels of each frame, (k,) float64.

    Attributes
    ----------
    made, empty
        Misfit beyond counting noise of the object and of an empty one.
    made_changes, empty_changes
        The same of the departures from the mean over the frames.
    agreement, strength
        Product of the predicted departure from an empty object with the measured one, and with itself.
    """

    made: Counts
    empty: Counts
    made_changes: Counts
    empty_changes: Counts
    agreement: Counts
    strength: Counts


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a result is worth.

    Attributes
    ----------
    is_bad
        The result explains the frames no better than an empty object, or shows noise.
    made, empty
        Misfit to the frames that were held out, of the object and of an empty one, in shares of the counting
        noise.
    shows_an_object
        Whether the frames show anything beyond an empty object at all.
    sentence
        What that means, and what to do.
    n_held_out
        Frames that were held out.
    """

    is_bad: bool
    made: float
    empty: float
    shows_an_object: bool
    sentence: str
    n_held_out: int

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "is_bad": self.is_bad,
            "misfit": self.made,
            "misfit_of_empty_object": self.empty,
            "shows_an_object": self.shows_an_object,
            "sentence": self.sentence,
            "n_held_out": self.n_held_out,
        }


def misfits(counts: Counts, made: Counts, empty: Counts, free: npt.NDArray[np.bool_]) -> Misfits:
    """Compare predictions with measured counts.

    Parameters
    ----------
    counts, made, empty
        (k, N, N): measured counts, and those that the object and an empty one predict, in any scale.
    free
        (N, N) bool: measured pixels.
    """
    counts, made, empty = (np.where(free, values, 0.0) for values in (counts, made, empty))
    made, empty = (values * (counts.sum() / max(values.sum(), 1e-30)) for values in (made, empty))
    mean = counts.mean(axis=0)
    weight = np.where(free, 1 / (mean + _FLOOR * mean.mean() + 1 / len(counts)), 0.0)

    def summed(values: Counts) -> Counts:
        return np.asarray((weight * values).sum(axis=(1, 2)))

    def changes(values: Counts) -> Counts:
        return values - values.mean(axis=0)

    moved, noise = changes(counts), counts * (1 - 1 / len(counts))
    departure = made - empty
    return Misfits(
        made=summed((counts - made) ** 2 - counts),
        empty=summed((counts - empty) ** 2 - counts),
        made_changes=summed((moved - changes(made)) ** 2 - noise),
        empty_changes=summed((moved - changes(empty)) ** 2 - noise),
        agreement=summed(departure * (counts - empty)),
        strength=summed(departure**2),
    )


def _sum(values: Counts, order: npt.NDArray[np.int64]) -> float:
    """Sum without the few frames that fit the object worst: single wrong ones say nothing of the whole."""
    return float(values[order[: max(1, int(np.ceil(_KEPT * len(values))))]].sum())


def _significance(values: Counts) -> float:
    spread = float(values.std())
    return float(values.mean() * np.sqrt(len(values)) / spread) if spread > 0 else 0.0


def verdict(held: Misfits, *, departure: float, n_pixels: int, limit: float = LIMIT) -> Verdict:
    """Judge a result by frames that were held out.

    Parameters
    ----------
    held
        Of the frames that were held out.
    departure
        Root mean square difference of the object from an empty one, where the probe was.
    n_pixels
        Measured pixels of a frame, to put the misfits in shares of the counting noise.
    limit
        Share of the misfit of an empty object above which the result is bad.
    """
    order = np.argsort(held.made)
    pairs = [(_sum(held.made, order), _sum(held.empty, order))]
    if held.empty_changes.sum() > 0:
        pairs.append((_sum(held.made_changes, order), _sum(held.empty_changes, order)))
    ratios = [made / empty if empty > 0 else np.inf for made, empty in pairs]
    ratio = max(ratios)
    made, empty = pairs[ratios.index(ratio)]
    visible = _significance(held.empty) > _SEEN
    shows = visible or _significance(held.agreement) > _SEEN
    # The prediction is nearer than an empty object where it agrees with more than half of its own departure.
    nearer = float(held.agreement.sum()) > 0.5 * float(held.strength.sum())
    per_pixel = len(held.made) * n_pixels
    shares = made / per_pixel, empty / per_pixel
    figures = f"({shares[0]:.3g} against {shares[1]:.3g})"
    if not shows:
        if departure > _NOISE:
            text = "shows noise: the frames hold too few counts for it; give refine a --smoothness"
            return _said(True, text, shares, shows, held)
        return _said(False, "is empty to within the noise: the frames show no object", shares, shows, held)
    is_bad = ratio > limit if visible else not nearer
    if not is_bad:
        text = f"explains frames that were held out better than an empty object {figures}"
        return _said(False, text, shares, shows, held)
    degree = "no better" if ratio > 0.9 or not visible else "hardly better"
    causes = (
        "positions, orientation, probe, mask or dose are wrong, or noise needs a smoothness; "
        "`ptycho-torch inspect --orientation SCAN` tries the first two"
        if visible
        else "the frames hold too few counts for it; give refine a --smoothness, or a larger one"
    )
    text = f"explains frames that were held out {degree} than an empty object {figures}: {causes}"
    return _said(True, text, shares, shows, held)


def _said(is_bad: bool, text: str, shares: tuple[float, float], shows: bool, held: Misfits) -> Verdict:
    return Verdict(
        is_bad=is_bad,
        made=shares[0],
        empty=shares[1],
        shows_an_object=shows,
        sentence=f"the object {text}",
        n_held_out=len(held.made),
    )
