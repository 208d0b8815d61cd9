"""Frames of 4D-STEM detectors, read by LiberTEM (https://libertem.github.io, an extra of this package)."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ptycho_torch.data.scan.lazy import Block, FrameStack, Rows
from ptycho_torch.errors import DataError

__all__ = ["SUFFIXES", "LiberTEMFrames", "libertem_frames"]

SUFFIXES = (".mib", ".hdr", ".blo", ".dm3", ".dm4", ".gtg", ".ser", ".seq", ".tvips", ".xml")
"""Of files that LiberTEM reads and nothing here does: Merlin, Blockfile, DigitalMicrograph, Gatan K2, TIA,
NorPix, TVIPS, EMPAD (its XML beside the raw file)."""

_MISSING = (
    "frames of this kind are read by LiberTEM, which is not installed; install ptycho-torch-core[libertem], "
    "or convert the frames to HDF5, TIFF or .npy"
)


class LiberTEMFrames(FrameStack):
    """Frames of a data set of LiberTEM, in the order of its scan, each read when it is asked for.

    Parameters
    ----------
    path
        File that LiberTEM knows.
    rows
        int64, ``(n,)``: which frames, in which order; None: all as stored.
    window
        Top, left, height and width of what is given out; all when left out.

    Raises
    ------
    DataError
        LiberTEM is not installed, or cannot read the file.
    """

    def __init__(
        self, path: Path, rows: Rows | None = None, window: tuple[int, int, int, int] | None = None
    ) -> None:
        super().__init__()
        self.path = path
        self._opened: tuple[int, Any, Any] | None = None
        data = self._data()[1]
        navigation, signal = tuple(data.shape.nav), tuple(data.shape.sig)
        if len(signal) != 2:
            raise DataError(
                f"expected frames of shape (H, W), got {signal}; give a file of detector frames", path
            )
        self._n = int(np.prod(navigation))
        self.rows = np.arange(self._n) if rows is None else np.asarray(rows, dtype=np.int64)
        self.window = (0, 0, *signal) if window is None else window
        self.dtype = np.dtype(data.dtype)
        self.shape = (len(self.rows), self.window[2], self.window[3])
        if len(navigation) == 2 and rows is None:
            self.raster = (int(navigation[0]), int(navigation[1]))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}

    def _data(self) -> tuple[Any, Any]:
        """Context and data set of this process."""
        if self._opened is None or self._opened[0] != os.getpid():
            self._opened = (os.getpid(), *_opened_by_libertem(self.path))
        return self._opened[1:]

    def __getitem__(self, index: Any) -> Block:
        from libertem.udf.raw import PickUDF

        context, data = self._data()
        wanted = self.rows[index]
        unique, inverse = np.unique(np.ravel(wanted), return_inverse=True)
        chosen = np.zeros(self._n, dtype=np.bool_)
        chosen[unique] = True
        try:
            found = context.run_udf(data, PickUDF(), roi=chosen.reshape(data.shape.nav))
        except Exception as error:  # whatever the reader of this kind of file raises
            raise DataError(
                f"frames cannot be read by LiberTEM ({error}); copy the file again", self.path
            ) from error
        block = np.asarray(found["intensity"].raw_data)
        top, left, height, width = self.window
        cut = block[:, top : top + height, left : left + width]
        return cut[inverse.reshape(-1)].reshape((*np.shape(wanted), height, width))

    def take(self, indices: npt.ArrayLike) -> LiberTEMFrames:
        """Stack of the frames at ``indices``; nothing is read."""
        return LiberTEMFrames(self.path, self.rows[np.asarray(indices)], self.window)

    def crop(self, N: int) -> LiberTEMFrames:
        """Stack of the central N x N pixels."""
        top, left = (size // 2 - N // 2 for size in self.shape[1:])
        return self.cut(top, left, N)

    def cut(self, top: int, left: int, N: int) -> LiberTEMFrames:
        """Stack of the N x N pixels from row ``top`` and column ``left`` on."""
        above, before = self.window[:2]
        return LiberTEMFrames(self.path, self.rows, (above + top, before + left, N, N))


def libertem_frames(path: Path) -> LiberTEMFrames:
    """Frames of a file that LiberTEM reads.

    Raises
    ------
    DataError
        LiberTEM is not installed, or does not know the file.
    """
    return LiberTEMFrames(path)


def _opened_by_libertem(path: Path) -> tuple[Any, Any]:
    if importlib.util.find_spec("libertem") is None:
        raise DataError(_MISSING, path)
    from libertem.api import Context

    header = path.with_suffix(".hdr")
    if path.suffix.lower() == ".mib" and header.is_file():
        path = header  # which says how many rows there are
    # Everything in this process: the frames are read in pieces by whoever needs them.
    context = Context.make_with("inline")
    try:
        return context, context.load("auto", path=str(path))
    except Exception as error:  # its readers raise errors of many kinds
        raise DataError(f"LiberTEM cannot read this file ({error})", path) from error
