"""Two tables that are joined by frame number: frames, and positions, in whatever order they come.

Which frame has which position depends on the numbers alone. What is in the tables at the end therefore does
not depend on the order, on delays, or on what came twice.
"""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ptycho_torch.data.scan.lazy import Block
from ptycho_torch.errors import ShapeError
from ptycho_torch.live.counters import Counters
from ptycho_torch.live.frame_store import FolderStore, FrameStore, MemoryStore, StoredFrames

__all__ = ["Arrivals", "Journal", "Window"]

Numbers = npt.NDArray[np.int64]
MakeStore = Callable[[int, np.dtype[Any]], FrameStore]
Place = tuple[float, float]

_LARGEST_NUMBER = 2**53
_LARGEST_JUMP = 10_000_000


@dataclass(frozen=True)
class Window:
    """Square that is cut from every frame.

    Attributes
    ----------
    N
        Its edge; px. None: frames are square and used whole.
    centre
        ``(row, column)`` of the zero frequency in the frames as they come; None: their middle, index
        ``side // 2``.
    """

    N: int | None = None
    centre: tuple[int, int] | None = None

    def of(self, shape: tuple[int, int]) -> tuple[slice, slice] | str:
        """Rows and columns of the square in frames of a shape, or why there is none."""
        N = shape[0] if self.N is None else self.N
        row, column = self.centre or (shape[0] // 2, shape[1] // 2)
        top, left = row - N // 2, column - N // 2
        if self.N is None and shape[0] != shape[1]:
            return f"frames of {shape[0]} x {shape[1]} px are not square; state their size N"
        if top < 0 or left < 0 or top + N > shape[0] or left + N > shape[1]:
            return f"frames of {shape[0]} x {shape[1]} px hold no {N} x {N} px around ({row}, {column})"
        return slice(top, top + N), slice(left, left + N)


class Journal(Protocol):
    """Hears what was taken, in the order in which it was."""

    def frame(self, number: int) -> None:
        """The frame that was stored last has this number."""

    def position(self, number: int, place: Place) -> None:
        """The frame of this number has this position."""


class Arrivals:
    """Frames and positions that came, joined by their numbers. Threads may share one.

    Parameters
    ----------
    window
        What is cut from every frame.
    make_store
        Makes the store from edge and dtype of the first frame; in memory by default.
    journal
        Hears of every frame that was stored and every position that was taken.
    """

    def __init__(
        self,
        window: Window | None = None,
        make_store: MakeStore = MemoryStore,
        journal: Journal | None = None,
    ) -> None:
        self.window = window or Window()
        self.store: FrameStore | None = None
        self.N = self.window.N
        self.dtype: np.dtype[Any] | None = None
        self.newest: int | None = None
        self._make_store, self._journal = make_store, journal
        self._cuts: dict[tuple[int, int], tuple[slice, slice] | str] = {}
        self._slots: dict[int, int] = {}
        self._times: dict[int, float] = {}
        self._places: dict[int, Place] = {}
        self._joined: list[int] = []
        self._low = self._high = 0
        self._announced: int | None = None
        self._refused: Counter[str] = Counter()
        self._counts: Counter[str] = Counter()
        self._changed = threading.Condition()

    def add_frames(
        self,
        numbers: Sequence[int] | npt.NDArray[Any],
        frames: npt.NDArray[Any],
        positions: npt.NDArray[Any] | None = None,
    ) -> int:
        """Take frames, and return how many of them are new and usable; the others are counted.

        Parameters
        ----------
        numbers
            (n,) integers: which frame of the scan each is.
        frames
            (n, height, width), real.
        positions
            (n, 2) ``[y, x]``, where they came with the frames.

        Raises
        ------
        ShapeError
            The arrays do not fit each other: a mistake of the caller.
        """
        values = np.asarray(frames)
        if values.ndim != 3 or len(values) != len(numbers):
            raise ShapeError("frames", f"({len(numbers)}, height, width)", values.shape)
        if positions is not None:
            self.add_positions(numbers, positions)
        now = time.monotonic()
        with self._changed:
            taken = sum(
                self._take_frame(number, frame, now)
                for number, frame in zip(_plain(numbers), values, strict=True)
            )
            self._changed.notify_all()
        return taken

    def add_positions(
        self, numbers: Sequence[int] | npt.NDArray[Any], positions: npt.NDArray[Any] | Sequence[Any]
    ) -> int:
        """Take positions, and return how many of them are new and usable; the others are counted.

        Parameters
        ----------
        numbers
            (n,) integers: of which frame of the scan each is.
        positions
            (n, 2) real ``[y, x]``.

        Raises
        ------
        ShapeError
            The arrays do not fit each other: a mistake of the caller.
        """
        places = np.asarray(positions, dtype=np.float64)
        if places.shape != (len(numbers), 2):
            raise ShapeError("positions", f"({len(numbers)}, 2)", places.shape)
        with self._changed:
            taken = sum(
                self._take_place(number, (y, x))
                for number, (y, x) in zip(_plain(numbers), places.tolist(), strict=True)
            )
            self._changed.notify_all()
        return taken

    def refuse(self, why: str, *, frames: int = 0) -> None:
        """Count a message that could not be used.

        Parameters
        ----------
        why
            In a few words; messages are counted by it.
        frames
            How many frames it held, as far as that is known.
        """
        with self._changed:
            self._refused[why] += max(1, frames)
            self._counts["refused_frames"] += frames
            self._counts["received"] += frames

    def take_up(self, store: FolderStore | None, numbers: Numbers, places: npt.NDArray[np.float64]) -> None:
        """Begin with what an earlier run kept; it counts as received. Nothing may have come before.

        Parameters
        ----------
        store
            Holds the frames, in the order of ``numbers``; None: there are none.
        numbers
            (n,): which frame of the scan each is.
        places
            (k, 3): number of a frame, and its position ``[y, x]``.
        """
        now = time.monotonic()
        with self._changed:
            if store is not None:
                self.store, self.N, self.dtype = store, store.N, store.dtype
            for number, y, x in places.tolist():
                self._places.setdefault(int(number), (y, x))
            for slot, number in enumerate(numbers.tolist()):
                self._enter(number, slot, now)
            self._counts["received"] += len(numbers)
            self._counts["positions"] += len(self._places)
            self._changed.notify_all()

    def announce(self, n_frames: int) -> None:
        """Hear how many frames a source will send in all."""
        with self._changed:
            self._announced = n_frames

    def _take_frame(self, number: int | None, frame: Block, now: float) -> bool:
        self._counts["received"] += 1
        problem = self._why_not(number, frame)
        if problem is not None or number is None:
            self._refused[problem or "a frame number that is no whole number"] += 1
            self._counts["refused_frames"] += 1
            return False
        if number in self._slots:
            self._counts["duplicate"] += 1
            return False
        cut = self._cuts[frame.shape]
        assert not isinstance(cut, str)
        square = frame[cut]
        if self.store is None:
            self.N, self.dtype = int(square.shape[0]), square.dtype.newbyteorder("=")
            self.store = self._make_store(self.N, self.dtype)
        slot = self.store.append(square)
        if self._journal is not None:
            self._journal.frame(number)
        self._counts["late"] += bool(self._slots) and number < self._high
        self._enter(number, slot, now)
        return True

    def _enter(self, number: int, slot: int, now: float) -> None:
        first = not self._slots
        self._low = number if first else min(self._low, number)
        self._high = number if first else max(self._high, number)
        self._slots[number] = slot
        self._times[number] = now
        self.newest = number
        if number in self._places:
            self._joined.append(number)

    def _why_not(self, number: int | None, frame: Block) -> str | None:
        """Why a frame cannot be used; None if it can."""
        if number is None or not 0 <= number <= _LARGEST_NUMBER:
            return "a frame number that is no whole number"
        if self._slots and not self._low - _LARGEST_JUMP < number < self._high + _LARGEST_JUMP:
            return "a frame number far from all others"
        if frame.dtype.kind not in "iuf":
            return f"frames of {frame.dtype}"
        if frame.shape not in self._cuts:
            found = self.window.of(frame.shape)
            if not isinstance(found, str) and self.window.N is None and self.N not in (None, frame.shape[0]):
                found = f"frames of {frame.shape[0]} px, the first had {self.N}"
            self._cuts[frame.shape] = found
        cut = self._cuts[frame.shape]
        if isinstance(cut, str):
            return cut
        if self.dtype is not None and not np.can_cast(frame.dtype, self.dtype, "safe"):
            return f"frames of {frame.dtype}, the first was {self.dtype}"
        return None

    def _take_place(self, number: int | None, place: Place) -> bool:
        if number is None or not 0 <= number <= _LARGEST_NUMBER:
            self._refused["a position number that is no whole number"] += 1
            return False
        if not (math.isfinite(place[0]) and math.isfinite(place[1])):
            self._refused["a position that is no number"] += 1
            return False
        known = self._places.get(number)
        if known is not None:
            if known != place:
                self._refused["another position for the same frame"] += 1
            self._counts["duplicate_positions"] += known == place
            return False
        if self._journal is not None:
            self._journal.position(number, place)
        self._places[number] = place
        self._counts["positions"] += 1
        if number in self._slots:
            self._joined.append(number)
        return True

    def wait(self, n_joined: int, timeout_s: float) -> bool:
        """Wait until more than ``n_joined`` frames are joined, or the time is up; whether there are."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self._joined) > n_joined, timeout_s)

    @property
    def n_joined(self) -> int:
        """Number of frames with a position."""
        return len(self._joined)

    @property
    def n_announced(self) -> int | None:
        """How many frames a source said there will be."""
        return self._announced

    def joined(self, start: int = 0) -> Numbers:
        """Numbers of the joined frames in the order in which they were joined, from the ``start``-th on."""
        with self._changed:
            return np.array(self._joined[start:], dtype=np.int64)

    def times(self, numbers: Numbers) -> npt.NDArray[np.float64]:
        """When frames came, on the clock of `time.monotonic`; s."""
        with self._changed:
            return np.array([self._times[number] for number in numbers.tolist()])

    def positions(self, numbers: Numbers) -> npt.NDArray[np.float64]:
        """Positions ``(k, 2)`` of joined frames, as they came."""
        with self._changed:
            places = [self._places[number] for number in numbers.tolist()]
        return np.array(places, dtype=np.float64).reshape(-1, 2)

    def frames(self, numbers: Numbers) -> StoredFrames:
        """The frames with these numbers; nothing is read."""
        assert self.store is not None
        assert self.N is not None
        assert self.dtype is not None
        with self._changed:
            slots = np.array([self._slots[number] for number in numbers.tolist()], dtype=np.int64)
        return StoredFrames(self.store, slots, self.N, self.dtype)

    def arrived(self) -> tuple[Numbers, dict[int, Place]]:
        """Numbers of all frames in the order of their slots, and all positions by number."""
        with self._changed:
            return np.array(list(self._slots), dtype=np.int64), dict(self._places)

    def counters(self, *, ended: bool = False) -> Counters:
        """What has become of everything so far.

        Parameters
        ----------
        ended
            Whether nothing more can come, so that announced frames which did not come are lost.
        """
        with self._changed:
            distinct, joined = len(self._slots), len(self._joined)
            span = self._high - self._low + 1 if distinct else 0
            if ended and self._announced is not None:
                span = max(span, self._announced)
            counted = {name: self._counts[name] for name in _COUNTED}
            return Counters(
                joined=joined,
                waiting_for_position=distinct - joined,
                waiting_for_frame=len(self._places) - joined,
                lost=span - distinct,
                refused=Counter(self._refused),
                **counted,
            )


_COUNTED = ("received", "late", "duplicate", "refused_frames", "positions", "duplicate_positions")


def _plain(numbers: Sequence[int] | npt.NDArray[Any]) -> list[int | None]:
    """Whole numbers as Python's, None for everything else."""
    values = np.asarray(numbers)
    if values.ndim == 1 and values.dtype.kind in "iu":
        found: list[int | None] = values.tolist()
        return found
    return [int(value) if _is_whole(value) else None for value in np.ravel(values).tolist()]


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
