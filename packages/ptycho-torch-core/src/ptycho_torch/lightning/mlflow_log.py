"""Metrics in a store of MLflow that lies in the folder of the run."""

from __future__ import annotations

import logging
import sqlite3
import warnings
from contextlib import closing
from pathlib import Path

from lightning.pytorch.loggers import MLFlowLogger

__all__ = ["EXPERIMENT", "STORE", "open_store", "relocate_artifacts"]

EXPERIMENT = "ptycho-torch"
"""Name of the experiment."""

STORE = "mlflow.db"
"""File of the store, in the folder of the logs."""

_ARTIFACTS = "artifacts"


def open_store(folder: Path, *, continue_at: int | None = None) -> MLFlowLogger:
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
    run = _newest_run(folder / STORE)
    if run is not None and continue_at is not None:
        _forget_from(folder / STORE, run, continue_at)
    with warnings.catch_warnings():
        # Raised inside MLflow by its own use of its dependencies.
        warnings.simplefilter("ignore")
        return MLFlowLogger(
            experiment_name=EXPERIMENT,
            tracking_uri=f"sqlite:///{folder / STORE}",
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


def relocate_artifacts(folder: Path, destination: Path) -> None:
    """Tell a store, if there is one, where its folder is about to be moved.

    It holds the absolute address of its artifacts, which MLflow offers no way to change.

    Parameters
    ----------
    folder
        Where the store is now.
    destination
        Where it will be.
    """
    if not (folder / STORE).is_file():
        return
    addresses = tuple((place.resolve() / _ARTIFACTS).as_uri() for place in (folder, destination))
    with closing(sqlite3.connect(folder / STORE)) as connection, connection:
        for table, column in (("experiments", "artifact_location"), ("runs", "artifact_uri")):
            connection.execute(f"UPDATE {table} SET {column} = replace({column}, ?, ?)", addresses)
