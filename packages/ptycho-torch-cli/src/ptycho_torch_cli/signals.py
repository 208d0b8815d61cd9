"""Ctrl-C and the signal that batch systems end a job with: both end a command in the same way."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from ptycho_torch_cli.early import INTERRUPTED, SIGNALS, end

if TYPE_CHECKING:
    from types import FrameType

__all__ = ["interruptible"]

_IMPORTING = "<frozen importlib._bootstrap>"
_OUTSIDE = f"{__name__.rpartition('.')[0]}.console"
_AGAIN_AFTER_S = 0.02


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
    interrupts = _Interrupts(note)
    found = {number: signal.getsignal(number) for number in SIGNALS}
    usual = (signal.default_int_handler, signal.SIG_DFL, end)
    before = {number: handler for number, handler in found.items() if handler in usual}
    for number in before:
        signal.signal(number, interrupts)
    try:
        yield
    except KeyboardInterrupt:
        raise
    except BaseException:
        if interrupts.waits:
            # Whatever the work says, it would not have come to say it.
            raise KeyboardInterrupt from None
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Interrupts:
    """Handler of both signals; raises once, and not in the middle of an import.

    An exception in a module of C that is being loaded may come out as another one, or be printed and lost.
    Until the import is over, ``waits`` is true.
    """

    def __init__(self, note: Callable[[str], None]) -> None:
        self._note = note
        self._asked = False
        self._sent_again = False
        self.waits = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self._asked and not self._sent_again:
            if number == signal.SIGINT:
                _leave(self._note)
            return
        self._asked, self._sent_again = True, False
        self.waits = _is_importing(frame) and hasattr(signal, "pthread_kill")
        if self.waits:
            timer = threading.Timer(_AGAIN_AFTER_S, self._send_again, (number,))
            timer.daemon = True
            timer.start()
            return
        raise KeyboardInterrupt

    def _send_again(self, number: int) -> None:
        self._sent_again = True
        # To the main thread, so that a call of the system in which it waits ends as by the first signal.
        signal.pthread_kill(threading.main_thread().ident or 0, number)


def _is_importing(frame: FrameType | None) -> bool:
    # An import that the whole command stands in, such as that of a script, would never be over.
    while frame is not None and frame.f_globals.get("__name__") != _OUTSIDE:
        if frame.f_code.co_filename == _IMPORTING:
            return True
        frame = frame.f_back
    return False


def _leave(note: Callable[[str], None]) -> None:
    """End this process and those it started, without a word of Python's about what was under way."""
    note("interrupted again: ended at once; the next run in the folder clears what was half written")
    loaded = sys.modules.get("multiprocessing")
    for child in [] if loaded is None else loaded.active_children():
        child.kill()
    os._exit(INTERRUPTED)
