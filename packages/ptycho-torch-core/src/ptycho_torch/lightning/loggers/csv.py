"""Metrics as a table that is whole after every epoch, pictures as files beside it."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any, BinaryIO, cast

from lightning.pytorch.loggers import CSVLogger, Logger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter
from lightning.pytorch.utilities.rank_zero import rank_zero_only  # type: ignore[attr-defined]

from ptycho_config.errors import ConfigError, Problem
from ptycho_torch.atomic import atomic_write
from ptycho_torch.lightning.loggers.protocol import LoggerKind, Picture

__all__ = ["KIND"]

_IMAGES = "images"


class _TableWriter(ExperimentWriter):
    """Keeps all rows and writes the whole table: a kill during writing leaves the table as it was."""

    def __init__(self, log_dir: str, rows: list[dict[str, Any]]) -> None:
        super().__init__(log_dir)
        self.metrics = rows

    def _check_log_dir_exists(self) -> None:
        # An older table is continued or replaced as a whole.
        pass

    def save(self) -> None:
        names = sorted({name for row in self.metrics for name in row})
        with atomic_write(self.metrics_file_path, "w") as stream:
            writer = csv.DictWriter(stream, fieldnames=names, lineterminator="\n")
            writer.writeheader()
            writer.writerows(self.metrics)


class _TableLogger(CSVLogger):
    """Lightning's CSV logger, writing ``metrics.csv`` anew with every :meth:`save`.

    Parameters
    ----------
    folder
        Folder of the logs.
    continue_at
        Step from which a run is continued: rows of earlier steps stay, later ones are made again.
        ``None`` begins a new table.
    """

    def __init__(self, folder: Path, *, continue_at: int | None = None) -> None:
        super().__init__(save_dir=folder.parent, name=folder.name, version="")
        # Read before anything is written.
        self._earlier = [] if continue_at is None else _rows_before(continue_at, folder)

    @property
    def experiment(self) -> Any:
        """The table; nothing but rank zero writes one."""
        if getattr(rank_zero_only, "rank", 0) != 0:
            return super().experiment
        if self._experiment is None:
            Path(self.log_dir).mkdir(parents=True, exist_ok=True)
            self._experiment = _TableWriter(self.log_dir, self._earlier)
        return self._experiment


def _rows_before(step: int, folder: Path) -> list[dict[str, Any]]:
    """Rows of a table that was written before; none where there is no table.

    Raises
    ------
    ConfigError
        If it is damaged.
    """
    path = folder / ExperimentWriter.NAME_METRICS_FILE
    if not path.is_file():
        return []
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream, strict=True))
        kept = [{name: text for name, text in row.items() if text} for row in rows if _step_of(row) < step]
    except (ValueError, csv.Error) as error:
        hint = f"it is damaged ({error}); move it away to go on without the rows of before"
        raise ConfigError(Problem("output_dir", str(path), "a table that train wrote", hint)) from error
    return kept


def _step_of(row: dict[str | Any, Any]) -> int:
    """Step of a row, if all of it is numbers under names."""
    if None in row or not all(isinstance(text, str) for text in row.values()):
        raise ValueError("a row of another length than the first")
    for name, text in row.items():
        if text:
            float(text)
        elif name == "step":
            raise ValueError("a row without its step")
    if "step" not in row:
        raise ValueError("no column step")
    return int(row["step"])


class _Table:
    name: str | None = "csv"

    def require(self) -> Problem | None:
        return None

    def open(self, folder: Path, *, continue_at: int | None = None) -> Logger | bool:
        return _TableLogger(folder, continue_at=continue_at)

    def picture(self, logger: Logger, name: str, picture: Picture, *, epoch: int, folder: Path) -> None:
        from matplotlib.image import imsave

        path = folder / _IMAGES / f"{name}-epoch={epoch:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as stream:
            imsave(cast(BinaryIO, stream), picture, format="png")

    def relocate(self, folder: Path, destination: Path) -> None:
        pass


KIND: LoggerKind = _Table()
"""``metrics.csv``, and PNG files in ``images``."""
