"""Frames in NumPy and TIFF files: one file with all, or a folder with a file for each."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ptycho_torch.data.advice import AS_STACK
from ptycho_torch.data.array_files import TIFF, fits_frames, read_npy, read_tiff
from ptycho_torch.data.scan.lazy import Block, FrameStack, Rows
from ptycho_torch.data.scan.libertem_frames import SUFFIXES, libertem_frames
from ptycho_torch.errors import DataError

__all__ = ["FileFrames", "frames_of_files"]


def frames_of_files(path: Path) -> FrameStack:
    """Frames of a ``.npy`` or TIFF file, of one that LiberTEM reads, or of the files of a folder in the order
    of the numbers in their names.

    Raises
    ------
    DataError
        There are none, or they are not frames of one size.
    """
    if not path.is_dir() and path.suffix.lower() in SUFFIXES:
        return libertem_frames(path)
    if not path.is_dir():
        shape = _stack(_array(path), path).shape
        frames = FileFrames([(path, index) for index in range(math.prod(shape[:-2]))])
        frames.raster = (shape[0], shape[1]) if len(shape) == 4 else None
        return frames
    found = [entry for entry in path.iterdir() if entry.suffix.lower() in (".npy", *TIFF)]
    if not found:
        raise DataError(
            "no frames in this folder, expected one .npy or .tif file for each; "
            "name the folder that holds them",
            path,
        )
    ordered = sorted(found, key=lambda entry: [int(n) for n in re.findall(r"\d+", entry.stem)] or [0])
    return FileFrames([(entry, -1) for entry in ordered])


def _stack(values: Any, path: Path) -> Any:
    """The array, if it is one of frames: (n, H, W), or (rows, columns, H, W) of a raster."""
    if values.ndim not in (3, 4) or 0 in values.shape:
        raise DataError(
            f"expected frames of shape (n, H, W), or (rows, columns, H, W), got {values.shape}; {AS_STACK}",
            path,
        )
    return values


def _array(path: Path) -> Any:
    """Whole array, left in the file where the kind of file allows it."""
    try:
        if path.suffix.lower() in TIFF:
            return read_tiff(path, fits_frames)
        return read_npy(path, mapped=True)
    except (ValueError, OSError) as error:
        raise DataError(
            f"cannot be read ({error}); expected a .npy or .tif file; convert it", path
        ) from error


class FileFrames(FrameStack):
    """Frames by file, each read when it is asked for; a TIFF file with many is kept while it is in use.

    Parameters
    ----------
    places
        File and index in it of each frame; -1: the file is the frame.
    window
        Top, left, height and width of what is read; all when left out.
    """

    def __init__(
        self, places: Sequence[tuple[Path, int]], window: tuple[int, int, int, int] | None = None
    ) -> None:
        super().__init__()
        self.places = list(places)
        self.window = window
        self._kept: tuple[Path, Any] | None = None
        first = self._one(0)
        if first.ndim != 2:
            raise DataError(
                f"expected one frame of shape (H, W), got {first.shape}; store one frame in each file",
                self.places[0][0],
            )
        self.dtype = first.dtype
        self.shape = (len(self.places), *first.shape)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kept": None}

    def _one(self, row: int) -> Block:
        path, index = self.places[row]
        if self._kept is None or self._kept[0] != path:
            self._kept = (path, _array(path))
        stored = self._kept[1]
        # Of a raster, whose first two axes count the frames.
        frame = stored if index < 0 else stored[np.unravel_index(index, stored.shape[:-2])]
        if self.window is not None:
            top, left, height, width = self.window
            frame = frame[top : top + height, left : left + width]
        return np.asarray(frame)

    def __getitem__(self, index: Any) -> Block:
        wanted: Rows = np.arange(len(self.places))[index]
        block = np.empty((wanted.size, *self.shape[1:]), dtype=self.dtype)
        for number, row in enumerate(np.ravel(wanted).tolist()):
            frame = self._one(row)
            if frame.shape != self.shape[1:]:
                raise DataError(
                    f"a frame of shape {frame.shape}, others {self.shape[1:]}; "
                    "keep those of one scan in a folder",
                    self.places[row][0],
                )
            block[number] = frame
        return block.reshape((*np.shape(wanted), *self.shape[1:]))

    def take(self, indices: npt.ArrayLike) -> FileFrames:
        """Stack of the frames at ``indices``; nothing but the first is read."""
        rows = np.arange(len(self.places))[np.asarray(indices)]
        return FileFrames([self.places[row] for row in rows.tolist()] or self.places[:1], self.window)

    def crop(self, N: int) -> FileFrames:
        """Stack of the central N x N pixels."""
        top, left = (size // 2 - N // 2 for size in self.shape[1:])
        return self.cut(top, left, N)

    def cut(self, top: int, left: int, N: int) -> FileFrames:
        """Stack of the N x N pixels from row ``top`` and column ``left`` on."""
        above, before = (0, 0) if self.window is None else self.window[:2]
        return FileFrames(self.places, (above + top, before + left, N, N))
