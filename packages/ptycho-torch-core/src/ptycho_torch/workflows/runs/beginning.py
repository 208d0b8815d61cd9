"""What becomes of a run that fails before it has begun."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from ptycho_torch.atomic import atomic_write
from ptycho_torch.workflows.runs.directory import RESOLVED_NAME
from ptycho_torch.workflows.runs.publishing import staging_of
from ptycho_torch.workflows.runs.record import record_name, remove

__all__ = ["nothing_left_unless", "said_before"]


def said_before(work: Path, command: str) -> dict[str, bytes]:
    """Settings and record that lie in the working folder before a run writes its own, by name."""
    paths = (work / RESOLVED_NAME, work / record_name(command))
    return {path.name: path.read_bytes() for path in paths if path.is_file()}


@contextmanager
def nothing_left_unless(
    begun: Callable[[], bool],
    work: Path,
    command: str,
    names: Sequence[str],
    before: Mapping[str, bytes],
) -> Iterator[None]:
    """Undo what a run has written if it fails before it has begun.

    What a new run wrote is taken away, because nobody could go on with it. One that was to be continued says
    of itself what it said before.

    Parameters
    ----------
    begun
        Whether the run has begun, asked when it fails.
    work
        Folder in which it works. One that holds more than settings is that of a run that goes on, and stays.
    command, names
        Command of the run, and what it writes beside its record; without names nothing is undone.
    before
        From `said_before`, before the run wrote anything.
    """
    fresh = not any((work / name).exists() for name in names if name != RESOLVED_NAME)
    try:
        yield
    except BaseException:
        if names and not begun():
            _undo(work, command, (*names, record_name(command)) if fresh else (), before)
        raise


def _undo(work: Path, command: str, new: Sequence[str], before: Mapping[str, bytes]) -> None:
    for name in new:
        remove(work / name)
    if new and work == staging_of(work.parent, command):
        remove(work)
    for name, content in before.items() if not new else ():
        with atomic_write(work / name) as stream:
            stream.write(content)
