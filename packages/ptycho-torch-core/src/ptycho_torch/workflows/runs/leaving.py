"""Writing the files of a run one by one, so that one that cannot be written takes no other with it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["Leaving", "ResultsIncomplete"]

logger = logging.getLogger(__name__)

_AGAIN = "run again with --overwrite (overwrite=True)"
_NOTHING_REPLACED = "start the same run again; the output directory is as it was before"


class ResultsIncomplete(RuntimeError):
    """The work was done, and not all of its files could be written.

    The others are in their place. Without the main result, such as the arrays of a reconstruction, they stay
    in the working folder, and older results where they are.

    Attributes
    ----------
    folder
        Where the results are.
    failures
        Name of each file that is missing, and why.
    files
        What was written.
    hint
        What to do about it.
    """

    def __init__(
        self, folder: Path, failures: Mapping[str, str], files: tuple[Path, ...], hint: str = _AGAIN
    ) -> None:
        self.folder, self.failures, self.files, self.hint = folder, dict(failures), files, hint
        missing = "; ".join(f"{name}: {reason}" for name, reason in self.failures.items())
        written = ", ".join(path.name for path in files) or "nothing"
        super().__init__(
            f"{folder}: not all results could be written ({missing}); written: {written}; mend that, and "
            f"{hint}"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.folder, self.failures, self.files, self.hint)


class Leaving:
    """The files that a run leaves in a folder, and those that could not be written.

    Parameters
    ----------
    folder
        Existing folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.failures: dict[str, Exception] = {}

    @contextmanager
    def file(self, name: str) -> Iterator[Path]:
        """Path of a file to write; what the block fails with is kept, and the next file has its turn."""
        try:
            yield self.folder / name
        except Exception as error:
            logger.error("%s could not be written: %s", self.folder / name, _words(error))
            logger.debug("how writing %s failed", name, exc_info=error)
            self.failures[name] = error

    def require(self, name: str) -> None:
        """End the run if its main result could not be written: nothing older may make room for the rest.

        Called before anything is put in place. What was written stays in the folder until the next run.

        Parameters
        ----------
        name
            File that the others belong to.

        Raises
        ------
        ResultsIncomplete
            If that file could not be written; it names the folder, and what lies there.
        """
        if name in self.failures:
            made = tuple(path for path in sorted(self.folder.iterdir()) if _is_result(path))
            self.require_all(self.folder, made, hint=_NOTHING_REPLACED)

    def require_all(self, folder: Path, files: tuple[Path, ...], *, hint: str = _AGAIN) -> None:
        """Say which files are missing, once all others are in their place.

        Parameters
        ----------
        folder
            Where the results are now.
        files
            What was written.
        hint
            What to do about those that are missing.

        Raises
        ------
        ResultsIncomplete
            If a file could not be written.
        """
        if self.failures:
            reasons = {name: _words(error) for name, error in self.failures.items()}
            raise ResultsIncomplete(folder, reasons, files, hint) from next(iter(self.failures.values()))


def _is_result(path: Path) -> bool:
    return path.is_file() and not path.name.startswith(".")


def _words(error: Exception) -> str:
    said = str(error)
    # Of errors in code, the name says more than the words; ours and those of the disk speak for themselves.
    return (
        said if said and isinstance(error, OSError | ValueError) else f"{type(error).__name__} {said}".strip()
    )
