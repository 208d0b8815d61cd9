"""Ctrl-C before and after the work of a command. Loads nothing that Python has not loaded already."""

from __future__ import annotations

import os
import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType

__all__ = ["INTERRUPTED", "SIGNALS", "end", "end_in_words"]

INTERRUPTED = 130
"""Exit code of a command that was interrupted."""

SIGNALS = (signal.SIGINT, signal.SIGTERM)
"""Ctrl-C, and what batch systems end a job with."""


def end_in_words() -> None:
    """Let both signals end this process at once, with a line and the exit code of an interruption.

    For a process that is a command, while it loads and parses, when there is nothing to keep, and while it
    ends, when everything is kept. What was asked to be ignored stays ignored.
    """
    for number in SIGNALS:
        if signal.getsignal(number) in (signal.default_int_handler, signal.SIG_DFL):
            signal.signal(number, end)


def end(number: int, frame: FrameType | None) -> None:
    """Handler of a signal: say that the command was interrupted, and end the process."""
    # Neither print nor sys.exit: both may be in the middle of something, and sys.exit can be caught.
    try:
        os.write(2, b"ptycho-torch: interrupted\n")
    finally:
        os._exit(INTERRUPTED)
