"""What is raised about a message that cannot be used, and looks at what it says before it is believed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ptycho_torch.data.limits import LARGEST_FRAME_PX, largest_piece_bytes

__all__ = ["Malformed", "checked_shape", "json_object", "whole_number"]

_LARGEST_HEADER_BYTES = 16 << 20


class Malformed(ValueError):
    """A message cannot be used.

    Parameters
    ----------
    why
        In a few words and without anything of the message, because refusals are counted by it.
    frames
        How many frames are lost with it, as far as that is known.
    """

    def __init__(self, why: str, frames: int = 0) -> None:
        self.why, self.frames = why, frames
        super().__init__(why)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.why, self.frames)


def whole_number(value: Any) -> int | None:
    """The value if it is a whole number from zero on that fits into 63 bits."""
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    return value if is_whole and 0 <= value < 2**63 else None


def checked_shape(sides: Any, itemsize: int) -> tuple[int, int]:
    """``(height, width)`` of a frame, if a detector could have it.

    Parameters
    ----------
    sides
        What the message says, height first.
    itemsize
        Bytes of a pixel.

    Raises
    ------
    Malformed
        It is no pair of whole numbers, or of a size that no detector has.
    """
    is_list = isinstance(sides, Sequence) and not isinstance(sides, str | bytes)
    found = [whole_number(side) for side in sides] if is_list and len(sides) == 2 else []
    if len(found) != 2 or any(side is None or side < 1 for side in found):
        raise Malformed("an array without height and width")
    height, width = (side or 0 for side in found)
    if max(height, width) > LARGEST_FRAME_PX or height * width * itemsize > largest_piece_bytes():
        raise Malformed("an array of a size that no detector has")
    return height, width


def json_object(part: bytes) -> Mapping[str, Any]:
    """A part of a message as a JSON object.

    Raises
    ------
    Malformed
        It is none, or longer than any header.
    """
    if len(part) > _LARGEST_HEADER_BYTES:
        raise Malformed("a header that is longer than any")
    try:
        found = json.loads(part)
    except (ValueError, RecursionError) as error:
        raise Malformed("a header that is no JSON") from error
    if not isinstance(found, dict):
        raise Malformed("a header that is no JSON object")
    return found
