"""Positions of a raster as it was commanded, where nobody reads them back."""

from __future__ import annotations

import re

import numpy as np

from ptycho_torch.live.messages import End, Message, Positions, Start
from ptycho_torch.live.source_registry import refused_address

__all__ = ["connect"]

NAME = "grid"
HELP = "a commanded raster of rows x columns, its step, and snake where every second row is scanned backwards"
FORM = "grid:ROWSxCOLUMNS,step=0.1um[,snake][,first=NUMBER]"
GIVES = ("positions",)

_RASTER = re.compile(
    r"(?P<rows>\d{1,7})x(?P<columns>\d{1,7}),step=(?P<y>[\d.eE+-]+?)(?:x(?P<x>[\d.eE+-]+?))?(?P<unit>px|m|mm|um|nm)"
    r"(?P<snake>,snake)?(?:,first=(?P<first>\d{1,15}))?"
)
_MOST = 100_000_000
_AT_ONCE = 65536


class _Raster:
    """Gives the positions of a raster, row after row, and ends."""

    def __init__(
        self, shape: tuple[int, int], step: tuple[float, float], unit: str, *, snake: bool, first: int
    ):
        self.waits_for = ""
        self._shape, self._step, self._unit = shape, step, unit
        self._snake, self._first = snake, first
        self._done = 0

    def receive(self, timeout_s: float) -> list[Message]:
        total = self._shape[0] * self._shape[1]
        if self._done >= total:
            return [End()]
        rows = np.arange(self._done, min(total, self._done + _AT_ONCE))
        y, x = np.divmod(rows, self._shape[1])
        if self._snake:
            x = np.where(y % 2, self._shape[1] - 1 - x, x)
        places = np.stack([y * self._step[0], x * self._step[1]], axis=1)
        self._done += len(rows)
        found: list[Message] = [Positions(numbers=rows + self._first, positions=places, unit=self._unit)]
        return [Start(n_frames=total), *found] if self._done == len(rows) else found

    def close(self) -> None:
        self._done = self._shape[0] * self._shape[1]


def connect(rest: str, *, gives: str, tee: str | None) -> _Raster:
    """The raster that an address states.

    Raises
    ------
    ConfigError
        It states none.
    """
    found = _RASTER.fullmatch(rest)
    expected = "ROWSxCOLUMNS,step=STEP such as 201x200,step=0.1um,snake or 20x30,step=80x100nm (y x x)"
    if found is None:
        raise refused_address(gives, rest, expected)
    rows, columns = int(found["rows"]), int(found["columns"])
    try:
        step = float(found["y"]), float(found["x"] or found["y"])
    except ValueError as error:
        raise refused_address(gives, rest, expected) from error
    if not 0 < rows * columns <= _MOST or not min(step) > 0:
        raise refused_address(gives, rest, f"{expected}, with 1 to {_MOST} points and a step above zero")
    return _Raster(
        (rows, columns), step, found["unit"], snake=found["snake"] is not None, first=int(found["first"] or 0)
    )
