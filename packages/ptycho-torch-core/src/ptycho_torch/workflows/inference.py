"""Reconstruct a scan with a bundle and leave arrays, pictures and metrics behind."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.fabric import Fabric

from ptycho_config import PyTorchExecutionConfig, write_resolved
from ptycho_torch.atomic import atomic_write
from ptycho_torch.bundle import installed_versions, load_bundle
from ptycho_torch.config_factory import InferencePayload
from ptycho_torch.control import Progress, ShouldStop, stage_of
from ptycho_torch.data.contract import Scan
from ptycho_torch.data.geometry import GEOMETRY_ENTRIES
from ptycho_torch.data.grouping import Groups, make_groups
from ptycho_torch.data.memory import name_of
from ptycho_torch.data.product import save_product
from ptycho_torch.data.summary import probe_diameter
from ptycho_torch.errors import DataError, ShapeError
from ptycho_torch.html_report import REPORT_NAME, Picture, write_html_report
from ptycho_torch.metrics import MetricReport, compare
from ptycho_torch.models import PatchModel
from ptycho_torch.plotting import save_comparison_figure, save_frc_figure, save_object_figures
from ptycho_torch.reassembly import Processes, StitchedObject
from ptycho_torch.results import load_object, load_probe, save_reconstruction
from ptycho_torch.workflows.device import numerics, resolve_accelerator
from ptycho_torch.workflows.distributed import (
    from_first_process,
    is_first_process,
    resolve_devices,
    resolve_strategy,
)
from ptycho_torch.workflows.preparation import read_scan
from ptycho_torch.workflows.reconstruction import forward_residual_of, reconstruct
from ptycho_torch.workflows.run_directory import RESOLVED_NAME, RunDirectory
from ptycho_torch.workflows.scan_match import model_for

__all__ = [
    "RECONSTRUCTION_FILES",
    "EvaluationOutcome",
    "InferenceOutcome",
    "compare_with_truth",
    "evaluate",
    "infer",
    "write_reconstruction",
]

logger = logging.getLogger(__name__)

_ARRAYS, _PRODUCT = "reconstruction.npz", "reconstruction.h5"
_METRICS = "metrics.json"
_COMPARISON = "comparison.png"
RECONSTRUCTION_FILES = (_ARRAYS, _PRODUCT, "amplitude.png", "phase.png", _COMPARISON, _METRICS)
INFERENCE_FILES = (*RECONSTRUCTION_FILES, RESOLVED_NAME, REPORT_NAME)
EVALUATION_FILES = (_METRICS, _COMPARISON, "frc.png")
_PICTURES = (
    Picture(name="amplitude.png", caption="Amplitude of the object"),
    Picture(name="phase.png", caption="Phase of the object, constant and ramp removed"),
    Picture(name=_COMPARISON, caption="The object beside the known one, and their difference"),
)


@dataclass(frozen=True, kw_only=True)
class InferenceOutcome:
    """What a reconstruction left behind.

    Attributes
    ----------
    output_dir
        Folder of the results.
    reconstruction
        Object, coverage and origin.
    report
        Comparison with the truth, if the scan holds one and enough of it is covered.
    forward_residual
        Misfit of the stitched object to all frames.
    patterns_per_second
        Frames predicted and stitched per second, reading and writing excluded.
    files
        Everything written.
    """

    output_dir: Path
    reconstruction: StitchedObject = field(repr=False)
    report: MetricReport | None
    forward_residual: float
    patterns_per_second: float
    files: tuple[Path, ...]


@dataclass(frozen=True, kw_only=True)
class EvaluationOutcome:
    """Comparison of a reconstruction with the truth, and the files written."""

    report: MetricReport
    files: tuple[Path, ...]


def infer(
    payload: InferencePayload,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
    should_stop: ShouldStop | None = None,
    command: Sequence[str] | None = None,
) -> InferenceOutcome:
    """Reconstruct a scan.

    Parameters
    ----------
    payload
        From :func:`ptycho_torch.config_factory.create_inference_payload`.
    overwrite
        Replace older results in the same directory once these are complete.
    progress
        Called with groups done and groups in all; reading, stitching and the comparison with the frames are
        stages of their own, see :class:`ptycho_torch.control.StagedProgress`.
    should_stop
        Asked after every batch; its first true answer ends the run, which then has written nothing.
    command
        Command line, for the record.

    Raises
    ------
    BundleError
        If the bundle cannot be used.
    ConfigError
        If the settings do not fit the data or the directory holds other results.
    DataError
        If the scan breaks the data contract. Nothing has been written then.
    RunCancelled
        When ``should_stop`` said so.
    """
    config, execution = payload.inference_config, payload.execution_config
    assert config.model_path is not None
    run = _find_place(config.output_dir, overwrite=overwrite)
    device = resolve_accelerator(execution.accelerator)
    model, manifest = load_bundle(config.model_path, device=device)
    training: Any = manifest.configuration.get("training", {})
    scan, groups = _read(
        payload,
        nphotons=float(training.get("nphotons", 1e9)),
        progress=stage_of(progress, "reading", "frame"),
    )
    model = model_for(model, scan)
    work = _Work(
        model=model,
        scan=scan,
        groups=groups,
        batch_size=execution.inference_batch_size or int(training.get("batch_size", 16)),
        middle_trim=execution.middle_trim,
        progress=progress,
        should_stop=should_stop,
    )
    with numerics():
        result, residual, seconds = _spread(work, execution, device)
    n_used = len(np.unique(groups.frames))
    speed = n_used / seconds

    def write() -> tuple[MetricReport | None, tuple[Path, ...]]:
        probe = model.probe.detach().cpu().numpy()
        report = compare_with_truth(result, scan, probe)
        folder = run.open()
        write_reconstruction(
            folder, result, work.seen(), probe, payload.resolution.to_dict(), report, residual
        )
        write_resolved(folder / RESOLVED_NAME, payload.resolution, installed_versions(), list(command or ()))
        facts = [
            ("model", str(config.model_path)),
            ("scan", f"{n_used} of {scan.n_frames} frames of {scan.N} × {scan.N} px"),
            ("object", f"{' × '.join(str(side) for side in result.object.shape)} px"),
            ("misfit of the amplitudes", f"{residual:.4f}"),
            ("speed", f"{speed:.0f} patterns/s on {device}"),
        ]
        title = f"Reconstruction of {name_of(payload.test_data)}"
        write_html_report(folder, title=title, facts=facts, pictures=_PICTURES)
        return report, run.publish()

    report, files = from_first_process(write)
    return InferenceOutcome(
        output_dir=run.path,
        reconstruction=result,
        report=report,
        forward_residual=residual,
        patterns_per_second=speed,
        files=files,
    )


def _find_place(path: Path, *, overwrite: bool) -> RunDirectory:
    if is_first_process():
        return RunDirectory.check(path, INFERENCE_FILES, overwrite=overwrite)
    return RunDirectory(path, INFERENCE_FILES, path)


@dataclass(frozen=True, kw_only=True)
class _Work:
    """A reconstruction, as it is given to each process."""

    model: PatchModel
    scan: Scan
    groups: Groups
    batch_size: int
    middle_trim: int
    progress: Progress | None
    should_stop: ShouldStop | None

    def seen(self) -> Scan:
        """The frames that are in a group."""
        used = np.unique(self.groups.frames)
        return self.scan if len(used) == self.scan.n_frames else self.scan.take(used)


def _spread(
    work: _Work, execution: PyTorchExecutionConfig, device: str
) -> tuple[StitchedObject, float, float]:
    """Reconstruct in as many processes as the settings ask for; returns object, residual and seconds."""
    devices = resolve_devices(execution, device)
    if devices == 1 and execution.num_nodes == 1:
        return _reconstruct(None, work)
    fabric = Fabric(
        accelerator=device,
        devices=devices,
        num_nodes=execution.num_nodes,
        strategy=resolve_strategy(execution, device),
    )
    if "spawn" in execution.strategy:
        # What shows progress lives in this process and cannot be sent to another.
        work = replace(work, progress=None, should_stop=None)
    # Lightning looks for tensors in arguments and results, and refuses frozen dataclasses there.
    arrays, residual, seconds = fabric.launch(partial(_reconstruct_arrays, work=work))
    return StitchedObject(**arrays), residual, seconds


def _reconstruct_arrays(fabric: Fabric, work: _Work) -> tuple[dict[str, np.ndarray], float, float]:
    result, residual, seconds = _reconstruct(fabric, work)
    return {"object": result.object, "weight": result.weight, "origin": result.origin}, residual, seconds


def _reconstruct(fabric: Fabric | None, work: _Work) -> tuple[StitchedObject, float, float]:
    processes = Processes.joined()
    model = work.model
    if fabric is not None:
        torch.set_flush_denormal(True)
        # What a process was sent may lie in memory that others see, and the scale may be changed.
        model = deepcopy(work.model).to(fabric.device)
    started = time.perf_counter()
    result = reconstruct(
        model,
        work.scan,
        groups=work.groups,
        batch_size=work.batch_size,
        middle_trim=work.middle_trim,
        progress=work.progress if processes.number == 0 else None,
        should_stop=work.should_stop,
        processes=processes,
    )
    seconds = time.perf_counter() - started
    comparing = stage_of(work.progress, "comparing", "frame") if processes.number == 0 else None
    residual = forward_residual_of(
        result, model, work.seen(), batch_size=work.batch_size, processes=processes, progress=comparing
    )
    return result, residual, seconds


def evaluate(
    reconstruction_file: str | Path,
    truth_file: str | Path,
    *,
    output_dir: str | Path | None = None,
    overwrite: bool = False,
) -> EvaluationOutcome:
    """Compare a saved reconstruction with a known object.

    Parameters
    ----------
    reconstruction_file
        As :func:`infer` writes it.
    truth_file
        A scan with ``objectGuess``, or an NPZ with ``object`` and ``origin``.
    output_dir
        Where ``metrics.json``, ``comparison.png`` and ``frc.png`` go; ``None`` writes nothing.
    overwrite
        Replace older results there.

    Raises
    ------
    FileNotFoundError
        If a file does not exist.
    DataError
        If a file holds no object.
    ShapeError
        If the two do not overlap.
    ConfigError
        If the directory holds other results.
    """
    run = None
    if output_dir is not None:
        run = RunDirectory.check(Path(output_dir), EVALUATION_FILES, overwrite=overwrite)
    ours, truth = load_object(reconstruction_file), load_object(truth_file)
    probe = load_probe(reconstruction_file)
    report = compare(
        ours.object,
        truth.object,
        weight=ours.weight,
        origin=ours.origin,
        truth_origin=truth.origin,
        probe_diameter=None if probe is None else probe_diameter(probe),
    )
    if run is None:
        return EvaluationOutcome(report=report, files=())
    work = run.open()
    _write_metrics(work / _METRICS, report)
    save_comparison_figure(work / _COMPARISON, report)
    save_frc_figure(work / "frc.png", report)
    return EvaluationOutcome(report=report, files=run.publish())


def _read(payload: InferencePayload, *, nphotons: float, progress: Progress | None) -> tuple[Scan, Groups]:
    """The scan, and the groups of frames that are solved together."""
    config = payload.inference_config
    scan = read_scan(
        payload.test_data,
        n_pixels=config.model.N,
        measurement_domain=config.measurement_domain,
        nphotons=nphotons,
        progress=progress,
    )
    groups = make_groups(
        scan.positions,
        gridsize=config.model.gridsize,
        n_groups=config.n_groups,
        neighbor_count=config.neighbor_count,
        seed=config.subsample_seed or 0,
        n_subsample=config.n_subsample,
        oversampling=config.enable_oversampling,
        pool_size=config.neighbor_pool_size,
        scan_index=scan.scan_index,
    )
    return scan, groups


def write_reconstruction(
    work: Path,
    result: StitchedObject,
    scan: Scan,
    probe: np.ndarray,
    configuration: Mapping[str, Any],
    report: MetricReport | None,
    residual: float,
) -> None:
    """Write the arrays, the product, the pictures and, beside a known object, the scores."""
    save_reconstruction(
        work / _ARRAYS, result, positions=scan.positions, probe=probe, configuration=configuration
    )
    _save_product(work / _PRODUCT, result, scan, probe)
    save_object_figures(work, result.object, result.weight, result.origin)
    if report is not None:
        _write_metrics(work / _METRICS, report, forward_residual=residual)
        save_comparison_figure(work / _COMPARISON, report)


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
    """Scores against the known object of a scan, if it has one and enough of it is covered."""
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


def _write_metrics(path: Path, report: MetricReport, **extra: float) -> None:
    with atomic_write(path, "w") as stream:
        json.dump({**report.to_dict(), **extra}, stream, indent=2)
