"""What every kind of log can do."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from lightning.pytorch.loggers import Logger
from numpy import uint8
from numpy.typing import NDArray

from ptycho_config.errors import Problem

__all__ = ["LOGS", "LoggerKind", "Picture"]

LOGS = "logs"
"""Folder of the logs in the folder of a run."""

Picture = NDArray[uint8]
"""RGB, uint8 ``(height, width, 3)``."""


class LoggerKind(Protocol):
    """A kind of log. It keeps nothing: what is open is the logger that :meth:`open` returns.

    Attributes
    ----------
    name
        The value of ``logger_backend`` that chooses it.
    """

    @property
    def name(self) -> str | None: ...

    def require(self) -> Problem | None:
        """What is missing on this machine, asked only of the kind that was chosen; nothing is written."""

    def open(self, folder: Path, *, continue_at: int | None = None) -> Logger | bool:
        """Logger into a folder, which is made if it is not there.

        Parameters
        ----------
        folder
            Folder of the logs.
        continue_at
            Step from which an interrupted run is continued: what was logged for later steps is replaced.

        Returns
        -------
        Logger or False
            What a Lightning trainer takes as ``logger``; in all processes but the first it writes nothing.
            Its ``save`` puts on the disk what was logged so far.
        """

    def picture(self, logger: Logger, name: str, picture: Picture, *, epoch: int, folder: Path) -> None:
        """Log one picture.

        Parameters
        ----------
        logger
            From :meth:`open`.
        name
            What it shows, such as ``"object_phase"``.
        picture
            RGB, uint8 ``(height, width, 3)``.
        epoch
            Epoch, counted from 0.
        folder
            Folder of the logs.
        """

    def relocate(self, folder: Path, destination: Path) -> None:
        """Get logs ready for being moved; does nothing where there are none of this kind.

        Parameters
        ----------
        folder, destination
            Folder of the logs now, and then.
        """
