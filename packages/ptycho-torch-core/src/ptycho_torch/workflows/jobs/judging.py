"""Say of every result whether it explains its frames better than an empty object does, and how sure it is."""

from __future__ import annotations

import warnings

import numpy as np
import numpy.typing as npt

from ptycho_torch.diagnosis.verdict import Verdict
from ptycho_torch.errors import ResultWarning
from ptycho_torch.workflows.runs.saving import Reconstructed

__all__ = ["said_of", "sure_of", "warn_of", "warn_of_unsettled"]


def warn_of(verdict: Verdict | None) -> None:
    """Say as a warning that a result is bad; called once its files are in their place.

    Warns
    -----
    ResultWarning
        The object explains the frames no better than an empty one.
    """
    if verdict is not None and verdict.is_bad:
        warnings.warn(verdict.sentence, ResultWarning, stacklevel=3)


def warn_of_unsettled(frames: npt.NDArray[np.int64] | None) -> None:
    """Name the frames whose positions a search could not settle; called once the files are in their place.

    Warns
    -----
    ResultWarning
        There are such frames.
    """
    if frames is not None and len(frames):
        named = ", ".join(map(str, frames))
        warnings.warn(
            f"the data do not settle where {len(frames)} of the frames belong: {named}; they lie where the "
            "scan states them, unless they fit better elsewhere. Leave them out, or raise position_search_px "
            "if they may lie farther away",
            ResultWarning,
            stacklevel=3,
        )


def said_of(verdict: Verdict | None) -> list[tuple[str, str]]:
    """Line of a report about the verdict."""
    return [] if verdict is None else [("verdict", verdict.sentence)]


def sure_of(made: Reconstructed) -> list[tuple[str, str]]:
    """Lines of a report about error bars."""
    if made.error_bars is None:
        return []
    return made.error_bars.lines(made.object.object)
