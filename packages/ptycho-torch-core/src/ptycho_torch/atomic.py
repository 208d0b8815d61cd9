"""Write files so that a reader sees the old content or the new content, never a part of either."""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import IO, Any, Literal

try:
    import fcntl
except ImportError:  # pragma: no cover - without locks nobody can tell which files are abandoned
    fcntl = None  # type: ignore[assignment]

__all__ = ["TEMPORARY_SUFFIX", "atomic_path", "atomic_write", "take_lock"]

TEMPORARY_SUFFIX = ".tmp"
"""End of the name of a file that is being written; the name begins with a dot."""


_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_MEGA = 1e6


@contextmanager
def atomic_write(
    path: str | PathLike[str], mode: Literal["wb", "w"] = "wb", *, buffering: int = -1
) -> Iterator[IO[Any]]:
    """Open a temporary file beside ``path`` that takes its place when the block ends well.

    The temporary name starts with a dot and ends with ``.tmp``, so that patterns like ``*.npz`` never match
    it. It lies in the directory of ``path`` because a rename is atomic only within one file system. When the
    block raises, the temporary file is removed and an existing ``path`` keeps its content.

    Parameters
    ----------
    path
        File to create or replace. A symbolic link is followed: the file it points to is replaced.
    mode
        ``"wb"`` for bytes, which can be read again, ``"w"`` for UTF-8 text with ``\\n`` line ends.
    buffering
        As for :func:`open`.

    Yields
    ------
    file object
        Open for writing. Libraries that derive a format from a file name must be told the format.

    Raises
    ------
    FileNotFoundError
        The directory of ``path`` does not exist.
    IsADirectoryError
        ``path`` is a directory.
    ValueError
        ``mode`` is neither of the two.

    Examples
    --------
    >>> import json, tempfile
    >>> target = Path(tempfile.mkdtemp()) / "result.json"
    >>> with atomic_write(target, "w") as stream:
    ...     json.dump({"error": 0.1}, stream)
    >>> target.read_text()
    '{"error": 0.1}'
    """
    if mode not in ("wb", "w"):
        raise ValueError(f"mode: expected 'wb' or 'w', got {mode!r}")
    text: dict[str, Any] = {} if mode == "wb" else {"encoding": "utf-8", "newline": "\n"}
    how = "w+b" if mode == "wb" else mode
    with atomic_path(path) as temporary, temporary.open(how, buffering, **text) as stream:
        yield stream


@contextmanager
def atomic_path(path: str | PathLike[str]) -> Iterator[Path]:
    """Name of an empty temporary file beside ``path`` that takes its place when the block ends well.

    What writers of the same file left behind that were killed is removed first: who writes holds a lock.

    For libraries that open files by name; `atomic_write` is for all others. The block closes the file.

    Parameters
    ----------
    path
        File to create or replace. A symbolic link is followed: the file it points to is replaced.

    Yields
    ------
    Path
        The temporary file.

    Raises
    ------
    FileNotFoundError
        The directory of ``path`` does not exist.
    IsADirectoryError
        ``path`` is a directory.
    """
    target = Path(os.path.realpath(path))
    if not target.parent.is_dir():
        raise FileNotFoundError(f"{target.parent}: no such directory; create it before writing {target.name}")
    if target.is_dir():
        raise IsADirectoryError(f"{target}: is a directory; give the name of a file")
    _clear_abandoned(target)
    temporary, descriptor = _create(target, os.fspath(path))
    try:
        yield temporary
        os.fsync(descriptor)
        os.replace(temporary, target)
    except OSError as error:
        ours = error.filename is None or str(error.filename) == str(temporary)
        if ours and error.errno in _NO_ROOM:
            raise OSError(error.errno, _no_room(error, temporary), os.fspath(path)) from error
        if not ours or error.filename is None:
            raise
        # Nobody knows the temporary name.
        raise OSError(error.errno, error.strerror, os.fspath(path)) from error
    finally:
        # After a successful rename the temporary name is gone; whatever is left here is an unfinished file.
        temporary.unlink(missing_ok=True)
        os.close(descriptor)


def _create(target: Path, asked: str) -> tuple[Path, int]:
    """A new temporary file for a target, and its open descriptor, which holds the lock."""
    while True:
        name = f".{target.name}.{os.getpid()}-{secrets.token_hex(4)}{TEMPORARY_SUFFIX}"
        temporary = target.with_name(name)
        try:
            # Created here rather than by tempfile, whose files are readable by their owner only.
            descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        except OSError as error:
            if error.errno in _NO_ROOM:
                raise OSError(error.errno, _no_room(error, temporary), asked) from error
            raise OSError(error.errno, error.strerror, asked) from error
        # Between the creation and the lock, somebody may have taken the file for an abandoned one.
        if take_lock(descriptor) is not False and temporary.exists():
            return temporary, descriptor
        os.close(descriptor)


def take_lock(descriptor: int) -> bool | None:
    """Take the lock of an open file: whether it was taken; None where the file system has none.

    The system releases it when the file is closed, or its process dies.
    """
    if fcntl is None:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return False if error.errno in (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES) else None
    return True


def _clear_abandoned(target: Path) -> None:
    """Remove temporary files of a target whose writers are gone."""
    named = re.compile(re.escape(f".{target.name}.") + rf"\d+-[0-9a-f]{{8}}{re.escape(TEMPORARY_SUFFIX)}")
    try:
        left = [target.with_name(name) for name in os.listdir(target.parent) if named.fullmatch(name)]
    except PermissionError:
        # A folder may be written to by who may not look into it.
        return
    for path in left:
        try:
            descriptor = os.open(path, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
        except OSError:
            # Of somebody else, a link, or gone already.
            continue
        try:
            if take_lock(descriptor):
                path.unlink(missing_ok=True)
        finally:
            os.close(descriptor)


def _no_room(error: OSError, temporary: Path) -> str:
    """What a file takes at least, and what there is for it; the temporary file is removed by this."""
    written = temporary.stat().st_size if temporary.exists() else 0
    temporary.unlink(missing_ok=True)
    free = shutil.disk_usage(temporary.parent).free / _MEGA
    there = "that is the largest file that may be written here (ulimit -f)"
    if error.errno != errno.EFBIG:
        there = f"{free:.3g} MB are free in {temporary.parent}"
    return f"{os.strerror(error.errno or 0)}: it takes more than {written / _MEGA:.3g} MB, and {there}"
