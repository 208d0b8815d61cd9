"""Positions in a text file that may still grow: one line for each frame."""

from __future__ import annotations

import math
import time
from pathlib import Path

import numpy as np

from ptycho_torch.live.messages import Message, Positions, Refused
from ptycho_torch.live.source_registry import refused_address

__all__ = ["connect"]

NAME = "csv"
HELP = "text with columns x and y, and perhaps number, that may still grow; its unit after a comma"
FORM = "csv:FILE[,unit=um]"
GIVES = ("positions",)

_NUMBERS = ("number", "frame", "index", "frame_number", "frame_index", "n", "i")
_POLL_S = 0.1
_PATIENCE_S = 1.0
_LONGEST_LINE = 1 << 16
_LARGEST_NUMBER = 1 << 53
_UNITS = ("px", "m", "mm", "um", "nm")


class _Table:
    """Reads the complete lines of a file as they appear.

    The first line may name the columns: ``x`` and ``y``, perhaps with a unit (``x_um``), and ``number``.
    Without names the last two of each line are x and y, as tables of positions have them, and a column before
    them is the number. Without numbers, lines count from zero. A last line without an end counts as complete
    when the file has not grown for a second.
    """

    def __init__(self, path: Path, unit: str | None) -> None:
        self.waits_for = ""
        self._path, self._unit = path, unit
        self._stated = unit is not None
        self._read = 0
        self._rest = b""
        self._columns: tuple[int | None, int, int] | None = None
        self._row = 0
        self._grown_s = time.monotonic()

    def receive(self, timeout_s: float) -> list[Message]:
        until = time.monotonic() + timeout_s
        while True:
            found = self._new_lines()
            if found or time.monotonic() >= until:
                return found
            time.sleep(min(_POLL_S, max(0.0, until - time.monotonic())))

    def _new_lines(self) -> list[Message]:
        try:
            with self._path.open("rb") as stream:
                stream.seek(self._read)
                data = stream.read(1 << 20)
        except FileNotFoundError:
            self.waits_for = f"the file {self._path}"
            return []
        self.waits_for = ""
        self._read += len(data)
        now = time.monotonic()
        self._grown_s = now if data else self._grown_s
        *lines, self._rest = (self._rest + data).split(b"\n")
        if self._rest and now - self._grown_s > _PATIENCE_S:
            lines, self._rest = [self._rest], b""
        if len(self._rest) > _LONGEST_LINE:
            self._rest = b""
            return [Refused(why="a line of positions without an end")]
        numbers, places, refused = [], [], 0
        for line in lines:
            row = self._row_of(line.decode("utf-8", errors="replace"))
            if row is None:
                refused += 1
            elif row:
                numbers.append(int(row[0]))
                places.append(row[1:])
        said: list[Message] = [Refused(why="a line of positions that cannot be read") for _ in range(refused)]
        if numbers:
            said.append(Positions(numbers=numbers, positions=np.array(places), unit=self._unit))
        return said

    def _row_of(self, line: str) -> tuple[float, ...] | None:
        """Number, y and x of a line; empty for one that holds none, None for one that cannot be read."""
        text = line.strip().lstrip("\ufeff")
        if not text or (text.startswith("#") and self._columns is not None):
            return ()
        cells = [cell.strip() for cell in text.lstrip("# ").replace(";", ",").replace("\t", ",").split(",")]
        cells = text.lstrip("# ").split() if len(cells) == 1 else cells
        values = [_number(cell) for cell in cells]
        if self._columns is None:
            if all(value is None for value in values) or text.startswith("#"):
                self._take_names([cell.strip('"').lower() for cell in cells])
                return ()
            self._columns = (0 if len(cells) > 2 else None, len(cells) - 1, len(cells) - 2)
        where, y, x = self._columns
        if max(where or 0, y, x) >= len(values):
            return None
        place = values[y], values[x]
        number = float(self._row) if where is None else values[where]
        self._row += 1
        if number is None or number != int(number) or not 0 <= number < _LARGEST_NUMBER:
            return None
        if place[0] is None or place[1] is None:
            return None
        return number, place[0], place[1]

    def _take_names(self, names: list[str]) -> None:
        """Columns by their names; lines before them that name nothing are passed over."""
        bare = [name.replace("(", "_").replace("[", "_").rstrip(")] ").replace(" ", "_") for name in names]
        found = {
            axis: next(
                (i for i, name in enumerate(bare) if name == axis or name.startswith(f"{axis}_")), None
            )
            for axis in ("x", "y")
        }
        if found["x"] is None or found["y"] is None:
            return
        numbered = next((i for i, name in enumerate(bare) if name in _NUMBERS), None)
        self._columns = (numbered, found["y"], found["x"])
        unit = bare[found["x"]].partition("_")[2].strip("_")
        if not self._stated and unit in _UNITS:
            self._unit = unit

    def close(self) -> None:
        self._rest = b""


def _number(cell: str) -> float | None:
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def connect(rest: str, *, gives: str, tee: str | None) -> _Table:
    """Watch a file, which may appear later.

    Raises
    ------
    ConfigError
        The unit is none.
    """
    path, _, option = rest.partition(",unit=")
    if option and option not in _UNITS:
        raise refused_address(gives, rest, f"FILE or FILE,unit=U with a unit of {', '.join(_UNITS)}")
    return _Table(Path(path), option or None)
