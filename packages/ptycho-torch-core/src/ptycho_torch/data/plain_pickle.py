"""Text and plain data that another program pickled inside an array, read without running anything.

Programs written with NumPy keep a text as an array of one Python object, which is stored as a pickle. A
pickle names things to import and call; here nothing is imported or called but three stand-ins for the parts
of an array, and any other name ends the reading.
"""

from __future__ import annotations

import io
import json
import pickle
import pickletools
from typing import IO, Any

__all__ = ["plain_text", "plain_value"]

_MAX_BYTES = 1 << 20
_MAX_PARTS = 100_000
_PUTS = ("PUT", "BINPUT", "LONG_BINPUT")
_MODULES = ("numpy", "numpy.core.multiarray", "numpy._core.multiarray")
_DATA_TYPES = (str, int, float, bool, type(None))


class _Part:
    """Stands for an array or a dtype; keeps what a pickle would set on it."""

    def __init__(self, *arguments: object) -> None:
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


def _array(*arguments: object) -> _Part:
    return _Part()


_KNOWN = {"_reconstruct": _array, "ndarray": _Part, "dtype": _Part}
_DAMAGED = (
    *(pickle.UnpicklingError, EOFError, AttributeError, TypeError, LookupError, ArithmeticError, ValueError),
)
"""What a pickle that is damaged or made up may raise."""


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if module not in _MODULES or name not in _KNOWN:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which is not plain data")
        return _KNOWN[name]

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError("it refers to something outside the file")


def plain_text(stream: IO[bytes], offset: int) -> str | None:
    """Text of the one object in a ``.npy`` member: itself, plain data as JSON, nothing for ``None``.

    Parameters
    ----------
    stream
        The member, at its start.
    offset
        Where its header ends.

    Raises
    ------
    ValueError
        As `plain_value`, or the data cannot be JSON.
    """
    value = plain_value(stream.read(offset + _MAX_BYTES + 1)[offset:])
    try:
        return value if value is None or isinstance(value, str) else json.dumps(value)
    except (TypeError, RecursionError) as error:
        raise ValueError(f"data that cannot be JSON ({error})") from error


def plain_value(pickled: bytes) -> Any:
    """The one object of a pickled array without axes: text, a number, None, or lists and dicts of these.

    Parameters
    ----------
    pickled
        What follows the header of the array in its file.

    Raises
    ------
    ValueError
        It is damaged, too large, or holds anything but plain data.
    """
    if len(pickled) > _MAX_BYTES:
        raise ValueError(f"more than {_MAX_BYTES} bytes")
    try:
        _check_numbers(pickled)
        array = _Reader(io.BytesIO(pickled), encoding="latin1").load()
        _, _, _, _, [value] = array.state
    except _DAMAGED as error:
        raise ValueError(f"no pickled text ({error})") from error
    _require_plain(value)
    return value


def _check_numbers(pickled: bytes) -> None:
    """Refuse places in the memo that only a made-up pickle has: the reader would take memory for them."""
    for code, number, _ in pickletools.genops(pickled):
        if code.name in _PUTS and isinstance(number, int) and number > len(pickled):
            raise pickle.UnpicklingError("a place in its memo is out of range")


def _require_plain(value: Any) -> None:
    left, n_parts = [value], 0
    while left:
        part = left.pop()
        n_parts += 1
        if n_parts > _MAX_PARTS:
            raise ValueError(f"more than {_MAX_PARTS} values")
        if type(part) is dict:
            left += [*part.keys(), *part.values()]
        elif type(part) in (list, tuple):
            left += part
        elif type(part) not in _DATA_TYPES:
            raise ValueError(f"it holds a {type(part).__name__}, which is not plain data")
