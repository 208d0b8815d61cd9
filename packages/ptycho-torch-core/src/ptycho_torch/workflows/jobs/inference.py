"""Reconstruct a scan with a bundle and leave arrays, pictures and metrics behind."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from ptycho_config import (
    ConfigError,
    InferenceConfig,
    PyTorchExecutionConfig,
    RefineConfig,
    evolve,
)
from ptycho_torch.bundle import BUNDLE_NAME, find_bundle, load_bundle
from ptycho_torch.config_factory import InferencePayload
from ptycho_torch.control import Progress, ShouldStop, stage_of
from ptycho_torch.data.groups.grouping import Groups, make_groups
from ptycho_torch.data.inputs import files_read
from ptycho_torch.data.limits import larger_arrays
from ptycho_torch.data.reading import read_scan
from ptycho_torch.data.scan.contract import Scan
from ptycho_torch.data.scan.memory import ScanSource, name_of
from ptycho_torch.diagnosis.verdict import Verdict
from ptycho_torch.metrics import MetricReport
from ptycho_torch.reassembly import StitchedObject, Team
from ptycho_torch.refine import RefinementInterrupted, RefineResult
from ptycho_torch.refine.held_out import judge
from ptycho_torch.workflows.jobs.judging import said_of, sure_of, warn_of
from ptycho_torch.workflows.jobs.refinement import refine_in_processes, refined_record
from ptycho_torch.workflows.processes.copies import require_importable_script
from ptycho_torch.workflows.processes.device import numerics, require_compiler, resolve_accelerator
from ptycho_torch.workflows.processes.distributed import from_first_process, is_first_process
from ptycho_torch.workflows.processes.spreading import ReconstructionTask, reconstruct_in_processes
from ptycho_torch.workflows.runs.debugging import Intermediates, debug_messages
from ptycho_torch.workflows.runs.directory import RunDirectory
from ptycho_torch.workflows.runs.leaving import Leaving
from ptycho_torch.workflows.runs.record import read_record
from ptycho_torch.workflows.runs.saving import (
    ARRAYS,
    NETWORK,
    RUN_FILES,
    Origin,
    Reconstructed,
    announce_product,
    compare_with_truth,
    write_results,
)

__all__ = ["InferenceOutcome", "infer"]

logger = logging.getLogger(__name__)

_COMMAND = "infer"
_INTERMEDIATE = "intermediate.npz"
INFERENCE_FILES = (*RUN_FILES, NETWORK, _INTERMEDIATE)


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
        Forward residual of ``reconstruction`` and of ``network``, over all frames.
    patterns_per_second
        Frames predicted and stitched per second, reading and writing excluded.
    files
        Everything written.
    verdict
        Whether the object explains frames better than an empty one.
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
    verdict: Verdict


def infer(
    payload: InferencePayload,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
    should_stop: ShouldStop | None = None,
    refine_progress: Progress | None = None,
    pictures: bool = True,
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
    pictures
        Whether pictures and ``report.html`` are written.
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
    ResultsIncomplete
        If a file could not be written; all others have been. Without ``reconstruction.npz`` no older result
        is replaced.

    Warns
    -----
    ResultWarning
        The object explains the frames no better than an empty one.
    """
    config, execution = payload.inference_config, payload.execution_config
    device = resolve_accelerator(execution.accelerator)
    require_importable_script(execution, device)
    inputs = (config.model_path, *files_read((payload.test_data,), config.reader, payload.parts_config))
    run = _find_place(config.output_dir, overwrite=overwrite, inputs=inputs)
    require_compiler(execution, device)
    _tell_of_unfinished_training(payload.model_path)
    model, manifest = load_bundle(payload.model_path, device=device)
    if device == "cuda":
        # What convolutions on a GPU turn their input to anyway.
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    training: Any = manifest.configuration.get("training", {})
    reading = stage_of(progress, "reading", "frame")
    nphotons = float(training.get("nphotons", 1e9))
    with larger_arrays(execution.largest_array_gib):
        scan, groups = _read(payload.test_data, config, payload, nphotons=nphotons, progress=reading)
    announce_product(scan)
    kept = Intermediates() if config.debug else None
    work = ReconstructionTask.asked_for(
        model,
        scan,
        groups,
        execution,
        batch_size=int(training.get("batch_size", 16)),
        progress=progress,
        should_stop=should_stop,
        observe=kept,
    )

    def finish() -> tuple[InferenceOutcome, RefineResult | None]:
        network = _network_record(work, stitched, residual, payload, device)
        final, result, stopped = _refined(network, payload.refine_config, execution, device, refine_progress)
        speed = network.frames.n_frames / seconds
        facts = [
            ("model", str(payload.model_path)),
            *_facts(final, scan, f"{speed:.0f} patterns/s on {device}"),
        ]
        title = f"Reconstruction of {name_of(payload.test_data)}"
        origin = Origin(title=title, facts=facts, command=list(command or ()))
        leaving = Leaving(run.work)
        write_results(leaving, final, run=origin, pictures=pictures)
        if kept is not None:
            with leaving.file(_INTERMEDIATE) as path:
                kept.save(path, groups, work.model)
        leaving.require(ARRAYS)
        outcome = _outcome(run, final, network, result, speed)
        if stopped is None:
            leaving.require_all(run.path, outcome.files)
        return outcome, stopped

    with run.at_work(), numerics(), debug_messages(wanted=config.debug):
        stitched, residual, seconds = reconstruct_in_processes(work, execution, device)
        outcome, stopped = from_first_process(finish)
    if is_first_process():
        warn_of(outcome.verdict)
    if stopped is not None:
        raise RefinementInterrupted(stopped, run.path / ARRAYS)
    return outcome


def _tell_of_unfinished_training(model_path: Path) -> None:
    """Say when a training was taken up again and has not ended: its bundle is that of the shorter one."""
    folder = model_path if model_path.is_dir() else model_path.parent
    if find_bundle(model_path) != folder / BUNDLE_NAME:
        return
    try:
        record = read_record(folder, "train")
    except ConfigError:  # a damaged record says nothing of a bundle that is whole
        return
    if record is not None and not record.complete:
        logger.warning(
            "%s: the training was taken up again and has not ended: the bundle is that of the shorter one; "
            "end it with train --resume",
            folder,
        )


def _find_place(path: Path, *, overwrite: bool, inputs: Sequence[Any]) -> RunDirectory:
    if is_first_process():
        return RunDirectory.check(path, _COMMAND, INFERENCE_FILES, overwrite=overwrite, inputs=inputs)
    return RunDirectory.beside(path, _COMMAND, INFERENCE_FILES)


def _read(
    source: ScanSource,
    config: InferenceConfig,
    payload: InferencePayload,
    *,
    nphotons: float,
    progress: Progress | None,
) -> tuple[Scan, Groups]:
    """The scan, and the groups of frames that are solved together."""
    scan = read_scan(
        source,
        n_pixels=config.model.N,
        measurement_domain=config.measurement_domain,
        nphotons=nphotons,
        progress=progress,
        reader=config.reader,
        orientation=payload.orientation_config,
        parts=payload.parts_config,
        clean=config.clean,
        strict=config.strict,
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


def _network_record(
    work: ReconstructionTask,
    stitched: StitchedObject,
    residual: float,
    payload: InferencePayload,
    device: str,
) -> Reconstructed:
    """What the network made, compared with the truth, and judged where it is not refined further."""
    probe, seen, config = work.model.probe.detach().cpu().numpy(), work.seen(), payload.refine_config
    ends_here = config.refine_epochs == "auto"
    return Reconstructed(
        object=stitched,
        probe=probe,
        frames=seen,
        verdict=judge(seen, stitched, probe, config=config, device=device) if ends_here else None,
        residual=residual,
        report=compare_with_truth(stitched, work.scan, probe),
        settings=payload.resolution,
    )


def _refined(
    network: Reconstructed,
    config: RefineConfig,
    execution: PyTorchExecutionConfig,
    device: str,
    progress: Progress | None,
) -> tuple[Reconstructed, RefineResult | None, RefineResult | None]:
    """Refine the object of the network, if the settings ask for it; the last value: the result, on Ctrl-C."""
    if config.refine_epochs == "auto":
        return network, None, None
    if Team.joined().count > 1:
        logger.info("the first process refines alone; spawned processes would share the frames")
        execution = evolve(execution, devices=1)
    lit, stopped = replace(network.frames, probe=network.probe), None
    try:
        result = refine_in_processes(lit, network.object, config, execution, device, progress)
    except RefinementInterrupted as stop:
        result = stopped = stop.result
    made = refined_record(
        result, network.frames, network.settings, config=config, start=network, device=device
    )
    return made, result, stopped


def _facts(final: Reconstructed, scan: Scan, speed: str) -> list[tuple[str, str]]:
    return [
        ("scan", f"{final.frames.n_frames} of {scan.n_frames} frames of {scan.N} × {scan.N} px"),
        ("object", f"{' × '.join(str(side) for side in final.object.object.shape)} px"),
        ("forward residual", f"{final.residual:.4f}"),
        ("speed of the network", speed),
        *sure_of(final),
        *said_of(final.verdict),
    ]


def _outcome(
    run: RunDirectory,
    final: Reconstructed,
    network: Reconstructed,
    refinement: RefineResult | None,
    speed: float,
) -> InferenceOutcome:
    """Put the results in place, and say what they are."""
    assert final.verdict is not None
    return InferenceOutcome(
        output_dir=run.path,
        reconstruction=final.object,
        network=network.object,
        refinement=refinement,
        report=final.report,
        network_report=network.report,
        forward_residual=final.residual,
        network_residual=network.residual,
        patterns_per_second=speed,
        files=run.publish(),
        verdict=final.verdict,
    )
