"""Run commands in forks of one process that has imported everything and computed nothing.

A fork costs what its command computes, and no imports. It can be killed at a time, or just before one of its
steps on the disk; its processor time and its memory are measured by the system.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import pkgutil
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

__all__ = [
    "MEMORY_BYTES",
    "Ended",
    "Work",
    "command",
    "counting_steps",
    "killed_at_step",
    "run",
    "small_disk",
    "warm_up",
]

MEMORY_BYTES = 2 * 2**30
"""Memory that a case may take above what its fork begins with."""

_ROOM_BYTES = 4 * 2**30
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_CHANGES = ("os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.truncate", "os.link", "os.symlink")
_LATE = (
    *("torch", "h5py", "lightning.pytorch", "fsspec.implementations.chained", "scipy.spatial", "scipy.fft"),
    *("scipy.ndimage", "skimage.metrics", "skimage.restoration", "matplotlib.pyplot", "PIL.PngImagePlugin"),
    *("matplotlib.backends.backend_agg", "tqdm", "tomllib", "sqlite3", "encodings.cp437"),
)
_LOOK_EVERY_S = 0.005
_FAILED = 70

Work = Callable[[], Any]


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a fork has ended.

    Attributes
    ----------
    code
        Exit code; the negative number of the signal that killed it.
    answer
        What the work returned, as JSON knows it; None if it did not return.
    said
        Standard output and standard error.
    cpu_s, wall_s
        Time it took; s.
    memory_bytes
        Largest resident memory, less what the fork began with.
    """

    code: int
    answer: Any = None
    said: str = field(default="", repr=False)
    cpu_s: float = 0.0
    wall_s: float = 0.0
    memory_bytes: int = 0


def warm_up() -> None:
    """Import what the commands import late; nothing is computed, so no threads are started.

    Figures are built and saved, but small and with nothing drawn on them: letters and pixels take longer
    than all the rest. What is there is taken from the collector of garbage, which would look at all of it,
    and so copy it, in every fork.
    """
    for name in (*_LATE, *_modules_of("ptycho_config", "ptycho_torch", "ptycho_torch_cli")):
        import_module(name)
    from matplotlib.figure import Figure
    from PIL import Image
    from skimage.metrics import structural_similarity  # noqa: F401  loaded when it is asked for
    from skimage.restoration import unwrap_phase  # noqa: F401

    from ptycho_torch.plotting import style

    Image.preinit()
    style._DPI = 10
    Figure.draw = lambda figure, renderer: None  # type: ignore[method-assign]
    gc.collect()
    gc.freeze()


def _modules_of(*packages: str) -> Iterator[str]:
    """All modules of packages."""
    for name in packages:
        for found in pkgutil.walk_packages(import_module(name).__path__, f"{name}."):
            yield found.name


def command(words: list[str]) -> Work:
    """A command line as work that returns its exit code."""

    def work() -> int:
        from ptycho_torch_cli.__main__ import main

        return main(words)

    return work


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def _address_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def run(
    work: Work, *, kill_after_s: float | None = None, wall_s: float = 900.0, limited: bool = False
) -> Ended:
    """Do something in a fork of this process.

    Parameters
    ----------
    work
        Returns something that JSON knows.
    kill_after_s
        Kill it after this time, unless it has ended by then.
    wall_s
        It hangs if it takes longer than this, and is killed.
    limited
        Whether a limit on the memory keeps the machine from harm.
    """
    reader, writer = os.pipe()
    with tempfile.TemporaryFile() as said, tempfile.TemporaryDirectory(prefix="cwd-") as empty:
        started = time.perf_counter()
        child = os.fork()
        if child == 0:
            os.close(reader)
            _be_the_child(work, writer, said.fileno(), empty, limited=limited)
        os.close(writer)
        limit = wall_s if kill_after_s is None else kill_after_s
        status, usage = _await(child, started + limit)
        wall = time.perf_counter() - started
        with os.fdopen(reader) as stream:
            text = stream.read()
        said.seek(0)
        words = said.read().decode(errors="replace")
        if any(Path(empty).iterdir()):
            words += "\nwritten where it was started: " + ", ".join(os.listdir(empty))
    first, _, text = text.partition("\n")
    return Ended(
        code=os.waitstatus_to_exitcode(status),
        answer=json.loads(text) if text.endswith("\n") else None,
        said=words,
        cpu_s=usage.ru_utime + usage.ru_stime,
        wall_s=wall,
        memory_bytes=max(0, usage.ru_maxrss * 1024 - int(first or 0)),
    )


def _await(child: int, end: float) -> tuple[int, Any]:
    while True:
        done, status, usage = os.wait4(child, os.WNOHANG)
        if done:
            return status, usage
        if time.perf_counter() > end:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
            _, status, usage = os.wait4(child, 0)
            return status, usage
        time.sleep(_LOOK_EVERY_S)


def _be_the_child(work: Work, writer: int, said: int, empty: str, *, limited: bool) -> None:
    code = _FAILED
    try:
        os.write(writer, f"{_resident_bytes()}\n".encode())
        os.dup2(said, 1)
        os.dup2(said, 2)
        os.chdir(empty)
        if limited:
            room = _address_bytes() + _ROOM_BYTES
            resource.setrlimit(resource.RLIMIT_AS, (room, room))
        answer = work()
        sys.stdout.flush()
        with os.fdopen(writer, "w") as stream:
            stream.write(json.dumps(answer) + "\n")
        code = 0
    except BaseException:  # noqa: BLE001  whatever it is, it is to be seen
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(code)


def killed_at_step(folder: Path, number: int, work: Work) -> Work:
    """The work, which kills its process just before its step of this number on the disk under a folder."""

    def killed() -> Any:
        steps = 0

        def hook(event: str, arguments: tuple[Any, ...]) -> None:
            nonlocal steps
            if _is_step(event, arguments, folder):
                steps += 1
                if steps == number:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        return work()

    return killed


def counting_steps(folder: Path, work: Work) -> Work:
    """The work, which returns how many steps it took on the disk under a folder, beside its answer."""

    def counted() -> list[Any]:
        steps = 0

        def hook(event: str, arguments: tuple[Any, ...]) -> None:
            nonlocal steps
            steps += _is_step(event, arguments, folder)

        sys.addaudithook(hook)
        answer = work()
        return [steps, answer]

    return counted


def _is_step(event: str, arguments: tuple[Any, ...], folder: Path) -> bool:
    changes = event in _CHANGES
    opens = event == "open" and isinstance(arguments[2], int) and bool(arguments[2] & _WRITES)
    return (changes or opens) and str(arguments[0]).startswith(str(folder))


@contextlib.contextmanager
def small_disk(place: Path, room_bytes: int) -> Iterator[None]:
    """A disk of this size at an existing folder.

    Raises
    ------
    PermissionError
        Only root may mount one.
    """
    pages = max(1, -(-room_bytes // 4096))
    words = ["mount", "-t", "tmpfs", "-o", f"size={4 * pages}k", "tmpfs", str(place)]
    if subprocess.run(words, capture_output=True, check=False).returncode:
        raise PermissionError("a small disk can be mounted by root only")
    try:
        yield
    finally:
        subprocess.run(["umount", str(place)], check=True)


def enlarge_disk(place: Path, room_bytes: int) -> None:
    """Give a disk of `small_disk` more room."""
    words = ["mount", "-o", f"remount,size={room_bytes // 1024}k", str(place)]
    subprocess.run(words, check=True, capture_output=True)


def copy_of(original: Path, target: Path) -> Path:
    """A copy of a file or folder, in place of what is there."""
    if target.is_dir():
        shutil.rmtree(target)
    else:
        target.unlink(missing_ok=True)
    copy = shutil.copytree if original.is_dir() else shutil.copy
    copy(original, target)
    return target
