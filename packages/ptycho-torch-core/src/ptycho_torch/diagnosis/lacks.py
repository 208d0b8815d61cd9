"""What it means where an unknown that was not fitted explains frames far better."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["LIMIT", "WORTH_A_WARNING", "Kind", "Lack"]

Kind = Literal["background", "dose", "probe"]
"""Unknowns that a refinement can fit beside the object."""

LIMIT = 0.6
"""An unknown is lacking where it leaves less than this share of the misfit to frames that were held out.

Of right scans a background, a dose of each frame or another probe leave 0.8 and more, and mostly all of it.
"""

WORTH_A_WARNING: dict[Kind, float] = {"background": 0.05, "dose": 0.05, "probe": 0.1}
"""Shares of the misfit of an empty object from which on a lack makes a result wrong.

A tenth in squares is a third in the root, which an unknown that is fitted gets back; below, it is worth
knowing. The misfit is taken with each frame at its own dose, and an object takes up much of an even
background: of these half as much is enough.
"""

_SAID = {
    "background": (
        "a background, counts that lie under all of the light",
        "--refine-background smooth, or give a dark frame with --dark",
    ),
    "dose": ("a dose of its own for each frame", "--refine-dose, or divide them by a beam monitor"),
    "probe": ("another probe", "--refine-probe, or give a better one"),
}


@dataclass(frozen=True, kw_only=True)
class Lack:
    """An unknown that would have paid.

    Attributes
    ----------
    kind
        Which one.
    share
        Misfit that is left with it, as a share of that without.
    """

    kind: Kind
    share: float

    def sentence(self) -> str:
        """What that means, and what to do."""
        what, flag = _SAID[self.kind]
        return f"{what}, which leaves {max(self.share, 0):.0%} of that misfit: refine with {flag}"
