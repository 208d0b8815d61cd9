"""Turning what people pass into the plain Python value a setting stores.

NumPy scalars, ``os.PathLike`` objects and lists are welcome; what is stored is always an ``int``, ``float``,
``bool``, ``str``, :class:`pathlib.Path`, tuple of ``int`` or of ``Path``, or ``None``. Nothing here imports
NumPy: scalars are recognised by the protocols they implement.
"""

from __future__ import annotations

import math
import numbers
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

__all__ = ["CONVERTERS", "READERS", "Refused", "unwrap_scalar"]

_TRUE = frozenset({"true", "yes", "on", "1"})
_FALSE = frozenset({"false", "no", "off", "0"})


class Refused(Exception):
    """A value that cannot be stored; the message is an optional hint."""


def unwrap_scalar(value: Any) -> Any:
    """Turn a zero-dimensional array or NumPy scalar into the Python value inside it.

    Parameters
    ----------
    value : object
        Anything.

    Returns
    -------
    object
        ``value.item()`` for array scalars, ``value`` unchanged for everything else.
    """
    if isinstance(value, (bool, int, float, str, type(None))):
        return value
    item = getattr(value, "item", None)
    if callable(item) and getattr(value, "ndim", None) == 0:
        return item()
    return value


def _to_bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    raise Refused("write true or false" if isinstance(value, (str, int)) else "")


def _to_int(value: Any) -> int:
    if isinstance(value, bool):
        raise Refused("true and false are not numbers here")
    if isinstance(value, numbers.Integral) or (hasattr(value, "__index__") and not isinstance(value, type)):
        return int(value)
    if isinstance(value, float) and value.is_integer():
        raise Refused(f"write {int(value)} without a fraction")
    raise Refused("write the number without quotes" if isinstance(value, str) else "")


def _to_float(value: Any) -> float:
    if isinstance(value, bool):
        raise Refused("true and false are not numbers here")
    if isinstance(value, numbers.Real) or (hasattr(value, "__index__") and not isinstance(value, type)):
        try:
            number = float(value)
        except OverflowError:
            raise Refused("the number is too large") from None
        if not math.isfinite(number):
            raise Refused("NaN and infinity are not accepted")
        return number
    raise Refused("write the number without quotes" if isinstance(value, str) else "")


def _to_str(value: Any) -> str:
    if not isinstance(value, str):
        raise Refused()
    text = str.__str__(value)  # the characters themselves, also for a string-valued enum member
    if not text.strip():
        raise Refused("the text is empty")
    return text


def _to_path(value: Any) -> Path:
    if isinstance(value, (str, os.PathLike)):
        text = os.fspath(value)
        if isinstance(text, str):
            if not text.strip():
                raise Refused("the path is empty")
            if "\0" in text:
                raise Refused("a path holds no null character")
            return Path(text)
    raise Refused()


def _to_int_list(value: Any) -> tuple[int, ...]:
    if isinstance(value, (str, bytes, dict)) or not isinstance(value, Iterable):
        raise Refused("write a list such as [0, 5, 10]")
    return tuple(_to_int(unwrap_scalar(item)) for item in value)


def _to_paths(value: Any) -> Path | tuple[Path, ...]:
    """One path, also out of a list of one, or several in their order."""
    if isinstance(value, (str, bytes, os.PathLike, dict)) or not isinstance(value, Iterable):
        return _to_path(value)
    paths = tuple(_to_path(item) for item in value)
    if not paths:
        raise Refused("the list is empty")
    if len(set(paths)) < len(paths):
        twice = next(path for path in paths if paths.count(path) > 1)
        raise Refused(f"{str(twice)!r} is in the list twice")
    return paths[0] if len(paths) == 1 else paths


CONVERTERS: dict[str, Callable[[Any], Any]] = {
    "bool": _to_bool,
    "int": _to_int,
    "float": _to_float,
    "str": _to_str,
    "path": _to_path,
    "int_list": _to_int_list,
    "paths": _to_paths,
}
"""Kind of a setting -> function that stores a Python value or raises :class:`Refused`."""


def _read_bool(text: str) -> bool:
    word = text.lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise Refused("write true or false")


def _read_int(text: str) -> int:
    try:
        return int(text, 10)
    except ValueError:
        raise Refused() from None


def _read_float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise Refused() from None


def _read_int_list(text: str) -> tuple[int, ...]:
    inner = text[1:-1] if text[:1] + text[-1:] in ("[]", "()") else text
    words = [word.strip() for word in inner.split(",")]
    if words == [""]:
        return ()
    try:
        return tuple(int(word, 10) for word in words if word)
    except ValueError:
        raise Refused("write a list such as 0,5,10") from None


READERS: dict[str, Callable[[str], Any]] = {
    "bool": _read_bool,
    "int": _read_int,
    "float": _read_float,
    "str": str,
    "path": str,
    "int_list": _read_int_list,
    "paths": str,
}
"""Kind of a setting -> function that reads text from a command line or raises :class:`Refused`."""
