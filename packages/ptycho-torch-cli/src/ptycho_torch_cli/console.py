"""What a command says and how it ends: exit codes, error lines, warnings, log lines, progress."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ptycho_config import ConfigError
from ptycho_torch_cli.early import INTERRUPTED
from ptycho_torch_cli.parsers import CommandParser
from ptycho_torch_cli.signals import interruptible

__all__ = [
    "ProgressDisplay",
    "UsageError",
    "calm_lightning",
    "is_first_process",
    "note",
    "progress_of",
    "run_command",
]

_OURS = ("ptycho_torch", "ptycho_config", "ptycho_torch_cli")
_CHATTY = (
    r"(lightning|pytorch_lightning|lightning_fabric|lightning_utilities|torch|torchmetrics|tensorboard)\b"
)
# What a run may end with; anything else is a defect of the program, whose traceback is worth seeing.
_FAILURES = (ValueError, OSError, RuntimeError, ImportError, ArithmeticError, MemoryError, Warning)


class UsageError(Exception):
    """The command line asks for something that cannot be, such as a file that is not there."""


def is_first_process() -> bool:
    """Whether this is the only process of a run, or the first; the others repeat its words.

    Read from what torchrun, SLURM and Lightning set for the processes they start.
    """
    numbers = (os.environ.get(name) for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID"))
    return next((int(number) for number in numbers if number is not None), 0) == 0


def note(text: str) -> None:
    """Write a line for people to standard error."""
    print(text, file=sys.stderr, flush=True)


def run_command(
    parser: CommandParser, work: Callable[[argparse.Namespace], int], argv: Sequence[str] | None
) -> int:
    """Parse a command line, do the work, and turn what happens into an exit code.

    Parameters
    ----------
    parser
        Parser of the command.
    work
        Does the job and returns the exit code. What was typed is in the ``command_line`` of its argument.
    argv
        Arguments without the name of the program; None takes those of the process.

    Returns
    -------
    int
        0 done, 1 the run failed, 2 wrong usage or settings, 130 interrupted.
    """
    try:
        code = _parse_and_work(parser, work, argv)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader went away, as in `... | head`; without this, Python complains again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code


def _parse_and_work(
    parser: CommandParser, work: Callable[[argparse.Namespace], int], argv: Sequence[str] | None
) -> int:
    typed = list(sys.argv[1:] if argv is None else argv)
    try:
        args = parser.parse_args(typed)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 0
    args.command_line = [*parser.prog.split(), *typed]
    # Threads that spin while they wait take the processor from other programs, which on a shared machine
    # slows both several times. Read by OpenMP when torch is loaded, so it is set before that.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    quiet = getattr(args, "quiet", False) or getattr(args, "disable_mlflow", False)
    with _messages(quiet=quiet or not is_first_process()):
        if not is_first_process():
            warnings.simplefilter("ignore")
        try:
            with interruptible(note):
                return work(args)
        except (ConfigError, UsageError) as error:
            code, text = 2, str(error)
            trace = traceback.format_exc()
        except KeyboardInterrupt as error:
            return _interrupted(parser.prog, error)
        except BrokenPipeError:
            raise
        except _FAILURES as error:
            code, text = 1, _said(error)
            trace = traceback.format_exc()
        if args.traceback:
            note(trace.rstrip())
        note(f"{parser.prog}: {text}")
        return code


def _said(error: BaseException) -> str:
    if isinstance(error, PermissionError) and error.filename is not None:
        return f"{error.filename}: no permission to read or write this; ask its owner for it"
    return str(error) or type(error).__name__


def _interrupted(prog: str, error: KeyboardInterrupt) -> int:
    # Core says in its own exception what was kept; it is not imported here, because it would bring torch.
    checkpoint = getattr(error, "checkpoint", None)
    if checkpoint is None:
        kept = "nothing was kept"
    elif str(checkpoint).endswith(".ckpt"):
        kept = f"--resume goes on; the last checkpoint is kept: {checkpoint}"
    elif getattr(error, "is_resumable", False):
        kept = f"--resume goes on; what was reached is kept: {checkpoint}"
    else:
        kept = f"what was reached is kept: {checkpoint}"
    note(f"{prog}: interrupted; {kept}")
    return INTERRUPTED


def _warning_line(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    return f"{category.__name__}: {message}\n"


@contextlib.contextmanager
def _messages(*, quiet: bool) -> Iterator[None]:
    """Show our own warnings and log lines, each once and on one line, and no chatter of libraries."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    before = []
    for name in _OURS:
        logger = logging.getLogger(name)
        before.append((logger, logger.level, logger.propagate))
        logger.addHandler(handler)
        logger.setLevel(logging.WARNING if quiet else logging.INFO)
        logger.propagate = False
    usual = warnings.formatwarning
    with warnings.catch_warnings():
        if not sys.warnoptions:
            warnings.simplefilter("default")
            warnings.filterwarnings("ignore", module=_CHATTY)
            for category in (ImportWarning, PendingDeprecationWarning, ResourceWarning):
                warnings.simplefilter("ignore", category)
        show = warnings.showwarning

        def show_as_line(*args: Any, **rest: Any) -> None:
            # Lightning puts a format of its own in place when it is loaded, which names source files.
            warnings.formatwarning = _warning_line
            show(*args, **rest)

        warnings.showwarning = show_as_line
        try:
            yield
        finally:
            warnings.formatwarning = usual
            for logger, level, propagate in before:
                logger.removeHandler(handler)
                logger.setLevel(level)
                logger.propagate = propagate


@contextlib.contextmanager
def calm_lightning() -> Iterator[None]:
    """Keep Lightning's bars off standard output."""
    with contextlib.redirect_stdout(sys.stderr):
        yield


class ProgressDisplay:
    """Progress through a known number of items: a bar on a terminal, a line now and then elsewhere.

    Parameters
    ----------
    unit
        What is counted, in the singular, such as "pattern".
    name
        What is being done, such as "predicting".
    interval_s
        Least time between two lines; s. The last line is always written, unless ``brief``.
    bar
        Draw a bar; None: on a terminal.
    brief
        Say nothing of what ends within the first seconds, and leave no bar behind.
    measure
        Name of what the work measures, such as "residual".
    """

    def __init__(
        self,
        unit: str,
        *,
        name: str = "",
        interval_s: float = 5.0,
        bar: bool | None = None,
        brief: bool = False,
        measure: str = "",
    ) -> None:
        self._units = f"{unit}es" if unit.endswith(("s", "tch")) else f"{unit}s"
        self._name = name
        self._interval_s = interval_s
        self._brief = brief
        self._measure = measure
        self._as_bar = bar
        self._bar: Any = None
        self._stage: ProgressDisplay | None = None
        self._first: tuple[float, int] | None = None
        self._last = 0.0
        self._spoke = False

    @property
    def wants_bar(self) -> bool:
        """Whether progress is a bar."""
        return sys.stderr.isatty() if self._as_bar is None else self._as_bar

    def __call__(self, done: int, total: int, measured: float | None = None, /) -> None:
        """Show that ``done`` of ``total`` items are done, and what was measured."""
        remark = "" if measured is None else f"{self._measure} {measured:.4f}".strip()
        if self.wants_bar:
            self._draw(done, total, remark)
            return
        now = time.monotonic()
        if self._first is None:
            self._first, self._last = (now, done), now
        ends = done == total and (self._spoke or not self._brief)
        if ends or now - self._last >= self._interval_s:
            self._last = now
            self._spoke = True
            beside = f"  {remark}" if remark else ""
            head = f"{self._name}: " if self._name else ""
            note(f"{head}{done}/{total} {self._units}{self._pace(now, done, total)}{beside}")

    def stage(self, name: str, unit: str) -> ProgressDisplay:
        """Progress of another part of the work, of which nothing is said while it is short."""
        if self._stage is not None:
            self._stage.close()
        if self._bar is not None and self._bar.n >= self._bar.total:
            self.close()
        self._stage = ProgressDisplay(
            unit, name=name, interval_s=self._interval_s, bar=self._as_bar, brief=True
        )
        return self._stage

    def _pace(self, now: float, done: int, total: int) -> str:
        # Counted from the first report on: what came before it was reading and warming up.
        started, before = self._first or (now, done)
        if done <= before or now <= started:
            return ""
        rate = (done - before) / (now - started)
        return f"  {rate:.3g} {self._units}/s  {(total - done) / rate:.0f} s left"

    def _draw(self, done: int, total: int, remark: str) -> None:
        if self._bar is None:
            from tqdm import tqdm  # type: ignore[import-untyped]

            self._bar = tqdm(
                total=total,
                desc=self._name or None,
                unit=f" {self._units}",
                file=sys.stderr,
                leave=not self._brief,
                delay=1.0 if self._brief else 0.0,
            )
        # Where nobody knows beforehand how many there will be, it changes.
        self._bar.total = total
        if remark:
            self._bar.set_postfix_str(remark, refresh=False)
        self._bar.update(done - self._bar.n)
        if self._brief and done == total:
            self.close()

    def close(self) -> None:
        """End the bars, if there are any."""
        if self._stage is not None:
            self._stage.close()
        if self._bar is not None:
            self._bar.close()
            self._bar = None


@contextlib.contextmanager
def progress_of(
    unit: str, *, name: str, quiet: bool, brief: bool = False, measure: str = ""
) -> Iterator[ProgressDisplay | None]:
    """Progress that ends with the block; None when nothing may be shown."""
    progress = None if quiet else ProgressDisplay(unit, name=name, brief=brief, measure=measure)
    try:
        yield progress
    finally:
        if progress is not None:
            progress.close()
