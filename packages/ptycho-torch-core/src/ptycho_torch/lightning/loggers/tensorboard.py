"""Metrics and pictures as event files of TensorBoard."""

from __future__ import annotations

from pathlib import Path

from lightning.pytorch.loggers import Logger, TensorBoardLogger
from lightning.pytorch.utilities.rank_zero import rank_zero_only  # type: ignore[attr-defined]

from ptycho_config.errors import Problem
from ptycho_torch.lightning.loggers.protocol import LoggerKind, Picture

__all__ = ["KIND"]


class _EventLogger(TensorBoardLogger):
    """TensorBoard files that hold an epoch when its checkpoint does."""

    @rank_zero_only
    def save(self) -> None:
        super().save()
        self.experiment.flush()


class _Events:
    name: str | None = "tensorboard"

    def require(self) -> Problem | None:
        return None

    def open(self, folder: Path, *, continue_at: int | None = None) -> Logger | bool:
        return _EventLogger(save_dir=folder.parent, name=folder.name, version="", purge_step=continue_at)

    def picture(self, logger: Logger, name: str, picture: Picture, *, epoch: int, folder: Path) -> None:
        assert isinstance(logger, TensorBoardLogger)
        logger.experiment.add_image(f"reconstruction/{name}", picture, epoch, dataformats="HWC")

    def relocate(self, folder: Path, destination: Path) -> None:
        pass


KIND: LoggerKind = _Events()
"""Event files in the folder of the logs; pictures are named ``reconstruction/object_phase`` and so on."""
