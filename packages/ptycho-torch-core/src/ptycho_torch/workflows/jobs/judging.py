"""Say of every result whether it explains its frames better than an empty object does."""

from __future__ import annotations

import warnings

from ptycho_torch.diagnosis.verdict import Verdict
from ptycho_torch.errors import ResultWarning

__all__ = ["said_of", "warn_of"]


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
