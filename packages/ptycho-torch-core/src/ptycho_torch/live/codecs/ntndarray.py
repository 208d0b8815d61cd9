"""Frames of EPICS areaDetector: the normative type NTNDArray of PV Access, as p4p gives its values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ptycho_torch.live.codecs.malformed import Malformed, checked_shape, whole_number
from ptycho_torch.live.codecs.packing import array_from, unpacked

__all__ = ["Fields", "decode"]

_TYPES = {1: "<i1", 2: "<i2", 3: "<i4", 4: "<i8", 5: "<u1", 6: "<u2", 7: "<u4", 8: "<u8", 9: "<f4", 10: "<f8"}
"""Types of pixels by the numbers of pvData, by which a packed frame says what it was."""


class Fields(Protocol):
    """A structure whose fields are found by name; dots lead into structures."""

    def __getitem__(self, name: str, /) -> Any: ...


def decode(value: Fields) -> tuple[int, npt.NDArray[Any]]:
    """Number and frame ``(height, width)`` of a value.

    Raises
    ------
    Malformed
        It cannot be used.
    """
    try:
        number, sides = whole_number(value["uniqueId"]), value["dimension"]
        data, name, parameters = value["value"], value["codec.name"], value["codec.parameters"]
        n_bytes = value["compressedSize"]
        shape = None if not isinstance(sides, Sequence) else [int(side["size"]) for side in reversed(sides)]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Malformed("a value that is no NTNDArray", frames=1) from error
    if number is None:
        raise Malformed("an image without a number", frames=1)
    if not isinstance(name, str):
        raise Malformed("a value that is no NTNDArray", frames=1)
    if not isinstance(data, np.ndarray) or data.ndim != 1 or data.dtype.kind not in "iuf":
        raise Malformed("an image without data", frames=1)
    try:
        if not name:
            return number, array_from(data.tobytes(), checked_shape(shape, data.itemsize), data.dtype)
        return number, _unpacked(data, name, parameters, n_bytes, shape)
    except Malformed as error:
        raise Malformed(error.why, frames=1) from error


def _unpacked(
    data: npt.NDArray[Any], algorithm: str, parameters: Any, n_bytes: Any, sides: Any
) -> npt.NDArray[Any]:
    """A frame that was packed; areaDetector hands on bare blocks."""
    number = whole_number(parameters)
    if number not in _TYPES or data.itemsize != 1:
        raise Malformed("packed bytes without their type")
    dtype = np.dtype(_TYPES[number])
    shape = checked_shape(sides, dtype.itemsize)
    # The array may be longer than what is packed in it.
    size = whole_number(n_bytes)
    packed = data.tobytes() if not size else data[:size].tobytes()
    whole = shape[0] * shape[1] * dtype.itemsize
    return array_from(unpacked(packed, algorithm, whole, dtype.itemsize, framed=False), shape, dtype)
