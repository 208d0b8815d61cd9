"""Further processes that work beside this one in a process group of torch."""

from __future__ import annotations

import multiprocessing
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from ptycho_config import ConfigError, Problem

__all__ = ["beside", "count_devices"]


def count_devices(devices: int | str, device_type: str) -> int:
    """Processes that a setting asks for; ``"auto"`` is one.

    Raises
    ------
    ConfigError
        If there are fewer GPUs, or the device type takes one process only.
    """
    count = 1 if isinstance(devices, str) else devices
    there = {"cpu": count, "cuda": torch.cuda.device_count()}.get(device_type, 1)
    if count > there:
        hint = "take fewer devices, or the accelerator 'cpu', where every process counts as one"
        raise ConfigError(Problem("devices", devices, f"at most {there} on {device_type}", hint))
    return count


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
    """
    if count == 1:
        yield device_type
        return
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
            yield _join(0, count, device_type, store)
            for other in others:
                other.join()
        finally:
            for other in others:
                other.terminate()
                other.join()
            if distributed.is_initialized():
                distributed.destroy_process_group()


def _join(rank: int, count: int, device_type: str, store: Path) -> str:
    backend = "nccl" if device_type == "cuda" else "gloo"
    if device_type == "cuda":
        torch.cuda.set_device(rank)
    distributed.init_process_group(backend, init_method=f"file://{store}", rank=rank, world_size=count)
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
    # Ctrl-C reaches every process of a terminal; the first one decides what is kept and ends the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(max(1, threads // count))
    device = _join(rank, count, device_type, store)
    try:
        work(*arguments, device)
    finally:
        distributed.destroy_process_group()
