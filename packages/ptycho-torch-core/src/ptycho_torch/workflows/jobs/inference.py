"""Reconstruct a scan with a bundle and leave arrays, pictures and metrics behind."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch

from ptycho_config import evolve, write_resolved
from ptycho_torch.bundle import installed_versions, load_bundle
from ptycho_torch.config_factory import InferencePayload
from ptycho_torch.control import Progress, ShouldStop, stage_of
from ptycho_torch.data.groups.grouping import Groups, make_groups
from ptycho_torch.data.reading import read_scan
from ptycho_torch.data.scan.contract import Scan
from ptycho_torch.data.scan.memory import name_of
from ptycho_torch.html_report import REPORT_NAME, Picture, write_html_report
from ptycho_torch.metrics import MetricReport
from ptycho_torch.models import PatchModel
from ptycho_torch.prediction.scan_match import model_for
from ptycho_torch.reassembly import Processes, StitchedObject
from ptycho_torch.refine import RefinementInterrupted, RefineResult, forward_residual
from ptycho_torch.results import save_reconstruction
from ptycho_torch.workflows.jobs.refinement import CURVE, refine_in_processes, save_curve
from ptycho_torch.workflows.processes.copies import require_importable_script
from ptycho_torch.workflows.processes.device import numerics, require_compiler, resolve_accelerator
from ptycho_torch.workflows.processes.distributed import from_first_process, is_first_process
from ptycho_torch.workflows.processes.spreading import Reconstruction, reconstruct_in_processes
from ptycho_torch.workflows.runs.debugging import Intermediates, debug_messages
from ptycho_torch.workflows.runs.directory import RESOLVED_NAME, RunDirectory
from ptycho_torch.workflows.runs.saving import (
    ARRAYS,
    PICTURES,
    RECONSTRUCTION_FILES,
    compare_with_truth,
    write_reconstruction,
)

__all__ = ["InferenceOutcome", "infer"]

logger = logging.getLogger(__name__)

RefineProgress: TypeAlias = Callable[[int, int, float], None]

# Of all frames of a batch: about half a gigabyte while the network predicts them.
_PIXELS_ON_GPU = 2**22
_COMMAND = "infer"
_NETWORK, _INTERMEDIATE = "network.npz", "intermediate.npz"
INFERENCE_FILES = (*RECONSTRUCTION_FILES, RESOLVED_NAME, REPORT_NAME, _NETWORK, CURVE, _INTERMEDIATE)
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


def infer(
    payload: InferencePayload,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
    should_stop: ShouldStop | None = None,
    refine_progress: RefineProgress | None = None,
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
    device = resolve_accelerator(execution.accelerator)
    require_importable_script(execution, device)
    run = _find_place(config.output_dir, overwrite=overwrite)
    require_compiler(execution, device)
    model, manifest = load_bundle(config.model_path, device=device)
    if device == "cuda":
        # What convolutions on a GPU turn their input to anyway.
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    training: Any = manifest.configuration.get("training", {})
    scan, groups = _read(
        payload,
        nphotons=float(training.get("nphotons", 1e9)),
        progress=stage_of(progress, "reading", "frame"),
    )
    work = Reconstruction(
        model=model_for(model, scan),
        scan=scan,
        groups=groups,
        batch_size=execution.inference_batch_size or _batch_size(model, int(training.get("batch_size", 16))),
        num_workers=execution.num_workers,
        middle_trim=execution.middle_trim,
        pad_eval=execution.pad_eval,
        physics_steps=execution.physics_steps,
        progress=progress,
        should_stop=should_stop,
        observe=Intermediates() if config.debug else None,
        compiles=execution.compile,
    )
    with run.at_work(), numerics(), debug_messages(wanted=config.debug):
        network, residual, seconds = reconstruct_in_processes(work, execution, device)
        outcome, interrupted = from_first_process(
            lambda: _finish(
                payload, work, run, (network, residual, seconds), device, refine_progress, command
            )
        )
    if interrupted is not None:
        raise RefinementInterrupted(interrupted, run.path / ARRAYS)
    return outcome


def _batch_size(model: PatchModel, of_training: int) -> int:
    """Groups predicted together where nothing was stated: enough to fill the device."""
    if not model.intensity_scale.is_cuda:
        return of_training
    return max(of_training, _PIXELS_ON_GPU // (model.n_channels * model.n_pixels**2))


def _find_place(path: Path, *, overwrite: bool) -> RunDirectory:
    if is_first_process():
        return RunDirectory.check(path, _COMMAND, INFERENCE_FILES, overwrite=overwrite)
    return RunDirectory.beside(path, _COMMAND, INFERENCE_FILES)


def _finish(
    payload: InferencePayload,
    work: Reconstruction,
    run: RunDirectory,
    made: tuple[StitchedObject, float, float],
    device: str,
    refine_progress: RefineProgress | None,
    command: Sequence[str] | None,
) -> tuple[InferenceOutcome, RefineResult | None]:
    """Refine if that is asked for, and write; the second value is what an interrupted refinement reached."""
    (network, residual, seconds), model, seen = made, work.model, work.seen()
    refined = _refine(payload, seen, network, model, device, refine_progress)
    final = _Final.of(refined, network, seen, model, residual, device)
    network_report = compare_with_truth(network, work.scan, model.probe.detach().cpu().numpy())
    report = network_report
    if final.refinement is not None:
        report = compare_with_truth(final.object, work.scan, final.probe)
    speed = seen.n_frames / seconds
    _write(payload, work, run.work, network, final, (network_report, report), residual, command)
    _write_page(payload, work, run.work, final, f"{speed:.0f} patterns/s on {device}")
    outcome = InferenceOutcome(
        output_dir=run.path,
        reconstruction=final.object,
        network=network,
        refinement=final.refinement,
        report=report,
        network_report=network_report,
        forward_residual=final.residual,
        network_residual=residual,
        patterns_per_second=speed,
        files=run.publish(),
    )
    return outcome, refined.result if isinstance(refined, RefinementInterrupted) else None


def _write(
    payload: InferencePayload,
    work: Reconstruction,
    folder: Path,
    network: StitchedObject,
    final: _Final,
    reports: tuple[MetricReport | None, MetricReport | None],
    residual: float,
    command: Sequence[str] | None,
) -> None:
    """Write arrays, pictures, scores and settings."""
    beside = {} if final.refinement is None else _beside(reports[0], residual)
    settings = payload.resolution.to_dict()
    write_reconstruction(
        folder, final.object, final.frames, final.probe, settings, reports[1], final.residual, **beside
    )
    if final.refinement is not None:
        _save_network(folder / _NETWORK, network, work.seen(), work.model, payload)
        save_curve(folder, final.refinement)
    if isinstance(work.observe, Intermediates):
        work.observe.save(folder / _INTERMEDIATE, work.groups, work.model)
    write_resolved(folder / RESOLVED_NAME, payload.resolution, installed_versions(), list(command or ()))


def _write_page(
    payload: InferencePayload, work: Reconstruction, folder: Path, final: _Final, speed: str
) -> None:
    facts = [
        ("model", str(payload.inference_config.model_path)),
        (
            "scan",
            f"{work.seen().n_frames} of {work.scan.n_frames} frames of {work.scan.N} × {work.scan.N} px",
        ),
        ("object", f"{' × '.join(str(side) for side in final.object.object.shape)} px"),
        ("misfit of the amplitudes", f"{final.residual:.4f}"),
        ("speed of the network", speed),
    ]
    title = f"Reconstruction of {name_of(payload.test_data)}"
    write_html_report(folder, title=title, facts=facts, pictures=(*PICTURES, _CURVE_PICTURE))


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
        device: str,
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
            residual=forward_residual(
                fitted, found.object, found.probe, sub_pixel=found.sub_pixel, device=device
            ),
            refinement=found,
        )


def _refine(
    payload: InferencePayload,
    scan: Scan,
    start: StitchedObject,
    model: PatchModel,
    device: str,
    progress: RefineProgress | None,
) -> RefineResult | RefinementInterrupted | None:
    """Refine the object of the network with the probe of the bundle, if the settings ask for it."""
    if payload.refine_config.refine_epochs == "auto":
        return None
    lit = replace(scan, probe=model.probe.detach().cpu().numpy())
    execution = payload.execution_config
    if Processes.joined().count > 1:
        logger.info("the first process refines alone; spawned processes would share the frames")
        execution = evolve(execution, devices=1)
    try:
        return refine_in_processes(lit, start, payload.refine_config, execution, device, progress)
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


def _read(payload: InferencePayload, *, nphotons: float, progress: Progress | None) -> tuple[Scan, Groups]:
    """The scan, and the groups of frames that are solved together."""
    config = payload.inference_config
    scan = read_scan(
        payload.test_data,
        n_pixels=config.model.N,
        measurement_domain=config.measurement_domain,
        nphotons=nphotons,
        progress=progress,
        reader=config.reader,
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
