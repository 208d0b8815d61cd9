"""Write files so that a reader sees the old content or the new content, never a part of either."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import IO, Any, Literal

__all__ = ["TEMPORARY_SUFFIX", "atomic_path", "atomic_write"]

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
    temporary = target.with_name(f".{target.name}.{os.getpid()}-{secrets.token_hex(4)}{TEMPORARY_SUFFIX}")
    try:
        # Created here rather than by tempfile, whose files are readable by their owner only.
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        yield temporary
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
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


def _no_room(error: OSError, temporary: Path) -> str:
    """What a file takes at least, and what there is for it; the temporary file is removed by this."""
    written = temporary.stat().st_size if temporary.exists() else 0
    temporary.unlink(missing_ok=True)
    free = shutil.disk_usage(temporary.parent).free / _MEGA
    there = "that is the largest file that may be written here (ulimit -f)"
    if error.errno != errno.EFBIG:
        there = f"{free:.3g} MB are free in {temporary.parent}"
    return f"{os.strerror(error.errno or 0)}: it takes more than {written / _MEGA:.3g} MB, and {there}"
