"""The folder of a run: never overwritten by accident, never left half replaced."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ptycho_config import ConfigError, Problem

__all__ = ["RunDirectory"]

_STAGING = "incomplete-run"


@dataclass(frozen=True)
class RunDirectory:
    """An output directory and the names a run writes into it.

    Into an empty place a run writes directly. Over an older run it writes into a subfolder and
    replaces the older results only when all its own are complete.

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
        if path.exists() and not path.is_dir():
            raise ConfigError(
                Problem("output_dir", str(path), "a directory", "this is a file; choose another")
            )
        held = [name for name in names if (path / name).exists()]
        if held and not overwrite:
            hint = "choose another directory, or overwrite to replace it"
            expected = f"a directory without the results of another run, but it holds {', '.join(held)}"
            raise ConfigError(Problem("output_dir", str(path), expected, hint))
        nearest = next(place for place in (path, *path.absolute().parents) if place.exists())
        if not nearest.is_dir():
            raise ConfigError(Problem("output_dir", str(path), f"a directory, but {nearest} is a file"))
        if not os.access(nearest, os.W_OK):
            raise ConfigError(
                Problem("output_dir", str(path), f"a writable place, but {nearest} is read-only")
            )
        return cls(path, tuple(names), path / _STAGING if held else path)

    def open(self) -> Path:
        """Create the working folder, empty of what an interrupted run left, and return it."""
        self.work.mkdir(parents=True, exist_ok=True)
        if self.work != self.path:
            for entry in self.work.iterdir():
                _remove(entry)
        return self.work

    def publish(self) -> tuple[Path, ...]:
        """Put complete results in place and return their paths, in the order of ``names``.

        Results of the older run that this run has no counterpart for are removed.
        """
        if self.work != self.path:
            for name in self.names:
                target = self.path / name
                if target.is_dir() or not (self.work / name).exists():
                    _remove(target)
                if (self.work / name).exists():
                    os.replace(self.work / name, target)
            shutil.rmtree(self.work)
        return tuple(self.path / name for name in self.names if (self.path / name).exists())


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
