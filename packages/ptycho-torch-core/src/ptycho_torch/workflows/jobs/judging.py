"""Say of every result whether it explains its frames better than an empty object does, and how sure it is."""

from __future__ import annotations

import warnings

from ptycho_torch.diagnosis.verdict import Verdict
from ptycho_torch.errors import ResultWarning
from ptycho_torch.workflows.runs.saving import Reconstructed

__all__ = ["said_of", "sure_of", "warn_of"]


def warn_of(verdict: Verdict | None) -> None:
    """Say as a warning that a result is bad; called once its files are in their place.

    Warns
    -----
    ResultWarning
        The object explains the frames no better than an empty one.
    """
    if verdict is not None and verdict.is_bad:
        warnings.warn(verdict.sentence, ResultWarning, stacklevel=3)


def said_of(verdict: Verdict | None) -> list[tuple[str, str]]:
    """Line of a report about the verdict."""
    return [] if verdict is None else [("verdict", verdict.sentence)]


def sure_of(made: Reconstructed) -> list[tuple[str, str]]:
    """Lines of a report about error bars."""
    if made.error_bars is None:
        return []
    return made.error_bars.lines(made.object.object)
