"""Where metrics are written."""

from __future__ import annotations

from pathlib import Path

from lightning.pytorch.loggers import Logger, TensorBoardLogger
from lightning.pytorch.loggers.logger import DummyLogger
from lightning.pytorch.utilities.rank_zero import rank_zero_only  # type: ignore[attr-defined]

from ptycho_config.errors import ConfigError, Problem
from ptycho_torch.lightning.csv_log import TableLogger
from ptycho_torch.lightning.mlflow_log import open_store

__all__ = ["build_logger"]


def build_logger(backend: str | None, directory: Path, *, continue_at: int | None = None) -> Logger | bool:
    """Logger that writes into ``directory / "logs"``.

    Parameters
    ----------
    backend
        ``"csv"`` (``logs/metrics.csv``), ``"tensorboard"`` (event files), ``"mlflow"`` (a store in
        ``logs/mlflow.db``; needs the extra ``mlflow``), or ``None`` for no log.
    directory
        Output directory of the run.
    continue_at
        Step from which an interrupted run is continued: what was logged for later steps is replaced.

    Returns
    -------
    Logger or False
        What a Lightning trainer takes as ``logger``; in all processes but the first it writes nothing.

    Raises
    ------
    ConfigError
        If the backend is another one.
    """
    if backend is None:
        return False
    if backend == "csv":
        return TableLogger(directory, continue_at=continue_at)
    if backend == "tensorboard":
        return _EventLogger(save_dir=directory, name="logs", version="", purge_step=continue_at)
    if backend == "mlflow":
        if getattr(rank_zero_only, "rank", 0) != 0:
            # Opening a store makes its tables, which two processes would do at once.
            return DummyLogger()
        return open_store(directory / "logs", continue_at=continue_at)
    raise ConfigError(Problem("logger_backend", backend, "csv, tensorboard, mlflow or none"))


class _EventLogger(TensorBoardLogger):
    """TensorBoard files that hold an epoch when its checkpoint does."""

    @rank_zero_only
    def save(self) -> None:
        super().save()
        self.experiment.flush()
