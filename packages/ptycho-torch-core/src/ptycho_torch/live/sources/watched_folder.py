"""A folder in which files of frames appear."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import numpy as np

from ptycho_torch.data.array_files import TIFF, fits_frames, read_npy, read_tiff
from ptycho_torch.data.hdf5.growing import UNREADABLE, blocks_of, opened_growing, rows_of
from ptycho_torch.data.limits import largest_array_bytes
from ptycho_torch.live.messages import Frames, Message, Refused
from ptycho_torch.live.source_registry import refused_address
from ptycho_torch.live.sources.hdf5_file import polled

__all__ = ["connect"]

NAME = "watch"
HELP = (
    "a folder in which files of frames appear (TIFF, .npy, HDF5), numbered by the last number in their names"
)
FORM = "watch:FOLDER[,first=NUMBER]"
GIVES = ("frames",)

_NUMBER = re.compile(r"\d+")
_HDF5 = (".h5", ".hdf5", ".nxs", ".cxi")
_KINDS = (*TIFF, ".npy", *_HDF5)
_AT_ONCE = 32
_PATIENCE_S = 5.0
_STILL_S = 0.2


class _Folder:
    """Reads each file once, when it has stopped growing.

    A file with several frames holds those from ``number * how many there are`` on. Folders on shared disks
    tell nobody about what others write there, so the folder is looked through.
    """

    def __init__(self, folder: Path, first: int) -> None:
        self.waits_for = ""
        self._folder, self._first = folder, first
        self._read: set[str] = set()
        self._seen: dict[str, tuple[int, float]] = {}
        self._failing: dict[str, float] = {}

    def receive(self, timeout_s: float) -> list[Message]:
        return polled(self._look, timeout_s)

    def _look(self) -> list[Message]:
        try:
            names = sorted(path.name for path in self._folder.iterdir() if path.suffix.lower() in _KINDS)
        except OSError:
            self.waits_for = f"the folder {self._folder}"
            return []
        self.waits_for = "" if names else f"files ending in {', '.join(_KINDS)} in {self._folder}"
        fresh = [name for name in names if name not in self._read and self._is_still(name)]
        found: list[Message] = []
        for name in fresh[:_AT_ONCE]:
            found += self._messages(name)
        return found

    def _is_still(self, name: str) -> bool:
        """Whether a file has not changed its size for a while."""
        try:
            size = (self._folder / name).stat().st_size
        except OSError:
            return False
        now = time.monotonic()
        before, since = self._seen.get(name, (-1, now))
        self._seen[name] = (size, since if before == size else now)
        return before == size and size > 0 and now - since >= _STILL_S

    def _messages(self, name: str) -> list[Message]:
        path = self._folder / name
        numbers = _NUMBER.findall(path.stem)
        if not numbers:
            return self._done(name, Refused(why="a file of frames without a number in its name", frames=1))
        if path.stat().st_size > largest_array_bytes():
            return self._done(name, Refused(why="a file of frames that is too large", frames=1))
        try:
            frames = _frames_of(path)
        except UNREADABLE as error:
            return self._failed(name, error)
        if frames is None:
            return self._done(name, Refused(why="a file that holds no frames of numbers", frames=1))
        start = (int(numbers[-1]) - self._first) * len(frames)
        return self._done(name, Frames(numbers=np.arange(start, start + len(frames)), frames=frames))

    def _done(self, name: str, message: Message) -> list[Message]:
        self._read.add(name)
        self._seen.pop(name, None)
        self._failing.pop(name, None)
        return [message]

    def _failed(self, name: str, error: Exception) -> list[Message]:
        now = time.monotonic()
        since = self._failing.setdefault(name, now)
        self.waits_for = f"{name}, which cannot be read now ({error})"
        if now - since < _PATIENCE_S:
            return []
        return self._done(name, Refused(why="a file of frames that cannot be read", frames=1))

    def close(self) -> None:
        """Nothing is open between two looks."""


def _frames_of(path: Path) -> Any | None:
    """Frames of a file, (n, H, W); None if it holds something else."""
    suffix = path.suffix.lower()
    if suffix in _HDF5:
        with opened_growing(path) as file:
            blocks = blocks_of(file, "")
            values = rows_of(file, blocks[0].name, np.arange(blocks[0].n_rows)) if blocks else None
    elif suffix in TIFF:
        values = read_tiff(path, fits_frames)
    else:
        values = read_npy(path, fits_frames)
    if values is None or values.dtype.kind not in "iuf" or values.ndim not in (2, 3) or not values.size:
        return None
    return values[None] if values.ndim == 2 else values


def connect(rest: str, *, gives: str, tee: str | None) -> _Folder:
    """Watch a folder, which may appear later.

    Raises
    ------
    ConfigError
        What stands behind ``first=`` is no number.
    """
    folder, _, option = rest.partition(",first=")
    if option and not option.isdecimal():
        raise refused_address(
            gives, rest, "FOLDER or FOLDER,first=NUMBER, the number of the first frame's file"
        )
    return _Folder(Path(folder), int(option or 0))
