"""Refine a scan against all its frames, and leave arrays, pictures and metrics behind."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ptycho_config import PyTorchExecutionConfig, RefineConfig, write_resolved
from ptycho_torch.bundle import installed_versions
from ptycho_torch.config_factory.refinement import RefinementPayload
from ptycho_torch.data.reading import read_scan
from ptycho_torch.data.scan.contract import Scan
from ptycho_torch.html_report import REPORT_NAME, Picture, write_html_report
from ptycho_torch.metrics import MetricReport
from ptycho_torch.plotting import save_training_figure
from ptycho_torch.reassembly import StitchedObject
from ptycho_torch.refine import RefinementInterrupted, RefineResult, forward_residual, refine
from ptycho_torch.refine.settings import check_against
from ptycho_torch.results import load_object
from ptycho_torch.workflows.processes.beside import beside, count_devices
from ptycho_torch.workflows.processes.device import numerics, resolve_accelerator
from ptycho_torch.workflows.runs.directory import RESOLVED_NAME, RunDirectory
from ptycho_torch.workflows.runs.saving import (
    ARRAYS,
    PICTURES,
    RECONSTRUCTION_FILES,
    compare_with_truth,
    write_reconstruction,
)

__all__ = ["CURVE", "REFINEMENT_FILES", "RefinementOutcome", "refine_in_processes", "refine_scan"]

logger = logging.getLogger(__name__)

_COMMAND = "refine"
CURVE = "refinement.png"
REFINEMENT_FILES = (*RECONSTRUCTION_FILES, RESOLVED_NAME, REPORT_NAME, CURVE)

Progress = Callable[[int, int, float], None]


@dataclass(frozen=True, kw_only=True)
class RefinementOutcome:
    """What a refinement left behind.

    Attributes
    ----------
    output_dir
        Folder of the results.
    result
        Object, probe, positions and curves.
    report
        Comparison with the truth, if the scan holds one and enough of it is covered.
    forward_residual
        Misfit of the object to all frames, with the dose of each frame.
    files
        Everything written.
    """

    output_dir: Path
    result: RefineResult = field(repr=False)
    report: MetricReport | None
    forward_residual: float
    files: tuple[Path, ...]


def refine_scan(
    payload: RefinementPayload,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
    command: Sequence[str] | None = None,
) -> RefinementOutcome:
    """Reconstruct a scan by iteration alone.

    Parameters
    ----------
    payload
        From :func:`ptycho_torch.config_factory.refinement.create_refinement_payload`.
    overwrite
        Replace older results in the same directory once these are complete.
    progress
        Called after every epoch with its number, all epochs and the forward residual.
    command
        Command line, for the record.

    Raises
    ------
    ConfigError
        If the settings do not fit the data or the directory holds other results.
    DataError
        If the scan breaks the data contract. Nothing has been written then.
    FloatingPointError
        If the objective stops being a finite number.
    RefinementInterrupted
        On Ctrl-C; what the last complete epoch reached has been written and is named.
    """
    data, execution = payload.data_config, payload.execution_config
    assert data.scan_file is not None
    run = RunDirectory.check(data.output_dir, _COMMAND, REFINEMENT_FILES, overwrite=overwrite)
    device = resolve_accelerator(execution.accelerator)
    count_devices(execution.devices, device)
    scan = read_scan(
        data.scan_file,
        n_pixels=None,
        measurement_domain=data.measurement_domain,
        nphotons=data.nphotons,
        reader=data.reader,
    )
    start = None if data.start_file is None else load_object(data.start_file, reader=data.reader)
    with run.at_work() as work, numerics():
        interrupted = False
        try:
            result = refine_in_processes(scan, start, payload.refine_config, execution, device, progress)
        except RefinementInterrupted as stop:
            result, interrupted = stop.result, True
        fitted = replace(scan, positions=result.positions)
        residual = forward_residual(
            fitted, result.object, result.probe, sub_pixel=result.sub_pixel, device=device
        )
        report = compare_with_truth(result.object, scan, result.probe)
        _write(work, payload, result, fitted, (report, residual), list(command or ()))
        files = run.publish()
    if interrupted:
        raise RefinementInterrupted(result, run.path / ARRAYS)
    return RefinementOutcome(
        output_dir=run.path, result=result, report=report, forward_residual=residual, files=files
    )


def _write(
    work: Path,
    payload: RefinementPayload,
    result: RefineResult,
    fitted: Scan,
    scores: tuple[MetricReport | None, float],
    command: list[str],
) -> None:
    """Write arrays, pictures, scores, settings and the page."""
    report, residual = scores
    settings = payload.resolution.to_dict()
    write_reconstruction(
        work, result.object, fitted, result.probe, settings, report, residual, epochs=result.n_epochs
    )
    save_curve(work, result)
    write_resolved(work / RESOLVED_NAME, payload.resolution, versions=installed_versions(), command=command)
    facts = [
        ("scan", f"{fitted.n_frames} frames of {fitted.N} × {fitted.N} px"),
        ("object", f"{' × '.join(str(side) for side in result.object.object.shape)} px"),
        ("misfit of the amplitudes", f"{residual:.4f}"),
        ("epochs", str(result.n_epochs)),
    ]
    picture = Picture(name=CURVE, caption="Misfit of the amplitudes over the epochs")
    title = f"Refinement of {Path(str(payload.data_config.scan_file)).name}"
    write_html_report(work, title=title, facts=facts, pictures=(*PICTURES, picture))


def refine_in_processes(
    scan: Scan,
    start: StitchedObject | None,
    config: RefineConfig,
    execution: PyTorchExecutionConfig,
    device_type: str,
    progress: Progress | None,
) -> RefineResult:
    """Refine with the settings of a configuration, in as many processes as it asks for.

    Parameters
    ----------
    scan, start, progress
        As for :func:`ptycho_torch.refine.refine`.
    config
        What is fitted, and how; ``"auto"`` epochs are 60.
    execution
        ``devices`` says how many processes share the frames.
    device_type
        From :func:`ptycho_torch.workflows.processes.device.resolve_accelerator`.

    Raises
    ------
    ConfigError
        If there are fewer devices than asked for, or fewer frames than processes or frames per step.
    """
    count = count_devices(execution.devices, device_type)
    check_against(config, scan, n_processes=count)
    with beside(count, device_type, _refine_share, (scan, start, config)) as device:
        return refine(scan, start, config=config, device=device, progress=progress)


def _refine_share(scan: Scan, start: StitchedObject | None, config: RefineConfig, device: str) -> None:
    """Same call in another process of the group; the first one returns the result."""
    refine(scan, start, config=config, device=device)


def save_curve(work: Path, result: RefineResult) -> None:
    """Draw the forward residual over the epochs."""
    save_training_figure(
        work / CURVE, {"forward residual": result.residuals}, label="share of the amplitudes"
    )
