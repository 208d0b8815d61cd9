"""Frames that are kept in a folder as they come, so that a run that was killed can go on with them.

The folder holds ``frames.npy``, a file that grows, and beside it what number each of its frames has, which
positions came, and what is known of the scan. All but the last are only appended to: whatever is complete in
all of them is taken up, and a part that a killed process left is cut off.
"""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ptycho_config import ConfigError, Problem
from ptycho_torch.atomic import TEMPORARY_SUFFIX, atomic_write, take_lock
from ptycho_torch.data.array_files import read_npy
from ptycho_torch.data.scan.misfits import too_many
from ptycho_torch.errors import DataError, fault
from ptycho_torch.live.frame_store import HEADER_BYTES, FolderStore, header_of

__all__ = ["SCAN", "KeptFrames"]

SCAN = "scan.npz"
"""The scan that the kept frames become when it is over."""

_FRAMES, _NUMBERS, _POSITIONS, _KNOWN, _MASK = (
    "frames.npy", "numbers.i8", "positions.f8", "known.json", "bad_pixels.npy",
)  # fmt: skip
_LARGEST_TEXT = 1 << 22
_GROWING = (_FRAMES, _NUMBERS, _POSITIONS, _KNOWN, _MASK)


class KeptFrames:
    """Folder of the frames of one scan.

    Parameters
    ----------
    folder
        Made if it is not there.

    Raises
    ------
    ConfigError
        It holds a scan that is over, or what no run of this kind wrote, or another run is at work there.
    DataError
        It holds frames that no run wrote.
    OSError
        It cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        _require_ours(folder)
        self._store: FolderStore | None = None
        # The file of the numbers first: it says that the others are ours.
        self._files = {_NUMBERS: self._opened(_NUMBERS)}
        if take_lock(self._files[_NUMBERS]) is False:
            self.close()
            expected = "a folder in which no other run keeps frames, but one is at work there"
            raise ConfigError(Problem("keep_frames", str(folder), expected, "name another folder"))
        try:
            self._take_up()
        except BaseException:
            self.close()
            raise

    def _opened(self, name: str) -> int:
        return os.open(self.folder / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)

    def _take_up(self) -> None:
        self.numbers = self._complete(_NUMBERS, np.dtype("<i8")).reshape(-1)
        self.places = self._complete(_POSITIONS, np.dtype("<f8"), 3)
        places = self.places[:, 0]
        if (self.numbers < 0).any() or not (np.isfinite(self.places).all() and (places >= 0).all()):
            said = "numbers of frames or positions that no run wrote; name another folder"
            raise DataError(fault(_NUMBERS, said), self.folder)
        self._cut_frames()
        self._files[_POSITIONS] = self._opened(_POSITIONS)

    def _complete(self, name: str, dtype: np.dtype[Any], width: int = 1) -> npt.NDArray[Any]:
        """Complete records of a file; what is behind them is cut off."""
        path, size = self.folder / name, dtype.itemsize * width
        if not path.exists():
            return np.empty((0, width), dtype)
        count = path.stat().st_size // size
        said = too_many(count)
        if said is not None:
            raise DataError(fault(name, said), path)
        os.truncate(path, count * size)
        return np.fromfile(path, dtype).reshape(count, width)

    def _cut_frames(self) -> None:
        """Keep as many frames as have a number, and as many numbers as have a frame."""
        path, n = self.folder / _FRAMES, 0
        if path.exists() and path.stat().st_size >= HEADER_BYTES:
            (N, _), dtype = header_of(path)
            size = N * N * dtype.itemsize
            n = min(len(self.numbers), (path.stat().st_size - HEADER_BYTES) // size)
            os.truncate(path, HEADER_BYTES + n * size)
        elif path.exists():
            path.unlink()
        self.numbers = self.numbers[:n]
        if (self.folder / _NUMBERS).exists():
            os.truncate(self.folder / _NUMBERS, n * 8)

    @property
    def n_frames(self) -> int:
        """How many frames were there when it was opened."""
        return len(self.numbers)

    def make_store(self, N: int, dtype: np.dtype[Any]) -> FolderStore:
        """The store, for frames of this edge and dtype.

        Raises
        ------
        DataError
            It holds frames of another size or dtype.
        """
        self._store = FolderStore(self.folder / _FRAMES, N, dtype)
        return self._store

    def store_found(self) -> FolderStore | None:
        """The store with the frames that are there; None without any."""
        if not self.n_frames:
            return None
        (N, _), dtype = header_of(self.folder / _FRAMES)
        return self.make_store(N, dtype)

    # What `ptycho_torch.live.arrivals.Arrivals` writes down.

    def frame(self, number: int) -> None:
        """The frame that was appended last has this number."""
        _append(self._files[_NUMBERS], np.array([number], dtype="<i8").tobytes())

    def position(self, number: int, place: tuple[float, float]) -> None:
        """The frame of this number has this position."""
        _append(self._files[_POSITIONS], np.array([number, *place], dtype="<f8").tobytes())

    def know(self, known: dict[str, Any], bad_pixels: npt.NDArray[np.bool_] | None) -> None:
        """Write down what is known of the scan."""
        with atomic_write(self.folder / _KNOWN, "w") as stream:
            json.dump(known, stream)
        if bad_pixels is not None:
            with atomic_write(self.folder / _MASK) as stream:
                np.save(stream, bad_pixels)

    def known(self) -> tuple[dict[str, Any], npt.NDArray[np.bool_] | None]:
        """What `know` wrote down.

        Raises
        ------
        DataError
            It cannot be read.
        """
        path, mask = self.folder / _KNOWN, self.folder / _MASK
        try:
            stated = _known(path) if path.exists() else {}
            bad = read_npy(mask).astype(np.bool_) if mask.exists() else None
        except (ValueError, TypeError, RecursionError) as error:
            raise DataError(
                fault(path.name, f"cannot be read ({error}); name another folder"), path
            ) from error
        return stated, bad

    def close(self) -> None:
        """Let go of the files."""
        for file in self._files.values():
            os.close(file)
        self._files = {}
        if self._store is not None:
            self._store.close()

    def clear(self) -> None:
        """Remove what grew, once the scan is written."""
        self.close()
        # What says that the others are ours goes last.
        for name in sorted(_GROWING, key=lambda name: name == _NUMBERS):
            (self.folder / name).unlink(missing_ok=True)


def _require_ours(folder: Path) -> None:
    """Refuse a folder with anything in it that no run kept there."""
    entries = {path.name: path for path in folder.iterdir() if not _is_unfinished(path)}
    strange = sorted(
        name
        for name, path in entries.items()
        if name not in _GROWING or path.is_symlink() or not path.is_file() or _NUMBERS not in entries
    )
    if strange:
        expected = f"a folder for frames of one scan, but it holds {', '.join(strange[:3])}"
        hint = "name another folder; nothing in it was changed"
        raise ConfigError(Problem("keep_frames", str(folder), expected, hint))


def _is_unfinished(path: Path) -> bool:
    """Whether it is a file that a killed run was writing; its next writer removes it."""
    ours = tuple(f".{name}." for name in (_KNOWN, _MASK))
    return path.name.startswith(ours) and path.name.endswith(TEMPORARY_SUFFIX)


def _known(path: Path) -> dict[str, Any]:
    """What is known of a scan, each part of the kind that it has to be; raises ValueError or TypeError."""
    if path.stat().st_size > _LARGEST_TEXT:
        raise ValueError(f"more than {_LARGEST_TEXT} bytes")
    found = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(found, dict) or not isinstance(found.get("metadata", {}), dict):
        raise TypeError("it is not what a run wrote")
    unit, centre, n_frames = (found.get(name) for name in ("position_unit", "centre", "n_frames"))
    if not (unit is None or isinstance(unit, str)):
        raise TypeError(f"a unit that is {unit!r}")
    if centre is not None:
        found["centre"] = [float(value) for value in centre]
        if len(centre) != 2 or not all(map(math.isfinite, found["centre"])):
            raise ValueError(f"a centre at {centre!r}")
    said = None if n_frames is None else too_many(int(n_frames))
    if said is not None or (n_frames or 0) < 0:
        raise ValueError(f"{n_frames!r} frames")
    return found


def _append(file: int, data: bytes) -> None:
    """Write behind what is there; a record is whole or, on a full disk, cut off when it is taken up."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(file, rest) :]
