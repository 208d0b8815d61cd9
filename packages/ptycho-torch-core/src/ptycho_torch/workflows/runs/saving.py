"""What every reconstruction leaves behind, whoever made it: one record, one writer."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ptycho_config import Resolution, write_resolved
from ptycho_torch.atomic import atomic_write
from ptycho_torch.bundle import installed_versions
from ptycho_torch.data.hdf5.product import check_product_metadata, save_product
from ptycho_torch.data.scan.contract import OBJECT_IS_GUESS, Scan
from ptycho_torch.data.scan.geometry import NEEDED_ENTRIES, ScanGeometry
from ptycho_torch.data.summary import probe_diameter
from ptycho_torch.diagnosis.verdict import Verdict
from ptycho_torch.errors import DataError, MissingMetadata, ShapeError
from ptycho_torch.html_report import REPORT_NAME, Picture, write_html_report
from ptycho_torch.metrics import LevelledPhase, MetricReport, compare, levelled_phase
from ptycho_torch.metrics.region import lit_pixels
from ptycho_torch.plotting import (
    save_comparison_figure,
    save_error_bar_figure,
    save_object_figures,
    save_probe_variation_figure,
    save_resolution_figure,
    save_training_figure,
    save_warning_map,
)
from ptycho_torch.reassembly import StitchedObject
from ptycho_torch.refine.error_bars import ErrorBars
from ptycho_torch.results import save_reconstruction
from ptycho_torch.tiff import save_tiff
from ptycho_torch.workflows.runs.directory import RESOLVED_NAME
from ptycho_torch.workflows.runs.leaving import Leaving

__all__ = [
    "ARRAYS",
    "COMPARISON",
    "METRICS",
    "NETWORK",
    "RECONSTRUCTION_FILES",
    "RUN_FILES",
    "Origin",
    "Reconstructed",
    "announce_product",
    "compare_with_truth",
    "object_pixel_m",
    "write_metrics",
    "write_results",
]

logger = logging.getLogger(__name__)

ARRAYS, PRODUCT, NETWORK = "reconstruction.npz", "reconstruction.h5", "network.npz"
METRICS = "metrics.json"
COMPARISON, CURVE = "comparison.png", "refinement.png"
BARS, RESOLUTION, SPREAD = "error_bars.png", "resolution.png", "patch_spread.png"
VARIATION = "probe_variation.png"
_OBJECT = ("amplitude.png", "phase.png")
_IMAGES = ("amplitude.tif", "phase.tif", "sigma.tif")
RECONSTRUCTION_FILES = (ARRAYS, PRODUCT, *_OBJECT, *_IMAGES, SPREAD, COMPARISON, METRICS)
"""Names of the files that show one object."""
RUN_FILES = (*RECONSTRUCTION_FILES, RESOLVED_NAME, REPORT_NAME, CURVE, BARS, RESOLUTION, VARIATION)
"""Names of the files of a run that made an object."""
_PICTURES = (
    Picture(name=_OBJECT[0], caption="Amplitude of the object"),
    Picture(name=_OBJECT[1], caption="Phase of the object, constant and ramp removed"),
    Picture(name=BARS, caption="Standard deviation of amplitude and phase; grey: not seen"),
    Picture(name=SPREAD, caption="Warning map: where overlapping patches of the network disagree"),
    Picture(name=RESOLUTION, caption="Ring correlation of two solutions that share no photon"),
    Picture(name=COMPARISON, caption="The object beside the known one, and their difference"),
    Picture(name=VARIATION, caption="Modes that the probe varies by, and their weights over the scan"),
    Picture(name=CURVE, caption="Forward residual over the epochs of refinement"),
)


@dataclass(frozen=True, kw_only=True)
class Origin:
    """The run that made a reconstruction.

    Attributes
    ----------
    title
        What was done.
    facts
        What matters most about it, as name and value.
    command
        Command line; empty: started from Python.
    """

    title: str
    facts: Sequence[tuple[str, str]]
    command: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class Reconstructed:
    """An object, and all that belongs to it.

    Attributes
    ----------
    object
        The object with its coverage and its origin.
    probe
        Complex, ``(modes, N, N)``: the probe that belongs to the object.
    frames
        The frames that were used, with the positions that belong to the object.
    residual
        Forward residual of the object on these frames.
    report
        Comparison with the known object, if there is one and enough of it is covered.
    settings
        What was asked for.
    curve
        Forward residual of each epoch of a refinement; empty without one.
    others
        What else a refinement fitted, an array or a number by name.
    said
        The same in words, by name.
    start
        What a refinement started from, if that is a result of its own.
    verdict
        Whether the object explains frames better than an empty one; None: another object is judged.
    error_bars
        How sure the object is, if that is known.
    """

    object: StitchedObject = field(repr=False)
    probe: np.ndarray = field(repr=False)
    frames: Scan = field(repr=False)
    residual: float
    report: MetricReport | None
    settings: Resolution = field(repr=False)
    curve: Sequence[float] = ()
    others: Mapping[str, np.ndarray | float] = field(default_factory=dict, repr=False)
    said: Mapping[str, str] = field(default_factory=dict, repr=False)
    start: Reconstructed | None = field(default=None, repr=False)
    verdict: Verdict | None = None
    error_bars: ErrorBars | None = field(default=None, repr=False)

    @cached_property
    def phase(self) -> LevelledPhase:
        """The phase of the object, levelled and unwrapped where it is well lit."""
        image, light = np.asarray(self.object.object), np.asarray(self.object.weight)
        return levelled_phase(image, lit_pixels(light, image.shape))

    def all_arrays(self) -> dict[str, np.ndarray | float]:
        """What is saved beside object, probe and positions, by name."""
        bars = {} if self.error_bars is None else self.error_bars.arrays()
        spread = {} if self.object.spread is None else {"patch_spread": self.object.spread}
        return {**self.others, "phase": self.phase.phase, **spread, **bars}


def write_results(
    leaving: Leaving, made: Reconstructed, *, run: Origin | None = None, pictures: bool = True
) -> None:
    """Write the arrays, the product, the scores, the settings, and on request what there is to look at.

    Parameters
    ----------
    leaving
        Receives the files, and remembers those that could not be written.
    made
        What to write. Without a report and a verdict no scores are written.
    run
        The run that made it; None writes neither its settings nor a page about it.
    pictures
        Whether pictures, images of numbers (TIFF) and the page are written.
    """
    with leaving.file(ARRAYS) as path:
        _save_arrays(path, made)
    if made.start is not None:
        with leaving.file(NETWORK) as path:
            _save_arrays(path, made.start)
    if not _product_problems(made.frames):
        with leaving.file(PRODUCT) as path:
            save_product(
                path,
                made.object,
                probe=made.probe,
                positions=made.frames.positions,
                metadata=made.frames.metadata,
                frame_index=made.frames.frame_index,
                losses=made.curve,
                others=made.all_arrays(),
            )
    if made.report is not None or made.verdict is not None:
        with leaving.file(METRICS) as path:
            write_metrics(path, made.report, forward_residual=made.residual, **_beside(made))
    if run is not None:
        with leaving.file(RESOLVED_NAME) as path:
            write_resolved(path, made.settings, installed_versions(), list(run.command))
    if pictures:
        _write_images(leaving, made)
        _write_pictures(leaving, made)
    if pictures and run is not None:
        with leaving.file(REPORT_NAME):
            write_html_report(leaving.folder, title=run.title, facts=run.facts, pictures=_PICTURES)


def _save_arrays(path: Path, made: Reconstructed) -> None:
    save_reconstruction(
        path,
        made.object,
        positions=made.frames.positions,
        probe=made.probe,
        configuration=made.settings.to_dict(),
        others=made.all_arrays(),
    )


def _beside(made: Reconstructed) -> dict[str, Any]:
    """Further entries of the scores: verdict, phase, error bars, what was fitted, scores of a start."""
    judged: dict[str, Any] = {} if made.verdict is None else {"verdict": made.verdict.to_dict()}
    judged["phase"] = made.phase.summary()
    if made.error_bars is not None:
        judged["error_bars"] = made.error_bars.summary(made.object.object)
    if made.said:
        numbers = {name: float(value) for name, value in made.others.items() if np.ndim(value) == 0}
        judged["fitted"] = {**made.said, **numbers}
    if made.start is not None:
        scores = {} if made.start.report is None else {"scores": made.start.report.scores.to_dict()}
        return {**judged, "network": {**scores, "forward_residual": made.start.residual}}
    return {**judged, "epochs": len(made.curve)} if made.curve else judged


def _write_images(leaving: Leaving, made: Reconstructed) -> None:
    """Amplitude, phase and error bar as numbers that other programs open."""
    bars = made.error_bars
    amplitude = np.abs(made.object.object)
    images = [(amplitude, "amplitude", "1", {}), (made.phase.phase, "phase", "rad", made.phase.summary())]
    if bars is not None:
        told = {"of": "complex value of the object", "method": bars.method}
        images.append((bars.shown(), "standard deviation", "1", told))
    pixel_m = _pixel_shape_m(made.frames)
    corner = (-np.asarray(made.object.origin)).tolist()
    for name, (values, quantity, unit, facts) in zip(_IMAGES, images, strict=False):
        with leaving.file(name) as path:
            save_tiff(path, values, quantity=quantity, unit=unit, pixel_m=pixel_m, corner_px=corner, **facts)


def _write_pictures(leaving: Leaving, made: Reconstructed) -> None:
    with leaving.file(" and ".join(_OBJECT)):
        save_object_figures(
            leaving.folder,
            made.object.object,
            made.object.weight,
            made.object.origin,
            pixel_size=object_pixel_m(made.frames),
        )
    if made.error_bars is not None:
        with leaving.file(BARS) as path:
            save_error_bar_figure(
                path,
                made.object.object,
                made.error_bars.shown(),
                made.error_bars.null_space,
                made.object.origin,
                pixel_size=object_pixel_m(made.frames),
            )
    if made.object.spread is not None:
        with leaving.file(SPREAD) as path:
            save_warning_map(
                path, made.object.spread, made.object.origin, pixel_size=object_pixel_m(made.frames)
            )
    if made.error_bars is not None and made.error_bars.resolution is not None:
        with leaving.file(RESOLUTION) as path:
            save_resolution_figure(path, made.error_bars.resolution.curve)
    if "probe_variation" in made.others:
        modes, weights = (made.others[name] for name in ("probe_variation", "probe_variation_weights"))
        with leaving.file(VARIATION) as path:
            save_probe_variation_figure(path, made.probe, np.asarray(modes), np.asarray(weights))
    if made.report is not None:
        with leaving.file(COMPARISON) as path:
            save_comparison_figure(path, made.report)
    if made.curve:
        with leaving.file(CURVE) as path:
            save_training_figure(path, {"forward residual": made.curve}, label="share of the amplitudes")


def object_pixel_m(scan: Scan) -> float | None:
    """Edge of an object pixel; None where the metadata do not say it, or where pixels are not square."""
    edges = _pixel_shape_m(scan)
    return edges[0] if edges is not None and math.isclose(*edges, rel_tol=1e-6) else None


def _pixel_shape_m(scan: Scan) -> tuple[float, float] | None:
    """Height and width of an object pixel; None where the metadata do not say it."""
    try:
        return ScanGeometry.from_entries(scan.metadata, scan.N).object_pixel_m
    except MissingMetadata:
        return None


def announce_product(scan: Scan) -> None:
    """Say before the work if there will be no product of ptychodus, which says everything in metres."""
    problems = _product_problems(scan)
    missing = [name for name in NEEDED_ENTRIES if scan.metadata.get(name) is None]
    if missing:
        logger.info("no %s: the metadata of the scan do not say %s", PRODUCT, ", ".join(missing))
    elif problems:
        logger.warning("no %s: %s", PRODUCT, "; ".join(problems))


def _product_problems(scan: Scan) -> tuple[str, ...]:
    try:
        check_product_metadata(scan.metadata, scan.N)
    except DataError as error:
        return error.problems
    return ()


def compare_with_truth(
    result: StitchedObject, scan: Scan, probe: np.ndarray, bars: ErrorBars | None = None
) -> MetricReport | None:
    """Scores of an object, or None when the scan holds no truth or too little is covered."""
    if scan.object_truth is None or scan.metadata.get(OBJECT_IS_GUESS) or _is_flat(scan.object_truth):
        return None
    try:
        return compare(
            result.object,
            scan.object_truth,
            weight=result.weight,
            origin=result.origin,
            truth_origin=scan.object_truth_origin,
            probe_diameter=probe_diameter(probe),
            sigmas=None if bars is None else bars.sigmas(),
        )
    except (DataError, ShapeError) as error:
        # A few frames may cover too little to be scored, and a known object may be empty where they are;
        # their reconstruction is still a result.
        logger.warning("not compared with the known object: %s", error)
        return None


def _is_flat(image: np.ndarray) -> bool:
    """Whether an object is the empty space that programs write where nothing is known yet."""
    return bool((image == image.flat[0]).all())


def write_metrics(path: Path, report: MetricReport | None, **extra: Any) -> None:
    """Write a report, where there is one, and further entries beside it, as JSON."""
    scores = {} if report is None else report.to_dict()
    with atomic_write(path, "w") as stream:
        json.dump({**scores, **extra}, stream, indent=2)
