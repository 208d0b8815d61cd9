"""All diagnoses of a scan, in the order in which they are told."""

from __future__ import annotations

from collections.abc import Iterable

from ptycho_torch.diagnosis.counters import COUNTER_DIAGNOSES
from ptycho_torch.diagnosis.evidence import Evidence
from ptycho_torch.diagnosis.finding import Diagnosis, Finding
from ptycho_torch.diagnosis.frames import FRAME_DIAGNOSES
from ptycho_torch.diagnosis.pixels import PIXEL_DIAGNOSES
from ptycho_torch.diagnosis.positions import POSITION_DIAGNOSES
from ptycho_torch.diagnosis.probe import PROBE_DIAGNOSES

__all__ = ["CLEANING", "DIAGNOSES", "examine"]

DIAGNOSES: tuple[Diagnosis, ...] = (
    *PIXEL_DIAGNOSES,
    *COUNTER_DIAGNOSES,
    *FRAME_DIAGNOSES,
    *POSITION_DIAGNOSES,
    *PROBE_DIAGNOSES,
)
"""Every diagnosis of a scan."""

CLEANING: tuple[str, ...] = (
    "unread",
    "unwritten",
    *(diagnosis.name for diagnosis in DIAGNOSES if diagnosis.cleans),
)
"""Names of those whose finding is masked or left out; ``"unread"`` are positions that are no numbers,
``"unwritten"`` frames that are not in their file.
"""


def examine(evidence: Evidence, among: Iterable[Diagnosis] = DIAGNOSES) -> tuple[Finding, ...]:
    """Findings of all diagnoses, those that found nothing too."""
    return tuple(diagnosis.examine(evidence) for diagnosis in among)
