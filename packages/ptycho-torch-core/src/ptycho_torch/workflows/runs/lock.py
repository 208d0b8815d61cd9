"""One run at a time writes to a directory; who it is stands in ``.run.lock``."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ptycho_config import ConfigError, Problem
from ptycho_torch.atomic import take_lock

__all__ = ["LOCK_NAME", "held_lock", "require_nobody_at_work"]

LOCK_NAME = ".run.lock"
"""File that exists while a run writes to a directory, or since one was killed there."""

_TRIES = 20


@contextmanager
def held_lock(folder: Path, command: str) -> Iterator[None]:
    """Hold the lock of an existing directory.

    The system releases the lock of a process that dies. On file systems without such locks, and for
    processes of another machine, what the file says decides.

    Parameters
    ----------
    folder
        Directory that is written to.
    command
        Told to others that want to write there.

    Raises
    ------
    ConfigError
        If another run is at work there, or may be.
    OSError
        If the file cannot be written.
    """
    descriptor = _acquire(folder, command)
    try:
        yield
    finally:
        (folder / LOCK_NAME).unlink(missing_ok=True)
        os.close(descriptor)


def require_nobody_at_work(folder: Path) -> None:
    """Refuse a directory that another run is writing to; writes nothing.

    Raises
    ------
    ConfigError
        If another run is at work there, or may be.
    """
    path = folder / LOCK_NAME
    _refuse_link(path, folder)
    try:
        descriptor = os.open(path, os.O_RDWR)
    except OSError:
        # None is there, or it cannot be opened, which is explained when the run wants to write.
        return
    try:
        _require_free(descriptor, folder)
    finally:
        os.close(descriptor)


def _acquire(folder: Path, command: str) -> int:
    path = folder / LOCK_NAME
    _refuse_link(path, folder)
    for _ in range(_TRIES):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _require_free(descriptor, folder)
            if _is_still(descriptor, path):
                _sign(descriptor, command)
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        # Whoever held it removed the file between the opening and the locking.
        os.close(descriptor)
    raise _busy(folder, {})


def _require_free(descriptor: int, folder: Path) -> None:
    """Take the lock, and refuse the directory if another process has it or may have it."""
    locks = take_lock(descriptor)
    owner = _owner(descriptor)
    if locks is False:
        raise _busy(folder, owner)
    if not owner:
        return
    if owner.get("host") != socket.gethostname():
        raise _unknown(folder, owner)
    if locks is None and _is_alive(owner.get("pid")):
        raise _busy(folder, owner)


def _is_still(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _sign(descriptor: int, command: str) -> None:
    owner = {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "command": command,
        "since": datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
    }
    os.ftruncate(descriptor, 0)
    os.lseek(descriptor, 0, os.SEEK_SET)
    os.write(descriptor, json.dumps(owner).encode())


def _owner(descriptor: int) -> dict[str, Any]:
    try:
        os.lseek(descriptor, 0, os.SEEK_SET)
        owner = json.loads(os.read(descriptor, 4096))
    except ValueError:
        # Empty, or of a process that died while it signed.
        return {}
    return owner if isinstance(owner, dict) else {}


def _is_alive(pid: Any) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, ValueError, TypeError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _said(owner: dict[str, Any]) -> str:
    if not owner:
        return "another run"
    command, pid, host, since = (owner.get(key, "?") for key in ("command", "pid", "host", "since"))
    return f"{command} (process {pid} on {host}, since {since})"


def _busy(folder: Path, owner: dict[str, Any]) -> ConfigError:
    expected = f"a directory that no other run writes to, but {_said(owner)} is at work there"
    return ConfigError(
        Problem("output_dir", str(folder), expected, "wait for it, or choose another directory")
    )


def _unknown(folder: Path, owner: dict[str, Any]) -> ConfigError:
    expected = f"a directory that no other run writes to, but {_said(owner)} may be at work there"
    hint = (
        f"a process of another machine cannot be checked from here: wait for it, or remove {LOCK_NAME} "
        "in the directory if it has ended"
    )
    return ConfigError(Problem("output_dir", str(folder), expected, hint))


def _refuse_link(path: Path, folder: Path) -> None:
    if path.is_symlink():
        expected = f"a directory of its own, but {path.name} in it is a link"
        raise ConfigError(Problem("output_dir", str(folder), expected, "remove the link"))
