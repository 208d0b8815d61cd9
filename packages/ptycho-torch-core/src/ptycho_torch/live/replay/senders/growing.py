"""HDF5 files that grow while others read them (SWMR), one for frames and one for positions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ptycho_config import ConfigError, Problem
from ptycho_torch.live.messages import Frames, Message, Positions
from ptycho_torch.live.replay.sender import FrameKind, GoOn

__all__ = ["FRAMES_PATH", "POSITIONS_PATH", "GrowingFile", "open_sender"]

FRAMES_PATH = "entry/data/data"
POSITIONS_PATH = "entry/positions"
_ROWS = 1024


class GrowingFile:
    """A file with a row for each number; rows that nobody sent are never written.

    Frames are in ``entry/data/data`` ``(n, height, width)``, one chunk each, so that a row which was not
    written takes no room and can be told from one of zeros. Positions are in ``entry/positions/y`` and ``x``
    ``(n,)``; NaN: not written.

    Parameters
    ----------
    path
        File to make.
    kind
        Of the frames.

    Raises
    ------
    ConfigError
        It exists, or cannot be made.
    """

    def __init__(self, path: Path, kind: FrameKind) -> None:
        try:
            self._file = h5py.File(path, "x", libver="latest")
        except OSError as error:
            expected = "the name of something new that can be written"
            raise ConfigError(Problem("to", str(path), expected, str(error))) from error
        height, width = kind.shape
        self._frames = self._file.create_dataset(
            FRAMES_PATH,
            shape=(0, height, width),
            maxshape=(None, height, width),
            chunks=(1, height, width),
            dtype=kind.dtype,
        )
        self._places = {
            axis: self._file.create_dataset(
                f"{POSITIONS_PATH}/{axis}",
                shape=(0,),
                maxshape=(None,),
                chunks=(_ROWS,),
                dtype="f8",
                fillvalue=np.nan,
            )
            for axis in "yx"
        }
        for dataset in self._places.values():
            dataset.attrs["units"] = "px"
        self._file.swmr_mode = True

    def wait(self, go_on: GoOn) -> bool:
        """A file needs nobody who reads it."""
        return go_on()

    def send(self, message: Message, go_on: GoOn) -> bool:
        """Write frames and positions; nothing is written of anything else."""
        if isinstance(message, Frames):
            self._write(self._frames, message.numbers, message.frames)
        if isinstance(message, Frames | Positions) and message.positions is not None:
            places = np.asarray(message.positions, dtype=np.float64)
            for axis, values in zip("yx", places.T, strict=True):
                self._write(self._places[axis], message.numbers, values)
        return True

    @staticmethod
    def _write(dataset: h5py.Dataset, numbers: Any, rows: Any) -> None:
        for number, row in zip(np.asarray(numbers).tolist(), rows, strict=True):
            if number >= len(dataset):
                dataset.resize(number + 1, axis=0)
            dataset[number] = row
        dataset.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def open_sender(address: str, protocol: str, kind: FrameKind) -> GrowingFile:
    """Make a file; raises as `GrowingFile`."""
    return GrowingFile(Path(address), kind)
