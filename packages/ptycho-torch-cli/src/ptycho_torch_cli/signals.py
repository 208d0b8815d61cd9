"""Ctrl-C and the signal that batch systems end a job with: both end a command in the same way."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

__all__ = ["INTERRUPTED", "interruptible"]

INTERRUPTED = 130
"""Exit code of a command that was interrupted."""


@contextlib.contextmanager
def interruptible(note: Callable[[str], None]) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM raise KeyboardInterrupt once; a second Ctrl-C ends the process at once.

    What was asked to be ignored stays ignored, and handlers of other programs stay theirs. A second SIGTERM
    is none of somebody who waits: batch systems send it to every process, some of which pass it on.

    Parameters
    ----------
    note
        Writes a line for people.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    asked = False

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            if number == signal.SIGINT:
                _leave(note)
            return
        asked = True
        raise KeyboardInterrupt

    usual: dict[signal.Signals, Any] = {
        signal.SIGINT: signal.default_int_handler,
        signal.SIGTERM: signal.SIG_DFL,
    }
    ours = [number for number, handler in usual.items() if signal.getsignal(number) == handler]
    for number in ours:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, usual[number])


def _leave(note: Callable[[str], None]) -> None:
    """End this process and those it started, without a word of Python's about what was under way."""
    note("interrupted again: ended at once; the next run in the folder clears what was half written")
    loaded = sys.modules.get("multiprocessing")
    for child in [] if loaded is None else loaded.active_children():
        child.kill()
    os._exit(INTERRUPTED)
