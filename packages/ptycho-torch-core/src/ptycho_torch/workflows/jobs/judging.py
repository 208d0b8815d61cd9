"""Say of every result whether it explains its frames better than an empty object does."""

from __future__ import annotations

import warnings

import numpy as np

from ptycho_config import RefineConfig
from ptycho_torch.data.scan.contract import Scan
from ptycho_torch.diagnosis.verdict import Verdict
from ptycho_torch.errors import ResultWarning
from ptycho_torch.reassembly import StitchedObject
from ptycho_torch.reassembly.team import Team
from ptycho_torch.refine.held_out import judge
from ptycho_torch.refine.result import SubPixel

__all__ = ["judged", "told"]


def judged(
    scan: Scan,
    made: StitchedObject,
    probe: np.ndarray,
    *,
    config: RefineConfig,
    device: str,
    sub_pixel: SubPixel = "object",
) -> Verdict | None:
    """Verdict on an object, said as a warning where it is bad; None in a run of several processes.

    Parameters
    ----------
    scan, made, probe, config, sub_pixel, device
        As for :func:`ptycho_torch.refine.held_out.judge`.

    Warns
    -----
    ResultWarning
        The object explains the frames no better than an empty one.
    """
    if Team.joined().count > 1:
        return None
    found = judge(scan, made, probe, config=config, sub_pixel=sub_pixel, device=device)
    if found is not None and found.is_bad:
        warnings.warn(found.sentence, ResultWarning, stacklevel=2)
    return found


def told(verdict: Verdict | None) -> list[tuple[str, str]]:
    """Line of a report about the verdict."""
    return [] if verdict is None else [("verdict", verdict.sentence)]
