"""Our own message over ZeroMQ: a header in JSON, and raw bytes. Five lines of any language write it.

Every message has one or two parts. The first is a JSON object, UTF-8, of at most 1 MiB, whose ``type`` is

``start`` (optional)
    ``n_frames``, ``centre`` ``[row, column]``, and under ``facts`` numbers by the names of
    `ptycho_torch.live.messages.FACTS`. A second part, if there is one, is the mask of the whole detector, one
    byte a pixel, 1: not measured; ``shape`` ``[height, width]`` says its size.
``frame``
    ``number``, ``dtype`` (`DTYPES`), ``shape`` ``[height, width]``, and perhaps ``position`` ``[y, x]`` with
    its ``unit``. The second part is the frame, row by row.
``positions``
    ``numbers`` ``[n]``, ``positions`` ``[[y, x], ...]`` and their ``unit``.
``end``
    Nothing more will come.

The sender binds a PUSH socket, the receiver connects with PULL. Nothing is ever unpickled.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ptycho_torch.live.messages import End, Frames, Message, Positions, Refused, Start, facts

__all__ = ["DTYPES", "decoded", "encoded"]

DTYPES = ("|u1", "<u2", "<u4", "<u8", "|i1", "<i2", "<i4", "<i8", "<f4", "<f8")
"""Types of frames, as NumPy writes them: little-endian."""

_LONGEST_HEADER = 1 << 20
_LARGEST_EDGE = 1 << 15
_UNITS = ("px", "m", "mm", "um", "nm")


def encoded(message: Message) -> list[bytes]:
    """Parts of a message; frames must be one."""
    if isinstance(message, End):
        return [_header(type="end")]
    if isinstance(message, Positions):
        numbers, places = np.asarray(message.numbers), np.asarray(message.positions, dtype=np.float64)
        stated = {"numbers": numbers.tolist(), "positions": places.tolist(), "unit": message.unit}
        return [_header(type="positions", **stated)]
    if isinstance(message, Frames):
        return _encoded_frame(message)
    if isinstance(message, Start):
        mask = message.bad_pixels
        stated = {"n_frames": message.n_frames, "centre": message.centre, "facts": dict(message.metadata)}
        if mask is None:
            return [_header(type="start", **stated)]
        return [_header(type="start", shape=mask.shape, **stated), mask.astype(np.uint8).tobytes()]
    raise TypeError(f"{type(message).__name__} is made by a receiver and is not sent")


def _encoded_frame(message: Frames) -> list[bytes]:
    (frame,), (number,) = np.asarray(message.frames), np.asarray(message.numbers).tolist()
    frame = np.ascontiguousarray(frame, dtype=frame.dtype.newbyteorder("<"))
    stated = {"number": number, "dtype": frame.dtype.str, "shape": frame.shape, "unit": message.unit}
    if message.positions is not None:
        stated["position"] = np.asarray(message.positions, dtype=np.float64)[0].tolist()
    return [_header(type="frame", **stated), frame.tobytes()]


def _header(**stated: Any) -> bytes:
    said = {name: value for name, value in stated.items() if value is not None}
    return json.dumps(said, separators=(",", ":")).encode()


def decoded(parts: Sequence[bytes]) -> Message:
    """The message that some parts are; `Refused` if they are none. Never raises, whatever they hold."""
    if not parts or len(parts[0]) > _LONGEST_HEADER:
        return Refused(why="a message without a header, or with one of more than 1 MiB")
    try:
        header = json.loads(parts[0])
    except (ValueError, RecursionError):
        return Refused(why="a header that is no JSON")
    kind = header.get("type") if isinstance(header, dict) else None
    read = _READERS.get(kind) if isinstance(kind, str) else None
    if read is None:
        return Refused(why="a header without a type that is known")
    return read(header, parts[1:])


def _start(header: dict[str, Any], rest: Sequence[bytes]) -> Message:
    stated, centre = header.get("facts", {}), _shape(header.get("centre"))
    shape, mask = _shape(header.get("shape")), None
    if rest and shape is not None and len(rest) == 1 and len(rest[0]) == math.prod(shape):
        mask = np.frombuffer(rest[0], dtype=np.uint8).reshape(shape) != 0
    if not isinstance(stated, dict) or (rest and mask is None):
        return Refused(why="a start message whose facts or mask cannot be read")
    n_frames = _count(header.get("n_frames"))
    return Start(metadata=facts(stated), bad_pixels=mask, n_frames=n_frames, centre=centre)


def _frame(header: dict[str, Any], rest: Sequence[bytes]) -> Message:
    dtype, shape, number = header.get("dtype"), _shape(header.get("shape")), _count(header.get("number"))
    if not isinstance(dtype, str) or dtype not in DTYPES or shape is None or 0 in shape:
        return Refused(why="a frame whose dtype or shape is not allowed", frames=1)
    if len(rest) != 1 or len(rest[0]) != math.prod(shape) * np.dtype(dtype).itemsize:
        return Refused(why="a frame with other bytes than its header says", frames=1)
    if number is None:
        return Refused(why="a frame number that is no whole number", frames=1)
    frame = np.frombuffer(rest[0], dtype=dtype).reshape(1, *shape)
    if header.get("position") is None:
        return Frames(numbers=[number], frames=frame)
    places, unit = _places([header["position"]]), header.get("unit")
    if places is None or not _is_unit(unit):
        return Refused(why="a frame whose position cannot be read", frames=1)
    return Frames(numbers=[number], frames=frame, positions=places, unit=unit)


def _positions(header: dict[str, Any], rest: Sequence[bytes]) -> Message:
    stated, unit = header.get("numbers"), header.get("unit")
    places = _places(header.get("positions"))
    counts = [_count(value) for value in stated] if isinstance(stated, list) else []
    numbers = [value for value in counts if value is not None]
    if places is None or not len(numbers) == len(counts) == len(places) or not _is_unit(unit) or rest:
        return Refused(why="positions that cannot be read")
    return Positions(numbers=numbers, positions=places, unit=unit)


def _end(header: dict[str, Any], rest: Sequence[bytes]) -> Message:
    return End()


_READERS = {"start": _start, "frame": _frame, "positions": _positions, "end": _end}


def _places(values: Any) -> npt.NDArray[np.float64] | None:
    """Pairs of numbers, ``(n, 2)``; None if they are anything else."""
    if not isinstance(values, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in values):
        return None
    if not all(isinstance(value, int | float) for pair in values for value in pair):
        return None
    try:
        return np.array(values, dtype=np.float64).reshape(-1, 2)
    except OverflowError:
        return None


def _count(value: Any) -> int | None:
    """A whole number that can be that of a frame; None for everything else."""
    usable = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53
    return value if usable else None


def _shape(value: Any) -> tuple[int, int] | None:
    """Two whole numbers that can be sides of a frame; None for everything else."""
    sides = [_count(side) for side in value] if isinstance(value, list) and len(value) == 2 else [None]
    if any(side is None or side > _LARGEST_EDGE for side in sides):
        return None
    return sides[0] or 0, sides[1] or 0


def _is_unit(value: Any) -> bool:
    return value is None or (isinstance(value, str) and value in _UNITS)
