"""How a program watches a run and ends it before its time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

__all__ = ["Progress", "RunCancelled", "ShouldStop", "stop_if_asked"]

Progress: TypeAlias = Callable[[int, int], None]
"""Called with what is done and what there is in all."""

ShouldStop: TypeAlias = Callable[[], bool]
"""Asked after every batch; a true answer ends the run. ``threading.Event().is_set`` is one."""


class RunCancelled(RuntimeError):
    """The program that started a run asked it to stop, and it did.

    Parameters
    ----------
    what
        What was cancelled: ``"training"`` or ``"reconstruction"``.
    checkpoint
        Checkpoint of the last complete epoch of a training, or None.
    """

    def __init__(self, what: str, checkpoint: Path | None = None) -> None:
        self.what = what
        self.checkpoint = checkpoint
        kept = "" if checkpoint is None else f"; last checkpoint: {checkpoint}"
        super().__init__(f"the {what} was cancelled{kept}")

    def __reduce__(self) -> tuple[type[RunCancelled], tuple[str, Path | None]]:
        # Worker processes send exceptions by pickle, which would otherwise replay the message only.
        return type(self), (self.what, self.checkpoint)


def stop_if_asked(should_stop: ShouldStop | None, what: str) -> None:
    """Raise `RunCancelled` if ``should_stop`` says so."""
    if should_stop is not None and should_stop():
        raise RunCancelled(what)
