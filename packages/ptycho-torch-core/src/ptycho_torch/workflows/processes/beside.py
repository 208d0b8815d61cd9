"""Further processes that work beside this one in a process group of torch."""

from __future__ import annotations

import multiprocessing
import signal
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from ptycho_torch.mainguard import require_main_guard
from ptycho_torch.workflows.processes.meeting import forget_failed_meetings

__all__ = ["ProcessDied", "beside"]

_LOOK_EVERY_S = 0.05
_END_AFTER_CLOSING_S = 10.0


class ProcessDied(RuntimeError):
    """A process that shared the work ended before the work was done.

    Attributes
    ----------
    number, count
        Which one of how many, from 1.
    exit_code
        What it ended with; the negative number of the signal that killed it.
    """

    def __init__(self, number: int, count: int, exit_code: int) -> None:
        self.number, self.count, self.exit_code = number, count, exit_code
        how = f"exit code {exit_code}" if exit_code >= 0 else f"killed by {_signal_name(-exit_code)}"
        hint = "; the memory may be too small for so many" if exit_code == -signal.SIGKILL else ""
        super().__init__(f"process {number} of {count} ended before the work was done ({how}{hint})")

    def __reduce__(self) -> tuple[type[ProcessDied], tuple[int, int, int]]:
        return type(self), (self.number, self.count, self.exit_code)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


@contextmanager
def beside(
    count: int, device_type: str, work: Callable[..., object], arguments: tuple[Any, ...]
) -> Iterator[str]:
    """Run ``work(*arguments, device)`` in ``count - 1`` new processes while the block runs in this one.

    All of them form one process group, in which this process has rank 0. When the block ends, however it
    ends, the others are ended too. Each gets its own copy of the arguments.

    Parameters
    ----------
    count
        Processes in all; with 1 nothing is started and no group is made.
    device_type
        ``"cpu"`` joins them by gloo, ``"cuda"`` by NCCL with one GPU each.
    work
        A function of a module; sees every collective call that the block makes.
    arguments
        Can be pickled.

    Yields
    ------
    str
        Device of this process.

    Raises
    ------
    ConfigError
        If the script of the user has no main guard.
    ProcessDied
        If one of the others ends before it has joined, or before the work is done.
    """
    if count == 1:
        yield device_type
        return
    require_main_guard("devices", count, without="devices=1")
    # A fork would copy the threads of torch in an unknown state.
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="ptycho-") as folder:
        store = Path(folder) / "store"
        others = [
            context.Process(
                target=_run, args=(rank, count, device_type, store, torch.get_num_threads(), work, arguments)
            )
            for rank in range(1, count)
        ]
        for other in others:
            other.start()
        try:
            _await(others, store)
            try:
                yield _join(0, count, device_type, store)
            except RuntimeError:
                # Of a process that is gone, the others see a closed connection, and its end only later.
                _require_sound(others, patience_s=_END_AFTER_CLOSING_S)
                raise
            for other in others:
                other.join()
            _require_sound(others)
        finally:
            for other in others:
                other.kill()
                other.join()
            if distributed.is_initialized():
                distributed.destroy_process_group()


def _await(others: Sequence[BaseProcess], store: Path) -> None:
    """Wait until all others are about to join; waiting inside of torch would not see that one is gone."""
    there = _meeting_place(store, len(others) + 1)
    keys = [_arrival(rank) for rank in range(1, len(others) + 1)]
    while not there.check(keys):
        # Nobody can have finished yet: whoever has ended is missing.
        _require_sound(others, patience_s=_LOOK_EVERY_S, may_have_finished=False)


def _meeting_place(store: Path, count: int) -> Any:
    return distributed.FileStore(str(store), count)  # type: ignore[attr-defined]


def _arrival(rank: int) -> str:
    return f"arrived/{rank}"


def _require_sound(
    others: Sequence[BaseProcess], *, patience_s: float = 0.0, may_have_finished: bool = True
) -> None:
    ended = wait([other.sentinel for other in others], patience_s)
    for other in others:
        if other.sentinel in ended:
            # The system closes what a process has open, the sentinel too, before it knows the exit code.
            other.join()
    for number, other in enumerate(others, start=2):
        if other.exitcode is not None and not (may_have_finished and other.exitcode == 0):
            raise ProcessDied(number, len(others) + 1, other.exitcode)


def _join(rank: int, count: int, device_type: str, store: Path) -> str:
    backend = "nccl" if device_type == "cuda" else "gloo"
    if device_type == "cuda":
        torch.cuda.set_device(rank)
    forget_failed_meetings()
    meeting = _meeting_place(store, count)
    meeting.set(_arrival(rank), "")
    distributed.init_process_group(backend, store=meeting, rank=rank, world_size=count)
    return f"cuda:{rank}" if device_type == "cuda" else device_type


def _run(
    rank: int,
    count: int,
    device_type: str,
    store: Path,
    threads: int,
    work: Callable[..., object],
    arguments: tuple[Any, ...],
) -> None:
    # Ctrl-C reaches every process of a terminal, SIGTERM of a batch system every process of a job; the first
    # one decides what is kept and ends the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    torch.set_num_threads(max(1, threads // count))
    device = _join(rank, count, device_type, store)
    try:
        work(*arguments, device)
    finally:
        distributed.destroy_process_group()
