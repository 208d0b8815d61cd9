"""Positions in texts with columns: which columns are x and y, and in which unit."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["Places", "columns_named", "read_table", "split_name"]

_WORD = re.compile(r"[A-Za-zµ\u03bcÅ]+")
_JOINED = re.compile(r"(?:pp|pos|positions?|coords?)([XYxy])|([XYxy])(?:pos|positions?|coords?)")
_LENGTHS = ("m", "mm", "um", "µm", "\u03bcm", "nm", "pm", "micron", "microns", "å", "angstrom")
_UNITS = frozenset((*_LENGTHS, "meter", "meters", "metre", "metres", "px", "pixel", "pixels"))
_GENERAL = frozenset(
    ("pos", "position", "positions", "sample", "stage", "probe", "motor", "coord", "coords", "coordinate")
)
_MEASURED = frozenset(("average", "avg", "mean", "measured", "encoder", "readback", "rbv", "actual"))
"""Words of a column that was measured; it is preferred to what was only asked for."""


class Places(NamedTuple):
    """Positions as they are stored.

    Attributes
    ----------
    yx
        (n, 2) float64 ``[y, x]``.
    unit
        As it stands beside them; None: nothing does.
    """

    yx: npt.NDArray[np.float64]
    unit: str | None = None


def split_name(name: str) -> tuple[str, frozenset[str], str | None]:
    """Axis (``"x"``, ``"y"`` or empty), other words and unit of the name of a column.

    ``x``, ``X [um]``, ``pos_y``, ``x_m``, ``ppX``, ``posx``, ``xcoords`` and ``Average_x_st_fzp`` all name
    an axis.
    """
    words = _WORD.findall(name.replace("_", " "))
    unit = next((word.lower() for word in reversed(words) if word.lower() in _UNITS), None)
    rest = [word for word in words if word.lower() not in _UNITS]
    for word in rest:
        joined = _JOINED.fullmatch(word)
        axis = word if word.lower() in ("x", "y") else (joined[1] or joined[2]) if joined else ""
        if axis:
            return axis.lower(), frozenset(one.lower() for one in rest if one != word), unit
    return "", frozenset(word.lower() for word in rest), unit


def columns_named(names: Sequence[str], wanted: str | None) -> tuple[int, int] | str:
    """Numbers of the columns x and y, or what is wrong with them.

    Parameters
    ----------
    names
        Of all columns.
    wanted
        Two names or numbers with a comma between them; None: by the names.
    """
    if wanted is not None:
        parts = [part.strip() for part in wanted.split(",")]
        numbers = [_one(names, part) for part in parts]
        if None in numbers:
            return f"no column {parts[numbers.index(None)]!r}; found: {', '.join(names)}"
        return numbers[0] or 0, numbers[1] or 0
    columns = []
    split = [split_name(name) for name in names]
    for axis in "xy":
        among = [(number, words) for number, (found, words, _) in enumerate(split) if found == axis]
        if not among:
            return f"no column {axis}; found: {', '.join(names)}; state position_columns"
        best = max(_rank(words) for _, words in among)
        chosen = [number for number, words in among if _rank(words) == best]
        if len(chosen) > 1:
            several = ", ".join(names[number] for number in chosen)
            return f"several columns {axis}: {several}; state position_columns"
        columns.append(chosen[0])
    return columns[0], columns[1]


def _rank(words: frozenset[str]) -> int:
    """A bare name before one that was measured, before any other."""
    if not words - _GENERAL:
        return 2
    return 1 if words & _MEASURED and not words & {"std", "stdev", "error"} else 0


def _one(names: Sequence[str], wanted: str) -> int | None:
    if wanted in names:
        return names.index(wanted)
    return int(wanted) if wanted.isdecimal() and int(wanted) < len(names) else None


def read_table(text: str, wanted: str | None = None) -> Places:
    """Columns x and y of a text with numbers, separated by commas, semicolons, tabs or blanks.

    Lines that begin with # are left out, unless they name columns x and y, as does any last line before the
    numbers. Without names, the first two columns are x and y.

    Parameters
    ----------
    text
        Of the whole file.
    wanted
        As for `columns_named`.

    Raises
    ------
    ValueError
        With what is wrong.
    """
    rows: list[list[float]] = []
    names: list[str] | None = None
    for number, line in enumerate(text.splitlines(), 1):
        parts = _parts(line)
        values = _numbers(parts)
        if values is None and not rows:
            names = _names(line, wanted) or names
            continue
        if values is None:
            if line.lstrip().startswith("#") or not parts:
                continue
            raise ValueError(
                f"line {number} holds no numbers: {line.strip()[:60]!r}; leave it out, or begin it with #"
            )
        if rows and len(values) != len(rows[0]):
            raise ValueError(f"line {number} has {len(values)} columns, expected {len(rows[0])}; complete it")
        rows.append(values)
    if not rows or len(rows[0]) < 2:
        raise ValueError("expected at least two columns of numbers; write x and y of every frame")
    table = np.array(rows)
    if names is None or len(names) != table.shape[1]:
        names = [str(number) for number in range(table.shape[1])]
        wanted = "0,1" if wanted is None else wanted
    found = columns_named(names, wanted)
    if isinstance(found, str):
        raise ValueError(found)
    units = {split_name(names[column])[2] for column in found}
    if len(units) > 1:
        raise ValueError(
            f"x and y are in different units: {', '.join(names[column] for column in found)}; "
            "bring them to one"
        )
    return Places(table[:, [found[1], found[0]]], units.pop())


def _parts(line: str) -> list[str]:
    line = line.strip()
    mark = next((mark for mark in ",;\t" if mark in line), None)
    parts = line.split(mark) if mark else line.split()
    return [part.strip().strip('"') for part in parts if part.strip()]


def _numbers(parts: Sequence[str]) -> list[float] | None:
    try:
        return [float(part) for part in parts] or None
    except ValueError:
        return None


def _names(line: str, wanted: str | None) -> list[str] | None:
    """Names of columns, where x and y, or those that are wanted, are among them."""
    line = line.strip().lstrip("#").strip()
    names = _parts(line)
    if not any(mark in line for mark in ",;\t"):
        # A unit behind a blank belongs to the name before it.
        joined: list[str] = []
        for name in names:
            if joined and re.fullmatch(r"[\[(].*[\])]", name):
                joined[-1] += f" {name}"
            else:
                joined.append(name)
        names = joined
    if wanted is not None and {part.strip() for part in wanted.split(",")} <= set(names):
        return names
    axes = {split_name(name)[0] for name in names}
    return names if {"x", "y"} <= axes or (len(names) > 1 and axes & {"x", "y"}) else None
