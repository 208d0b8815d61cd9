"""Reconstruct a scan with a bundle and leave arrays, pictures and metrics behind."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ptycho_config import write_resolved
from ptycho_torch.bundle import installed_versions, load_bundle
from ptycho_torch.config_factory import InferencePayload
from ptycho_torch.control import Progress, ShouldStop, stage_of
from ptycho_torch.data.contract import Scan
from ptycho_torch.data.grouping import Groups, make_groups
from ptycho_torch.data.memory import name_of
from ptycho_torch.data.summary import probe_diameter
from ptycho_torch.html_report import REPORT_NAME, Picture, write_html_report
from ptycho_torch.metrics import MetricReport, compare
from ptycho_torch.models import PatchModel
from ptycho_torch.plotting import save_comparison_figure, save_frc_figure
from ptycho_torch.reassembly import StitchedObject
from ptycho_torch.refine import RefinementInterrupted, RefineResult, forward_residual
from ptycho_torch.results import load_object, load_probe, save_reconstruction
from ptycho_torch.workflows.device import numerics, resolve_accelerator
from ptycho_torch.workflows.preparation import read_scan
from ptycho_torch.workflows.reconstruction import forward_residual_of, reconstruct
from ptycho_torch.workflows.refinement import CURVE, refine_in_processes, save_curve
from ptycho_torch.workflows.run_directory import RESOLVED_NAME, RunDirectory
from ptycho_torch.workflows.saving import (
    ARRAYS,
    COMPARISON,
    METRICS,
    PICTURES,
    RECONSTRUCTION_FILES,
    compare_with_truth,
    write_metrics,
    write_reconstruction,
)
from ptycho_torch.workflows.scan_match import model_for

__all__ = ["EvaluationOutcome", "InferenceOutcome", "evaluate", "infer"]

_NETWORK = "network.npz"
INFERENCE_FILES = (*RECONSTRUCTION_FILES, RESOLVED_NAME, REPORT_NAME, _NETWORK, CURVE)
EVALUATION_FILES = (METRICS, COMPARISON, "frc.png")
_CURVE_PICTURE = Picture(name=CURVE, caption="Misfit of the amplitudes over the epochs of refinement")


@dataclass(frozen=True, kw_only=True)
class InferenceOutcome:
    """What a reconstruction left behind.

    Attributes
    ----------
    output_dir
        Folder of the results.
    reconstruction
        Object, coverage and origin; the refined one where a refinement was asked for.
    network
        The object of the network; the same as ``reconstruction`` without a refinement.
    refinement
        Probe, positions and curves of the refinement, if there was one.
    report, network_report
        Comparison of each with the truth, if the scan holds one and enough of it is covered.
    forward_residual, network_residual
        Misfit of each to all frames.
    patterns_per_second
        Frames predicted and stitched per second, reading and writing excluded.
    files
        Everything written.
    """

    output_dir: Path
    reconstruction: StitchedObject = field(repr=False)
    network: StitchedObject = field(repr=False)
    refinement: RefineResult | None = field(repr=False)
    report: MetricReport | None
    network_report: MetricReport | None
    forward_residual: float
    network_residual: float
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
    refine_progress: Callable[[int, int, float], None] | None = None,
    command: Sequence[str] | None = None,
) -> InferenceOutcome:
    """Reconstruct a scan, and refine the object if the settings ask for it.

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
    refine_progress
        Called after every epoch of a refinement with its number, all epochs and the forward residual.
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
    RefinementInterrupted
        On Ctrl-C in a refinement; what its last complete epoch reached has been written and is named.
    """
    config, execution = payload.inference_config, payload.execution_config
    assert config.model_path is not None
    run = RunDirectory.check(config.output_dir, INFERENCE_FILES, overwrite=overwrite)
    device = resolve_accelerator(execution.accelerator)
    model, manifest = load_bundle(config.model_path, device=device)
    training: Any = manifest.configuration.get("training", {})
    scan, groups = _read(
        payload,
        nphotons=float(training.get("nphotons", 1e9)),
        progress=stage_of(progress, "reading", "frame"),
    )
    batch_size = execution.inference_batch_size or int(training.get("batch_size", 16))
    model = model_for(model, scan)
    with numerics():
        started = time.perf_counter()
        result = reconstruct(
            model,
            scan,
            groups=groups,
            batch_size=batch_size,
            middle_trim=execution.middle_trim,
            progress=progress,
            should_stop=should_stop,
        )
        seconds = time.perf_counter() - started
        used = np.unique(groups.frames)
        seen = scan if len(used) == scan.n_frames else scan.take(used)
        comparing = stage_of(progress, "comparing", "frame")
        residual = forward_residual_of(result, model, seen, batch_size=batch_size, progress=comparing)
        refined = _refine(payload, seen, result, model, device, refine_progress)
    final = _Final.of(refined, result, seen, model, residual)
    network_report = compare_with_truth(result, scan, model.probe.detach().cpu().numpy())
    report = network_report
    if final.refinement is not None:
        report = compare_with_truth(final.object, scan, final.probe)
    work = run.open()
    network = {} if final.refinement is None else _beside(network_report, residual)
    write_reconstruction(
        work,
        final.object,
        final.frames,
        final.probe,
        payload.resolution.to_dict(),
        report,
        final.residual,
        **network,
    )
    if final.refinement is not None:
        _save_network(work / _NETWORK, result, seen, model, payload)
        save_curve(work, final.refinement)
    write_resolved(
        work / RESOLVED_NAME, payload.resolution, versions=installed_versions(), command=list(command or ())
    )
    speed = len(used) / seconds
    _write_page(work, payload, seen, scan.n_frames, final, speed, device)
    files = run.publish()
    if isinstance(refined, RefinementInterrupted):
        raise RefinementInterrupted(refined.result, run.path / ARRAYS)
    return InferenceOutcome(
        output_dir=run.path,
        reconstruction=final.object,
        network=result,
        refinement=final.refinement,
        report=report,
        network_report=network_report,
        forward_residual=final.residual,
        network_residual=residual,
        patterns_per_second=speed,
        files=files,
    )


@dataclass(frozen=True, kw_only=True)
class _Final:
    """What a run hands over: the object of the network, or the refined one."""

    object: StitchedObject
    frames: Scan
    probe: np.ndarray
    residual: float
    refinement: RefineResult | None

    @classmethod
    def of(
        cls,
        refined: RefineResult | RefinementInterrupted | None,
        network: StitchedObject,
        frames: Scan,
        model: PatchModel,
        residual: float,
    ) -> _Final:
        """The refined object, complete or interrupted, or that of the network."""
        if refined is None:
            probe = model.probe.detach().cpu().numpy()
            return cls(object=network, frames=frames, probe=probe, residual=residual, refinement=None)
        found = refined.result if isinstance(refined, RefinementInterrupted) else refined
        fitted = replace(frames, positions=found.positions)
        return cls(
            object=found.object,
            frames=fitted,
            probe=found.probe,
            residual=forward_residual(fitted, found.object, found.probe, sub_pixel=found.sub_pixel),
            refinement=found,
        )


def _refine(
    payload: InferencePayload,
    scan: Scan,
    start: StitchedObject,
    model: PatchModel,
    device: str,
    progress: Callable[[int, int, float], None] | None,
) -> RefineResult | RefinementInterrupted | None:
    """Refine the object of the network with the probe of the bundle, if the settings ask for it."""
    if payload.refine_config.refine_epochs == "auto":
        return None
    lit = replace(scan, probe=model.probe.detach().cpu().numpy())
    try:
        return refine_in_processes(
            lit, start, payload.refine_config, payload.execution_config, device, progress
        )
    except RefinementInterrupted as stop:
        return stop


def _save_network(
    path: Path, network: StitchedObject, scan: Scan, model: PatchModel, payload: InferencePayload
) -> None:
    probe = model.probe.detach().cpu().numpy()
    save_reconstruction(
        path, network, positions=scan.positions, probe=probe, configuration=payload.resolution.to_dict()
    )


def _beside(report: MetricReport | None, residual: float) -> dict[str, Any]:
    """Entry of the metrics for the object that the refinement started from."""
    scores = {} if report is None else {"scores": report.scores.to_dict()}
    return {"network": {**scores, "forward_residual": residual}}


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
    write_metrics(work / METRICS, report)
    save_comparison_figure(work / COMPARISON, report)
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


def _write_page(
    work: Path,
    payload: InferencePayload,
    seen: Scan,
    n_frames: int,
    final: _Final,
    speed: float,
    device: str,
) -> None:
    facts = [
        ("model", str(payload.inference_config.model_path)),
        ("scan", f"{seen.n_frames} of {n_frames} frames of {seen.N} × {seen.N} px"),
        ("object", f"{' × '.join(str(side) for side in final.object.object.shape)} px"),
        ("misfit of the amplitudes", f"{final.residual:.4f}"),
        ("speed", f"{speed:.0f} patterns/s on {device}"),
    ]
    if final.refinement is not None:
        facts.append(("refinement", f"{final.refinement.n_epochs} epochs"))
    title = f"Reconstruction of {name_of(payload.test_data)}"
    write_html_report(work, title=title, facts=facts, pictures=(*PICTURES, _CURVE_PICTURE))
