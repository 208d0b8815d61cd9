"""Pictures of a live scan in 256 grey levels, small enough to be sent twice a second."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ptycho_torch.live.session import Session

__all__ = ["VIEWS", "View", "view_of"]

VIEWS = ("phase", "amplitude", "coverage", "frame")
"""Names of the pictures."""

_LARGEST_PX = 700
_LIT = 0.02


@dataclass(frozen=True, kw_only=True)
class View:
    """One picture.

    Attributes
    ----------
    levels
        (height, width) uint8: zero where nothing is known, 1 to 255 from ``low`` to ``high``.
    low, high
        What the darkest and the brightest level mean; rad, counts or 1.
    title
        What is shown.
    """

    levels: npt.NDArray[np.uint8] = field(repr=False)
    low: float
    high: float
    title: str


def view_of(session: Session, name: str) -> View | None:
    """The picture of a name out of `VIEWS`; None as long as there is nothing to show."""
    if name == "frame":
        newest = session.newest_frame()
        if newest is None:
            return None
        number, frame = newest
        values = np.log10(1 + np.maximum(_smaller(np.asarray(frame, dtype=np.float32)), 0))
        return _levels(values, np.ones(values.shape, dtype=np.bool_), f"frame {number}, log10", 100)
    picture = session.picture
    if picture is None:
        return None
    weight = _smaller(picture.object.weight.astype(np.float32))
    lit = weight > _LIT * np.percentile(weight, 90)
    if name == "coverage":
        return _levels(weight, weight > 0, "coverage", 99)
    values = _smaller(picture.object.object)
    if name == "amplitude":
        return _levels(np.abs(values), lit, "amplitude", 99.5)
    # The constant of the phase means nothing; without it the phase does not wrap where it need not.
    constant = np.sum(values[lit])
    turned = values * np.exp(-1j * np.angle(constant))
    return _levels(np.angle(turned), lit, "phase, rad", 99.5)


def _smaller(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Every k-th pixel of an image, so that its longer side is at most so many pixels."""
    step = max(1, -(-max(values.shape) // _LARGEST_PX))
    return values[::step, ::step]


def _levels(values: npt.NDArray[Any], known: npt.NDArray[np.bool_], title: str, upper: float) -> View:
    shown = np.where(np.isfinite(values), values, 0).astype(np.float64)
    inside = shown[known]
    low, high = np.percentile(inside, (100 - upper, upper)) if inside.size else (0.0, 1.0)
    span = max(float(high - low), 1e-12)
    levels = np.clip(1 + 254 * (shown - low) / span, 1, 255).astype(np.uint8)
    return View(levels=np.where(known, levels, 0), low=float(low), high=float(high), title=title)
