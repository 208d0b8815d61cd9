"""No log."""

from __future__ import annotations

from pathlib import Path

from lightning.pytorch.loggers import Logger

from ptycho_config.errors import Problem
from ptycho_torch.lightning.loggers.protocol import LoggerKind, Picture

__all__ = ["KIND"]


class _Nothing:
    name: str | None = None

    def require(self) -> Problem | None:
        return None

    def open(self, folder: Path, *, continue_at: int | None = None) -> Logger | bool:
        return False

    def picture(self, logger: Logger, name: str, picture: Picture, *, epoch: int, folder: Path) -> None:
        pass

    def relocate(self, folder: Path, destination: Path) -> None:
        pass


KIND: LoggerKind = _Nothing()
"""Logs nothing; pictures without a log are refused with the settings."""
