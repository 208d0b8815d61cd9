"""The folder of a run: never overwritten by accident, never left half replaced."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ptycho_config import ConfigError, Problem
from ptycho_torch.atomic import TEMPORARY_SUFFIX, atomic_write

__all__ = ["RESOLVED_NAME", "RunDirectory", "disk_errors_explained", "find_run", "is_unfinished"]

RESOLVED_NAME = "resolved_config.json"
"""Settings of a run, the first file that it writes."""

_STAGING = "incomplete-run"
# Lists what a complete run is about to put in place of an older one.
_MARK = "complete.json"
_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.EFBIG}


@dataclass(frozen=True)
class RunDirectory:
    """An output directory and the names a run writes into it.

    Into an empty place a run writes directly. Over an older run it writes into a subfolder and
    replaces the older results only when all its own are complete. A replacement that was killed is
    completed by whoever comes next.

    Attributes
    ----------
    path
        Output directory.
    names
        Files and folders the run writes.
    work
        Where the run writes until it is complete.
    """

    path: Path
    names: tuple[str, ...]
    work: Path

    @classmethod
    def check(cls, path: Path, names: Sequence[str], *, overwrite: bool) -> RunDirectory:
        """Decide where a run may write; writes nothing.

        Raises
        ------
        ConfigError
            If the directory holds results and ``overwrite`` is off, if the path is a file, or if
            it cannot be written.
        """
        _require_place(path)
        held = [name for name in names if (path / name).exists()]
        if held and not overwrite:
            hint = "choose another directory, or replace the results with --overwrite (overwrite=True)"
            if "checkpoints" in held:
                hint += "; --resume (resume=True) continues a training that was interrupted"
            expected = f"a directory without the results of another run, but it holds {', '.join(held)}"
            raise ConfigError(Problem("output_dir", str(path), expected, hint))
        return cls(path, tuple(names), path / _STAGING if held else path)

    @classmethod
    def resume(cls, path: Path, names: Sequence[str]) -> RunDirectory:
        """Find the run to go on with; writes nothing.

        Parameters
        ----------
        path, names
            As for :meth:`check`.

        Raises
        ------
        ConfigError
            If there is no run, or the directory cannot be written.
        """
        _require_place(path)
        found = find_run(path)
        if found is None:
            hint = "leave resume away to start one"
            expected = f"the directory of a run, with its {RESOLVED_NAME}, to resume"
            raise ConfigError(Problem("output_dir", str(path), expected, hint))
        return cls(path, tuple(names), found)

    def reopen(self) -> Path:
        """Return the working folder with all that a run has left there, but for unfinished files."""
        self._finish_publishing()
        folders = [self.work / name for name in self.names if (self.work / name).is_dir()]
        for entry in (*self.work.iterdir(), *(entry for folder in folders for entry in folder.rglob("*"))):
            if is_unfinished(entry):
                entry.unlink()
        return self.work

    def open(self) -> Path:
        """Create the working folder, empty of what an interrupted run left, and return it."""
        self._finish_publishing()
        try:
            self.work.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            if error.errno in _DISK:
                raise
            raise ConfigError(
                Problem("output_dir", str(self.path), "a writable place", str(error))
            ) from error
        if self.work != self.path:
            for entry in self.work.iterdir():
                _remove(entry)
        return self.work

    def publish(self) -> tuple[Path, ...]:
        """Put complete results in place and return their paths, in the order of ``names``.

        Results of the older run that this run has no counterpart for are removed.
        """
        if self.work != self.path:
            with atomic_write(self.work / _MARK, "w") as stream:
                json.dump([name for name in self.names if (self.work / name).exists()], stream)
            self._finish_publishing()
        return tuple(self.path / name for name in self.names if (self.path / name).exists())

    def _finish_publishing(self) -> None:
        staging = self.path / _STAGING
        mark = staging / _MARK
        if not mark.is_file():
            return
        new = json.loads(mark.read_text())
        for name in self.names:
            target = self.path / name
            if (staging / name).exists():
                if target.is_dir():
                    _remove(target)
                os.replace(staging / name, target)
            elif name not in new:
                _remove(target)
        shutil.rmtree(staging)


def find_run(path: Path) -> Path | None:
    """Folder of the run in an output directory that would be continued, or ``None``.

    Parameters
    ----------
    path
        Output directory.
    """
    staging = path / _STAGING
    if (staging / _MARK).is_file():
        # Complete, and only not yet in its place.
        return path
    return next((folder for folder in (staging, path) if (folder / RESOLVED_NAME).is_file()), None)


def is_unfinished(path: Path) -> bool:
    """Whether a file is what an interrupted atomic write left behind."""
    return path.name.startswith(".") and path.name.endswith(TEMPORARY_SUFFIX) and path.is_file()


@contextmanager
def disk_errors_explained(folder: Path) -> Iterator[None]:
    """Say of a disk that is full, or may not be written, what is left and how to go on.

    Raises
    ------
    OSError
        Of the same number.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _DISK:
            raise
        text = (
            f"{os.strerror(error.errno)}; what was written before is whole: mend that and resume (--resume)"
        )
        raise OSError(error.errno, text, str(folder)) from error


def _require_place(path: Path) -> None:
    if path.exists() and not path.is_dir():
        raise ConfigError(Problem("output_dir", str(path), "a directory", "this is a file; choose another"))
    nearest = next(place for place in (path, *path.absolute().parents) if place.exists())
    if not nearest.is_dir():
        raise ConfigError(Problem("output_dir", str(path), f"a directory, but {nearest} is a file"))
    if not os.access(nearest, os.W_OK):
        raise ConfigError(Problem("output_dir", str(path), f"a writable place, but {nearest} is read-only"))


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
