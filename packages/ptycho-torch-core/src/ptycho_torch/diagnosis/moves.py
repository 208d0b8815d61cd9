"""What it means where frames have moved against their positions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["LIMIT", "Moved"]

LIMIT = 0.6
"""A result is wrong where frames that have moved leave less than this share of its misfit.

Where nothing has moved, a drift, a jump or a stretch that is fitted leaves all of it: what other frames
tell of a frame that was held out is no better for it.
"""


@dataclass(frozen=True, kw_only=True)
class Moved:
    """How frames have moved against their positions.

    Attributes
    ----------
    kind
        ``"jump"``: all frames from one on lie elsewhere. ``"drift"``: they move smoothly with their number.
        ``"stretch"``: the scan is stretched, sheared or turned.
    by_px
        ``[y, x]`` of a jump, that the positions from it on lack; else how far frames have moved at most; px.
    from_frame
        Number of the first frame after a jump; None of others.
    share
        Misfit that is left, as a share of that with the positions as they are.
    """

    kind: Literal["jump", "drift", "stretch"]
    by_px: tuple[float, float]
    from_frame: int | None = None
    share: float = 1.0

    def sentence(self) -> str:
        """What that means, and what to do."""
        y, x = self.by_px
        left = f"leaves {max(self.share, 0):.0%} of that misfit"
        if self.kind == "jump":
            search = 2 * max(abs(y), abs(x))
            return (
                f"all positions from about frame {self.from_frame} on moved by {y:+.0f} px in y and "
                f"{x:+.0f} px in x, which {left}: the scan jumped there; correct the positions, leave out "
                f"the frames on one side, or refine with --refine-positions --position-search-px {search:.0f}"
            )
        far = f"up to {y:.1f} px in y and {x:.1f} px in x"
        if self.kind == "drift":
            return (
                f"positions that drift with the number of the frame, by {far}, which {left}: refine with "
                "--refine-drift, or --refine-positions --position-search-px 16 if it jumps"
            )
        return (
            f"a scan that is stretched, sheared or turned by {far}, which {left}: refine with "
            "--refine-geometry, or --refine-drift if it drifted"
        )
