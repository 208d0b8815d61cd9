"""What a user of ptychodus must see of a job: its window shows the lines of one logger, and nothing else."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ptycho_config import ConfigError
from ptycho_torch.errors import BundleError, DataError, ShapeError
from ptycho_torch.reference.manager import LOGGER_NAME

__all__ = ["told"]

logger = logging.getLogger(LOGGER_NAME)

_IN_WORDS = (ConfigError, BundleError, DataError, ShapeError, OSError)


class _Forward(logging.Handler):
    """Says warnings of this package in this thread again, under the name that is shown."""

    def __init__(self) -> None:
        super().__init__(level=logging.WARNING)
        self._thread = threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self._thread:
            logger.log(record.levelno, "%s", record.getMessage())


@contextmanager
def told() -> Iterator[None]:
    """Log what doubts a job, and what ends it, where the window of ptychodus shows it.

    A warning, of Python or of a logger of this package, becomes a line of the logger `LOGGER_NAME`. So does
    an exception, which is raised again: ptychodus shows its traceback on the terminal only.
    """
    forward, package = _Forward(), logging.getLogger("ptycho_torch")
    package.addHandler(forward)
    with warnings.catch_warnings():
        others = warnings.showwarning

        def show(message: Any, category: type[Warning], *place: Any, **rest: Any) -> None:
            if issubclass(category, UserWarning):
                logger.warning("%s", message)
            else:
                others(message, category, *place, **rest)

        warnings.showwarning = show
        try:
            yield
        except Exception as error:
            kind = "" if isinstance(error, _IN_WORDS) else f"{type(error).__name__}: "
            logger.error("%s%s", kind, error)
            raise
        finally:
            package.removeHandler(forward)
