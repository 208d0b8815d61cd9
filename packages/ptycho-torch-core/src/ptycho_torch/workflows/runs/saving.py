"""What every reconstruction leaves behind, whether a network or an iteration made it."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ptycho_torch.atomic import atomic_write
from ptycho_torch.data.hdf5.product import save_product
from ptycho_torch.data.scan.contract import Scan
from ptycho_torch.data.scan.geometry import GEOMETRY_ENTRIES
from ptycho_torch.data.summary import probe_diameter
from ptycho_torch.errors import DataError, ShapeError
from ptycho_torch.html_report import Picture
from ptycho_torch.metrics import MetricReport, compare
from ptycho_torch.plotting import save_comparison_figure, save_object_figures
from ptycho_torch.reassembly import StitchedObject
from ptycho_torch.results import save_reconstruction

__all__ = [
    "ARRAYS",
    "COMPARISON",
    "METRICS",
    "PICTURES",
    "RECONSTRUCTION_FILES",
    "compare_with_truth",
    "write_metrics",
    "write_reconstruction",
]

logger = logging.getLogger(__name__)

ARRAYS, PRODUCT = "reconstruction.npz", "reconstruction.h5"
METRICS = "metrics.json"
COMPARISON = "comparison.png"
RECONSTRUCTION_FILES = (ARRAYS, PRODUCT, "amplitude.png", "phase.png", COMPARISON, METRICS)
PICTURES = (
    Picture(name="amplitude.png", caption="Amplitude of the object"),
    Picture(name="phase.png", caption="Phase of the object, constant and ramp removed"),
    Picture(name=COMPARISON, caption="The object beside the known one, and their difference"),
)


def write_reconstruction(
    work: Path,
    result: StitchedObject,
    scan: Scan,
    probe: np.ndarray,
    configuration: Mapping[str, Any],
    report: MetricReport | None,
    residual: float,
    **extra: Any,
) -> None:
    """Write the arrays, the product, the pictures and, beside a known object, the scores.

    Parameters
    ----------
    work
        Existing folder.
    result
        Object, coverage and origin.
    scan
        The frames that were used, with the positions that belong to the object.
    probe
        Complex, ``(modes, N, N)``: probe that belongs to the object.
    configuration
        Resolved settings, plain data.
    report, residual, extra
        Scores, forward residual, and further entries beside them; without scores none are written.
    """
    save_reconstruction(
        work / ARRAYS, result, positions=scan.positions, probe=probe, configuration=configuration
    )
    _save_product(work / PRODUCT, result, scan, probe)
    save_object_figures(work, result.object, result.weight, result.origin)
    if report is not None:
        write_metrics(work / METRICS, report, forward_residual=residual, **extra)
        save_comparison_figure(work / COMPARISON, report)


def _save_product(path: Path, result: StitchedObject, scan: Scan, probe: np.ndarray) -> None:
    """Write the product of ptychodus, which says everything in metres, if the scan tells how."""
    try:
        save_product(
            path,
            result,
            probe=probe,
            positions=scan.positions,
            metadata=scan.metadata,
            frame_index=scan.frame_index,
        )
    except DataError as error:
        named = ", ".join(name for name in GEOMETRY_ENTRIES if any(name in text for text in error.problems))
        logger.info("no %s: the metadata of the scan do not say %s", path.name, named)


def compare_with_truth(result: StitchedObject, scan: Scan, probe: np.ndarray) -> MetricReport | None:
    """Scores of an object, or None when the scan holds no truth or too little is covered."""
    if scan.object_truth is None:
        return None
    try:
        return compare(
            result.object,
            scan.object_truth,
            weight=result.weight,
            origin=result.origin,
            truth_origin=scan.object_truth_origin,
            probe_diameter=probe_diameter(probe),
        )
    except ShapeError as error:
        # A few frames may cover too little to be scored; their reconstruction is still a result.
        logger.warning("not compared with the known object: %s", error)
        return None


def write_metrics(path: Path, report: MetricReport, **extra: Any) -> None:
    """Write a report, and further entries beside it, as JSON."""
    with atomic_write(path, "w") as stream:
        json.dump({**report.to_dict(), **extra}, stream, indent=2)
