"""Files that grow or appear, as programs of beamlines write them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ptycho_config import ConfigError, Problem
from ptycho_torch.live.messages import Frames, Message, Positions
from ptycho_torch.live.replay.sender import FrameKind, GoOn, Sender

__all__ = ["FolderOfFrames", "TableOfPositions", "open_sender"]


class TableOfPositions:
    """A text file with one line for each position: its number, x and y.

    Parameters
    ----------
    path
        File to make.

    Raises
    ------
    ConfigError
        It exists, or cannot be made.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._stream = path.open("x", encoding="ascii")
        except OSError as error:
            raise _cannot_be_made(path, error) from error
        self._unit = ""

    def wait(self, go_on: GoOn) -> bool:
        """A file needs nobody who reads it."""
        return go_on()

    def send(self, message: Message, go_on: GoOn) -> bool:
        """Write the lines of positions; nothing is written of anything else."""
        if isinstance(message, Positions):
            if not self._unit:
                self._unit = message.unit or "px"
                self._stream.write(f"number,x_{self._unit},y_{self._unit}\n")
            numbers, places = np.asarray(message.numbers), np.asarray(message.positions, dtype=np.float64)
            for number, (y, x) in zip(numbers.tolist(), places.tolist(), strict=True):
                self._stream.write(f"{number},{x!r},{y!r}\n")
            self._stream.flush()
        return True

    def close(self) -> None:
        """Close the file."""
        self._stream.close()


class FolderOfFrames:
    """A folder in which a ``.npy`` file appears for each frame, whole; its number is in its name.

    Parameters
    ----------
    path
        Folder to make.

    Raises
    ------
    ConfigError
        It exists, or cannot be made.
    """

    def __init__(self, path: Path) -> None:
        try:
            path.mkdir(parents=True)
        except OSError as error:
            raise _cannot_be_made(path, error) from error
        self._folder = path

    def wait(self, go_on: GoOn) -> bool:
        """A file needs nobody who reads it."""
        return go_on()

    def send(self, message: Message, go_on: GoOn) -> bool:
        """Write a frame; nothing is written of anything else."""
        if isinstance(message, Frames):
            for number, frame in zip(np.asarray(message.numbers).tolist(), message.frames, strict=True):
                half = self._folder / f".frame_{number:06d}.npy.part"
                with half.open("wb") as stream:
                    np.save(stream, frame)
                os.replace(half, self._folder / f"frame_{number:06d}.npy")
        return True

    def close(self) -> None:
        """Nothing is open."""


def _cannot_be_made(path: Path, error: OSError) -> ConfigError:
    return ConfigError(Problem("to", str(path), "the name of something new that can be written", str(error)))


_KINDS: dict[str, Callable[[Path], Sender]] = {"csv": TableOfPositions, "watch": FolderOfFrames}


def open_sender(address: str, protocol: str, kind: FrameKind) -> Sender:
    """Make a file or a folder; raises as these do."""
    return _KINDS[protocol](Path(address))
