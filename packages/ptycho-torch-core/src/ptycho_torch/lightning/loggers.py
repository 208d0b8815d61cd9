"""Where metrics are written."""

from __future__ import annotations

from pathlib import Path

from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger

from ptycho_config.errors import ConfigError, Problem

__all__ = ["build_logger"]


def build_logger(backend: str | None, directory: Path) -> Logger | bool:
    """Logger that writes into ``directory / "logs"``.

    Parameters
    ----------
    backend
        ``"csv"`` (``logs/metrics.csv``), ``"tensorboard"`` (event files), or ``None`` for no log.
    directory
        Output directory of the run.

    Returns
    -------
    Logger or False
        What a Lightning trainer takes as ``logger``.

    Raises
    ------
    ConfigError
        If the backend is another one.
    """
    if backend is None:
        return False
    if backend == "csv":
        return CSVLogger(save_dir=directory, name="logs", version="")
    if backend == "tensorboard":
        return TensorBoardLogger(save_dir=directory, name="logs", version="")
    raise ConfigError(Problem("logger_backend", backend, "csv, tensorboard or none"))
