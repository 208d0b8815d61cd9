"""What becomes of a run that fails before it has begun."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ptycho_torch.workflows.runs.directory import RESOLVED_NAME
from ptycho_torch.workflows.runs.publishing import staging_of
from ptycho_torch.workflows.runs.record import record_name, remove

__all__ = ["nothing_left_unless"]


@contextmanager
def nothing_left_unless(
    begun: Callable[[], bool], work: Path, command: str, names: Sequence[str]
) -> Iterator[None]:
    """Take away what a run has written if it fails before it has begun: nobody could go on with it.

    Parameters
    ----------
    begun
        Whether the run has begun, asked when it fails.
    work
        Folder in which it works. One that holds more than settings is that of a run that goes on, and stays.
    command, names
        Command of the run, and what it writes beside its record; without names nothing is taken away.
    """
    fresh = not any((work / name).exists() for name in names if name != RESOLVED_NAME)
    try:
        yield
    except BaseException:
        if fresh and not begun():
            for name in (*names, record_name(command)) if names else ():
                remove(work / name)
            if names and work == staging_of(work.parent, command):
                remove(work)
        raise
