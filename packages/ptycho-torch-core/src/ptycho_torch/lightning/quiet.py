"""Keeps Lightning's remarks about itself away from programs that train with this package.

Lightning writes to standard error whatever it has to say at the level of information: devices that are not
there, how many batches it takes, how it loads checkpoints, products of its makers. Warnings are left alone.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from lightning.pytorch.callbacks import Callback

__all__ = ["QuietCopies", "quiet_lightning"]

_LIGHTNING = "lightning"


def _loggers() -> list[logging.Logger]:
    # Filters act where a record is made, not on the way up, so every one is needed.
    known = list(logging.root.manager.loggerDict.items())
    return [
        logger
        for name, logger in known
        if isinstance(logger, logging.Logger) and name.split(".")[0] == _LIGHTNING
    ]


def _passes(thread: int | None) -> Callable[[logging.LogRecord], bool]:
    def passes(record: logging.LogRecord) -> bool:
        return record.levelno >= logging.WARNING or (thread is not None and threading.get_ident() != thread)

    return passes


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Drop what Lightning says in this thread, but for warnings; its loggers are left as they were.

    Other threads, which may train with Lightning for themselves, are not affected.
    """
    passes, loggers = _passes(threading.get_ident()), _loggers()
    for logger in loggers:
        logger.addFilter(passes)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(passes)


class QuietCopies(Callback):
    """Does the same in copies of this process, for as long as they live.

    A copy that is spawned knows only what it is sent; this is sent with the trainer.
    """

    def __getstate__(self) -> dict[str, Any]:
        """Who sends it."""
        return {"sender": os.getpid()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Begin to be quiet."""
        if state["sender"] != os.getpid():
            for logger in _loggers():
                logger.addFilter(_passes(None))
