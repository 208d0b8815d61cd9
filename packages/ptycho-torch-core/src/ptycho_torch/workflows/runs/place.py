"""Whether a directory can be written to, and what to say when it cannot."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ptycho_config import ConfigError, Problem

__all__ = ["disk_errors_explained", "make_folders", "remove_empty_folders", "require_place"]

_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.EFBIG}


def require_place(path: Path) -> None:
    """Refuse a place where no directory can be made or written; writes nothing.

    Raises
    ------
    ConfigError
        If it is a file, lies in one, or is write-protected.
    """
    if path.exists() and not path.is_dir():
        raise ConfigError(Problem("output_dir", str(path), "a directory", "this is a file; choose another"))
    nearest = next(place for place in (path, *path.absolute().parents) if place.exists())
    if not nearest.is_dir():
        raise ConfigError(Problem("output_dir", str(path), f"a directory, but {nearest} is a file"))
    if not os.access(nearest, os.W_OK):
        raise ConfigError(Problem("output_dir", str(path), f"a writable place, but {nearest} is read-only"))


def make_folders(path: Path) -> list[Path]:
    """Create a directory; returns those that were not there, the innermost first.

    Raises
    ------
    ConfigError
        If that is not possible.
    """
    missing = [place for place in (path, *path.parents) if not place.exists()]
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EIO}:
            raise
        raise ConfigError(Problem("output_dir", str(path), "a writable place", str(error))) from error
    return missing


def remove_empty_folders(folders: Sequence[Path]) -> None:
    """Remove directories in which nothing was left, the innermost first."""
    for folder in folders:
        if any(folder.iterdir()):
            return
        folder.rmdir()


@contextmanager
def disk_errors_explained(folder: Path, *, resumable: bool) -> Iterator[None]:
    """Say what is left on a disk that is full or write-protected, and how to go on.

    Parameters
    ----------
    folder
        Output directory, as it was given. Errors about other places stay as they are.
    resumable
        Whether the run can be resumed.

    Raises
    ------
    OSError
        Of the same number.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _DISK or _is_elsewhere(error.filename, folder):
            raise
        again = "mend that and resume (--resume)" if resumable else "mend that and start again"
        text = f"{error.strerror or os.strerror(error.errno)}; what was written before is whole: {again}"
        raise OSError(error.errno, text, str(folder)) from error


def _is_elsewhere(name: object, folder: Path) -> bool:
    if not isinstance(name, str | bytes | os.PathLike):
        return False
    place = Path(os.fsdecode(os.path.realpath(name)))
    return not place.is_relative_to(os.path.realpath(folder))
