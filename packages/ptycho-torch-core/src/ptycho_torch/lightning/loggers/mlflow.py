"""Metrics and pictures in a store of MLflow that lies in the folder of the run (extra ``mlflow``)."""

from __future__ import annotations

import logging
import sqlite3
import warnings
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path

from lightning.pytorch.loggers import Logger, MLFlowLogger
from lightning.pytorch.loggers.logger import DummyLogger
from lightning.pytorch.utilities.rank_zero import rank_zero_only  # type: ignore[attr-defined]

from ptycho_config.errors import ConfigError, Problem
from ptycho_torch.lightning.loggers.protocol import LoggerKind, Picture

__all__ = ["KIND"]

_EXPERIMENT = "ptycho-torch"
_STORE = "mlflow.db"
_ARTIFACTS = "artifacts"


def _open_store(folder: Path, continue_at: int | None) -> MLFlowLogger:
    """Logger into ``mlflow.db`` and ``artifacts`` of a folder.

    A database, because MLflow no longer opens stores made of plain files. A store that is there already
    belongs to this run, which is being continued: its newest entry is taken up again.

    Parameters
    ----------
    folder
        Made if it is not there.
    continue_at
        Step from which an interrupted run is continued: what was logged for later steps is removed.
    """
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    # Both announce the tables they create in a new store, which nobody asked about.
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        run = _newest_run(folder / _STORE)
        if run is not None and continue_at is not None:
            _forget_from(folder / _STORE, run, continue_at)
        if run is not None:
            _address(folder / _STORE, folder)
    except sqlite3.Error as error:
        hint = f"it is damaged ({error}); move it away to go on with a new one"
        raise ConfigError(
            Problem("output_dir", str(folder / _STORE), "a store that train wrote", hint)
        ) from error
    with warnings.catch_warnings():
        # Raised inside MLflow by its own use of its dependencies.
        warnings.simplefilter("ignore")
        return MLFlowLogger(
            experiment_name=_EXPERIMENT,
            tracking_uri=f"sqlite:///{folder / _STORE}",
            artifact_location=(folder / _ARTIFACTS).as_uri(),
            run_id=run,
        )


def _newest_run(store: Path) -> str | None:
    if not store.is_file():
        return None
    with closing(sqlite3.connect(store)) as connection:
        row = connection.execute("SELECT run_uuid FROM runs ORDER BY start_time DESC LIMIT 1").fetchone()
    return None if row is None else str(row[0])


def _forget_from(store: Path, run: str, step: int) -> None:
    """Remove the numbers of steps that will be made again; MLflow would show them twice."""
    with closing(sqlite3.connect(store)) as connection, connection:
        for table in ("metrics", "latest_metrics"):
            connection.execute(f"DELETE FROM {table} WHERE run_uuid = ? AND step >= ?", (run, step))


def _address(store: Path, folder: Path) -> None:
    """Let the artifacts of a store lie in a folder: MLflow keeps absolute addresses, and folders are moved.

    They are made anew and not read: an address in a file may lead anywhere.
    """
    artifacts = (folder.resolve() / _ARTIFACTS).as_uri()
    made = "artifact_uri = ? || '/' || run_uuid || '/artifacts'"
    mine = "experiment_id IN (SELECT experiment_id FROM experiments WHERE name = ?)"
    with closing(sqlite3.connect(store)) as connection, connection:
        connection.execute(
            "UPDATE experiments SET artifact_location = ? WHERE name = ?", (artifacts, _EXPERIMENT)
        )
        connection.execute(f"UPDATE runs SET {made} WHERE {mine}", (artifacts, _EXPERIMENT))


def _is_installed() -> bool:
    return find_spec("mlflow") is not None


class _Store:
    name: str | None = "mlflow"

    def require(self) -> Problem | None:
        if _is_installed():
            return None
        hint = "pip install 'ptycho-torch-core[mlflow]', or log to csv or tensorboard"
        return Problem("logger_backend", "mlflow", "a logger that is installed", hint)

    def open(self, folder: Path, *, continue_at: int | None = None) -> Logger | bool:
        if getattr(rank_zero_only, "rank", 0) != 0:
            # Opening a store makes its tables, which two processes would do at once.
            return DummyLogger()
        return _open_store(folder, continue_at)

    def picture(self, logger: Logger, name: str, picture: Picture, *, epoch: int, folder: Path) -> None:
        assert isinstance(logger, MLFlowLogger)
        file = f"images/{name}-epoch={epoch:03d}.png"
        logger.experiment.log_image(str(logger.run_id), picture, artifact_file=file)

    def relocate(self, folder: Path, destination: Path) -> None:
        if (folder / _STORE).is_file():
            _address(folder / _STORE, destination)


KIND: LoggerKind = _Store()
"""Numbers in ``mlflow.db``, pictures in ``artifacts``."""
