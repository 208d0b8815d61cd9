"""Copies of this process that a strategy makes: told to stop, heard of, and what they hand back."""

from __future__ import annotations

import multiprocessing
import pickle
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

from lightning.pytorch.callbacks import Callback
from torch.multiprocessing.spawn import ProcessRaisedException

from ptycho_config import ConfigError, Problem, PyTorchExecutionConfig
from ptycho_torch.control import Progress, RunCancelled, ShouldStop, stage_of
from ptycho_torch.mainguard import require_main_guard
from ptycho_torch.workflows.processes.device import count_devices
from ptycho_torch.workflows.processes.distributed import is_interactive

__all__ = ["reached", "require_importable_script", "require_sendable", "starts_copies", "told_by_copy"]

_LOOK_EVERY_S = 0.05


def told_by_copy(error: ProcessRaisedException, kind: type[BaseException]) -> str | None:
    """Message of an exception that a copy has ended with, if it was of this kind.

    Nothing but the text of a failure comes back from a copy.
    """
    _, found, after = str(error).rpartition(f"{kind.__module__}.{kind.__qualname__}: ")
    return after.splitlines()[0] if found else None


def starts_copies(execution: PyTorchExecutionConfig, accelerator: str) -> bool:
    """Whether the work is done by copies of this process, which end with it, and not by this one.

    Parameters
    ----------
    execution
        Settings; in a notebook Lightning takes ``"auto"`` for a strategy that copies.
    accelerator
        Device type, resolved.
    """
    if count_devices(execution, accelerator) == 1 and execution.num_nodes == 1:
        return False
    if execution.strategy == "auto":
        return is_interactive() and execution.num_nodes == 1
    return any(word in execution.strategy for word in ("spawn", "fork", "notebook"))


def require_importable_script(execution: PyTorchExecutionConfig, accelerator: str) -> None:
    """Refuse to spawn processes for a script that would start its work again in each of them.

    Parameters
    ----------
    execution
        Says how many processes load data, and whether copies of this process share the work.
    accelerator
        Device type, resolved.

    Raises
    ------
    ConfigError
        If the script has no main guard, see :func:`ptycho_torch.mainguard.require_main_guard`.
    """
    if execution.num_workers:
        require_main_guard("num_workers", execution.num_workers, without="num_workers=0")
    if "spawn" in execution.strategy and starts_copies(execution, accelerator):
        require_main_guard("strategy", execution.strategy, without="strategy='ddp'")


def require_sendable(
    execution: PyTorchExecutionConfig,
    accelerator: str,
    *,
    generator: type,
    callbacks: Sequence[Callback] = (),
) -> None:
    """Refuse what cannot be sent to copies of this process that are spawned, before anything is written.

    Parameters
    ----------
    execution
        Settings; forked copies and processes that run the command anew are sent nothing.
    accelerator
        Device type, resolved.
    generator
        Class of the network; its weights can always be sent.
    callbacks
        Callbacks of a caller.

    Raises
    ------
    ConfigError
        With every one of them that cannot be sent.
    """
    if "spawn" not in execution.strategy or not starts_copies(execution, accelerator):
        return
    hint = "define it at the top of a module, without open files, locks or lambdas, or take strategy 'ddp'"
    expected = "what ddp_spawn can send to the processes that it starts"
    sent = [("callbacks", callback, type(callback)) for callback in callbacks]
    problems = []
    for key, thing, kind in (*sent, ("architecture", generator, generator)):
        try:
            ForkingPickler.dumps(thing)
        except (pickle.PicklingError, TypeError, AttributeError) as error:
            problems.append(Problem(key, kind.__qualname__, expected, f"{hint} ({error})"))
        except RuntimeError:
            # Locks and events of multiprocessing can be sent only while a process is being started.
            continue
    if problems:
        raise ConfigError(problems)


@contextmanager
def reached(
    what: str, should_stop: ShouldStop | None, progress: Progress | None, *, checkpoint: Path | None = None
) -> Iterator[tuple[ShouldStop | None, Progress | None]]:
    """Stand-ins for functions of this process, which copies of it can be sent.

    While the block waits for the copies, another thread of this process asks ``should_stop`` and calls
    ``progress``. What either of them raises ends the copies, and comes out of the block.

    Parameters
    ----------
    what
        What is done, for the message when it is cancelled.
    should_stop, progress
        Functions of this process. None: nobody asks, nobody hears.
    checkpoint
        File that names what a cancelled run has kept, if it is there then.

    Yields
    ------
    tuple
        Stand-ins of the two.

    Raises
    ------
    RunCancelled
        If the copies were asked to stop.
    """
    if should_stop is None and progress is None:
        with _cancellation_told(what, checkpoint):
            yield None, None
        return
    # Works with processes that are spawned and with forked ones.
    wish = multiprocessing.get_context("spawn").Event()
    mine, theirs = multiprocessing.Pipe(duplex=False)
    listener = _Listener(should_stop, progress, wish, mine)
    thread = threading.Thread(target=listener.run, daemon=True)
    thread.start()
    try:
        with _cancellation_told(what, checkpoint):
            yield wish.is_set, None if progress is None else _Report(theirs)
    finally:
        listener.over.set()
        thread.join()
        mine.close()
        theirs.close()
        if listener.failures:
            raise listener.failures[0]


@contextmanager
def _cancellation_told(what: str, checkpoint: Path | None) -> Iterator[None]:
    try:
        yield
    except ProcessRaisedException as error:
        if told_by_copy(error, RunCancelled) is None:
            raise
        kept = checkpoint if checkpoint is not None and checkpoint.exists() else None
        raise RunCancelled(what, kept) from None


@dataclass
class _Listener:
    """Asks and reports in a thread of this process, until the work is over and all that was said is heard."""

    should_stop: ShouldStop | None
    progress: Progress | None
    wish: Event
    heard: Connection
    over: threading.Event = field(default_factory=threading.Event)
    failures: list[BaseException] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._counters: dict[tuple[str, str] | None, Progress | None] = {None: self.progress}

    def run(self) -> None:
        ended = said = False
        while said or not ended:
            ended = self.over.is_set()
            try:
                said = self.heard.poll(0 if ended else _LOOK_EVERY_S)
                if said:
                    self._pass_on(*self.heard.recv())
                # Asked after every batch, and where none is reported from time to time.
                if self.should_stop is not None and not self.wish.is_set() and self.should_stop():
                    self.wish.set()
            except BaseException as error:  # noqa: BLE001 - raised by the process that waits
                self.failures.append(error)
                self.wish.set()

    def _pass_on(self, stage: tuple[str, str] | None, *said: Any) -> None:
        if stage is not None and stage not in self._counters:
            self._counters[stage] = stage_of(self.progress, *stage)
        counter = self._counters[stage]
        # After a failure the copies are heard out, and no more: they must not wait for a reader.
        if counter is not None and not self.failures:
            counter(*said)


class _Report:
    """Progress that is heard in the process that holds the other end; the first copy alone speaks."""

    def __init__(self, end: Connection) -> None:
        self.end = end

    def __call__(self, done: int, total: int, measured: float | None = None, /) -> None:
        self._say(None, done, total, measured)

    def stage(self, name: str, unit: str) -> Progress:
        return partial(self._say, (name, unit))

    def _say(
        self, stage: tuple[str, str] | None, done: int, total: int, measured: float | None = None, /
    ) -> None:
        said = (done, total) if measured is None else (done, total, measured)
        self.end.send((stage, *said))
