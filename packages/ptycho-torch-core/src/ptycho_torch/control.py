"""How a program watches a run and ends it before its time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeAlias

__all__ = [
    "Progress",
    "RunCancelled",
    "ShouldStop",
    "StagedProgress",
    "stage_of",
    "stop_if_asked",
]

ShouldStop: TypeAlias = Callable[[], bool]
"""Asked after every batch; a true answer ends the run. ``threading.Event().is_set`` is one."""


class Progress(Protocol):
    """Function that hears how far a run is.

    The third argument is given where the work measures how good its result is: a refinement gives the
    forward residual of each epoch. Where nothing is measured, two arguments are given.
    """

    def __call__(self, done: int, total: int, measured: float | None = None, /) -> None:
        """Hear what is done, what there is in all, and what was measured."""


class StagedProgress(Progress, Protocol):
    """Progress that tells the stages of a run apart, such as reading and stitching.

    Wherever `Progress` is taken, an object of this kind is asked for a counter of each stage; a plain
    function hears of the main stage only.
    """

    def stage(self, name: str, unit: str) -> Progress:
        """Counter of another stage: what is done, and what is counted, in the singular."""


def stage_of(progress: Progress | None, name: str, unit: str) -> Progress | None:
    """Counter of a stage beside the main one; None when the listener does not tell stages apart."""
    make = getattr(progress, "stage", None)
    return None if make is None else make(name, unit)


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
