"""Scores of a reconstruction against its truth: one definition, used everywhere."""

from ptycho_torch.metrics.alignment import Alignment, align
from ptycho_torch.metrics.coverage import Coverage, coverage_of
from ptycho_torch.metrics.frc import FrcCurve, fourier_ring_correlation
from ptycho_torch.metrics.levelling import LevelledPhase, levelled_phase
from ptycho_torch.metrics.region import common_region, coverage_region
from ptycho_torch.metrics.report import MetricReport, compare
from ptycho_torch.metrics.scores import Scores, score

__all__ = [
    "Alignment",
    "Coverage",
    "FrcCurve",
    "LevelledPhase",
    "MetricReport",
    "Scores",
    "align",
    "common_region",
    "compare",
    "coverage_of",
    "coverage_region",
    "fourier_ring_correlation",
    "levelled_phase",
    "score",
]
