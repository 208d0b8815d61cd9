"""What to do about arrays that do not belong together, in the words of every format."""

from __future__ import annotations

__all__ = ["AS_FRAMES", "AS_STACK", "BOTH_FOR_EACH", "SQUARE_PROBE", "one_per_frame", "pairs_per_frame"]

AS_FRAMES = "crop or bin it as the frames were"
"""About an array that is to have the size of a frame."""

AS_STACK = "store the frames one after the other in one array"
"""About an array that is no stack of frames."""

BOTH_FOR_EACH = "store both for every frame"
"""About coordinates x and y of different lengths."""

SQUARE_PROBE = (
    "expected square modes (N, N), (P, N, N) or (N, N, 1), got {shape}; crop or pad them to squares"
)
"""About a probe that is none; ``shape`` is what came."""


def one_per_frame(found: int, n_frames: int, what: str = "positions") -> str:
    """The sentence about a number of positions, or of their numbers, that is not that of the frames.

    Parameters
    ----------
    found
        How many came.
    n_frames
        How many there have to be.
    what
        What came, in the plural.
    """
    said = f"{found} {what}, expected {n_frames}, one per frame; "
    if found > n_frames:
        some = "one frame is" if found == n_frames + 1 else f"{found - n_frames} frames are"
        return f"{said}{some} missing: look for them, or leave out the {what} of frames that are not there"
    some = "one frame has" if found == n_frames - 1 else f"{n_frames - found} frames have"
    return f"{said}{some} none: look for theirs in the log of the scan, or leave these frames out"


def pairs_per_frame(shape: tuple[int, ...], n_frames: int) -> str:
    """The sentence about positions of another shape than ``(n_frames, 2)``."""
    if len(shape) == 2 and shape[1] == 2:
        return one_per_frame(shape[0], n_frames)
    return f"expected shape ({n_frames}, 2), y and x of every frame, got {shape}; store them so"
