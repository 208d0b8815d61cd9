"""An HDF5 file that grows: written in SWMR mode, or a master file whose linked files appear."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ptycho_torch.data.hdf5.detector import facts_of_master
from ptycho_torch.data.hdf5.growing import (
    UNREADABLE,
    Block,
    blocks_of,
    opened_growing,
    places_of,
    rows_of,
    written_rows,
)
from ptycho_torch.data.hdf5.units import scale_of
from ptycho_torch.live.measurement import POSITION_UNITS
from ptycho_torch.live.messages import Frames, Message, Positions, Refused, Start, facts
from ptycho_torch.live.source_registry import Source, refused_address

__all__ = ["connect"]

NAME = "hdf5"
HELP = "an HDF5 file that grows in SWMR mode, or a master file whose linked files appear"
FORM = "hdf5:FILE[:/PATH]"
GIVES = ("frames", "positions")

_POLL_S = 0.1
_PATIENCE_S = 5.0
_AT_ONCE = 64
_AT_ONCE_BYTES = 64 << 20
_AHEAD = 2048
_HOLES = 256


class _Polled(ABC):
    """A file that is opened now and then to look for more; nothing is held open in between."""

    def __init__(self, path: Path, inside: str) -> None:
        self.waits_for = ""
        self.path, self.inside = path, inside

    def receive(self, timeout_s: float) -> Sequence[Message]:
        return polled(self._look, timeout_s)

    def _look(self) -> list[Message]:
        if not self.path.exists():
            self.waits_for = f"the file {self.path}"
            return []
        try:
            with opened_growing(self.path) as file:
                self.waits_for = ""
                return self._more(file)
        except UNREADABLE as error:
            self.waits_for = f"{self.path}, which cannot be read now ({error})"
            return []

    @abstractmethod
    def _more(self, file: Any) -> list[Message]:
        """What the open file holds that was not given yet."""

    def close(self) -> None:
        """Nothing is open between two looks."""
        self.waits_for = ""


@dataclass
class _Progress:
    """How far a dataset has been read: rows below ``high`` are taken, but for the holes."""

    high: int = 0
    holes: set[int] = field(default_factory=set)
    written: set[int] = field(default_factory=set)


class _Frames(_Polled):
    def __init__(self, path: Path, inside: str) -> None:
        super().__init__(path, inside)
        self._progress: dict[str, _Progress] = {}
        self._has_told = False
        self._failing_s: float | None = None

    def _more(self, file: Any) -> list[Message]:
        blocks = blocks_of(file, self.inside)
        if not blocks:
            where = self.inside or "a dataset of frames (n, H, W); of several, name one as FILE:/PATH"
            self.waits_for = f"{where} in {self.path}"
            return []
        said: list[Message] = [] if self._has_told else self._told(file)
        for block in blocks:
            rows = self._ready(file, block)
            if len(rows):
                return [*said, *self._frames(file, block, rows)]
        return said

    def _ready(self, file: Any, block: Block) -> npt.NDArray[np.int64]:
        """Rows that are written and not taken yet, some at a time."""
        data, at = file[block.name], self._progress.setdefault(block.name, _Progress())
        looked = [*sorted(at.holes)[:_HOLES], *range(at.high, min(block.n_rows, at.high + _AHEAD))]
        rows = np.array(looked, dtype=np.int64)
        found = written_rows(data, rows, is_growing=bool(file.swmr_mode))
        if file.swmr_mode:
            # What was there at the last look has been filled since.
            before, at.written = at.written, set(found.tolist())
            found = found[np.isin(found, list(before))] if before else found[:0]
        per_frame = max(1, int(np.prod(data.shape[1:])) * data.dtype.itemsize)
        return found[: max(1, min(_AT_ONCE, _AT_ONCE_BYTES // per_frame))]

    def _told(self, file: Any) -> list[Message]:
        self._has_told = True
        stated, bad_pixels, centre, n_frames = facts_of_master(file)
        known = facts(stated)
        if not (known or bad_pixels is not None or centre or n_frames):
            return []
        return [Start(metadata=known, bad_pixels=bad_pixels, centre=centre, n_frames=n_frames)]

    def _frames(self, file: Any, block: Block, rows: npt.NDArray[np.int64]) -> list[Message]:
        try:
            frames = rows_of(file, block.name, rows)
        except UNREADABLE as error:
            return self._failed(block, rows[:1], error)
        self._failing_s = None
        self._take(block, rows)
        return [Frames(numbers=block.first + rows, frames=frames)]

    def _take(self, block: Block, rows: npt.NDArray[np.int64]) -> None:
        at, last = self._progress[block.name], int(rows[-1])
        if last >= at.high:
            at.holes |= set(range(at.high, last + 1))
            at.high = last + 1
        at.holes -= set(rows.tolist())

    def _failed(self, block: Block, row: npt.NDArray[np.int64], error: Exception) -> list[Message]:
        """A frame may be readable in a moment; one that stays unreadable is passed over."""
        now = time.monotonic()
        self._failing_s = self._failing_s or now
        self.waits_for = f"frame {row[0]} of {block.name}, which cannot be read now ({error})"
        if now - self._failing_s < _PATIENCE_S:
            return []
        self._failing_s = None
        self._take(block, row)
        return [Refused(why="a frame in a file that cannot be read", frames=1)]


class _Positions(_Polled):
    def __init__(self, path: Path, inside: str) -> None:
        super().__init__(path, inside)
        self._taken = self._seen = 0

    def _more(self, file: Any) -> list[Message]:
        found = places_of(file, self.inside, self._taken)
        if found is None:
            self.waits_for = f"{self.inside}: positions (n, 2) with columns x and y, or a group with both"
            return []
        places, unit = found
        before, self._seen = self._seen, self._taken + len(places)
        if file.swmr_mode:
            # A writer makes a dataset longer before it fills it; what was there at the last look is filled.
            places = places[: max(0, before - self._taken)]
        if not len(places):
            return []
        numbers = np.arange(self._taken, self._taken + len(places))
        self._taken += len(places)
        if unit is None or unit in POSITION_UNITS:
            return [Positions(numbers=numbers, positions=places, unit=unit)]
        factor = scale_of(unit, "m")
        if factor is None:
            return [Refused(why="positions in a unit that is none of px, m, mm, um, nm, angstrom")]
        return [Positions(numbers=numbers, positions=places * factor, unit="m")]


def polled(look: Callable[[], list[Message]], timeout_s: float) -> list[Message]:
    """What a look finds, after looking again and again for at most ``timeout_s``."""
    until = time.monotonic() + timeout_s
    while True:
        found = look()
        rest = until - time.monotonic()
        if found or rest <= 0:
            return found
        time.sleep(min(_POLL_S, rest))


def connect(rest: str, *, gives: str, tee: str | None) -> Source:
    """Watch a file, which may appear later.

    Raises
    ------
    ConfigError
        Positions are asked for, and no dataset is named.
    """
    # The file need not be there yet.
    name, colon, inside = rest.rpartition(":/")
    file = Path(name if colon else rest)
    inside = inside if colon else ""
    if gives == "frames":
        return _Frames(file, inside)
    if not inside:
        raise refused_address(
            gives, rest, "FILE:/PATH of a dataset (n, 2) with x and y, or a group with both"
        )
    return _Positions(file, inside)
