"""Refine a scan, or several of one object, and leave arrays, pictures and metrics behind."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ptycho_config import PyTorchExecutionConfig, RefineConfig, Resolution
from ptycho_torch.config_factory.refinement import RefinementPayload
from ptycho_torch.control import Progress
from ptycho_torch.data.dark import load_dark
from ptycho_torch.data.inputs import files_read
from ptycho_torch.data.limits import larger_arrays
from ptycho_torch.data.reading import read_scan
from ptycho_torch.data.scan.contract import Scan, frame_chunks
from ptycho_torch.diagnosis.doubts import misled_doubted, worst_of
from ptycho_torch.diagnosis.verdict import Verdict
from ptycho_torch.metrics import MetricReport
from ptycho_torch.reassembly import StitchedObject
from ptycho_torch.refine import RefinementInterrupted, RefineResult, forward_residual, refine
from ptycho_torch.refine.held_out import judge
from ptycho_torch.refine.result import ScanResult
from ptycho_torch.refine.settings import check_against
from ptycho_torch.refine.several import concatenated
from ptycho_torch.results import load_object
from ptycho_torch.workflows.jobs.judging import said_of, sure_of, warn_of, warn_of_unsettled
from ptycho_torch.workflows.processes.beside import beside
from ptycho_torch.workflows.processes.device import count_devices, numerics, resolve_accelerator
from ptycho_torch.workflows.runs.directory import RunDirectory
from ptycho_torch.workflows.runs.leaving import Leaving
from ptycho_torch.workflows.runs.saving import (
    ARRAYS,
    RUN_FILES,
    Origin,
    Reconstructed,
    announce_product,
    compare_with_truth,
    object_pixel_m,
    write_results,
)

__all__ = [
    "REFINEMENT_FILES",
    "RefinementOutcome",
    "read_of",
    "refine_in_processes",
    "refine_scan",
    "refined_record",
]

logger = logging.getLogger(__name__)

_COMMAND = "refine"
REFINEMENT_FILES = RUN_FILES


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
        Forward residual of the object over all frames, with the dose of each frame.
    files
        Everything written.
    verdict
        Whether the object explains frames better than an empty one.
    sure
        What there is to say about the error bars, as name and value.
    """

    output_dir: Path
    result: RefineResult = field(repr=False)
    report: MetricReport | None
    forward_residual: float
    files: tuple[Path, ...]
    verdict: Verdict
    sure: tuple[tuple[str, str], ...] = ()


def refine_scan(
    payload: RefinementPayload,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
    pictures: bool = True,
    command: Sequence[str] | None = None,
) -> RefinementOutcome:
    """Reconstruct a scan, or several scans of one object, by iteration alone.

    Parameters
    ----------
    payload
        From :func:`ptycho_torch.config_factory.refinement.create_refinement_payload`.
    overwrite
        Replace older results in the same directory once these are complete.
    progress
        Called after every epoch with its number, all epochs and the forward residual.
    pictures
        Whether pictures and ``report.html`` are written.
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
    ResultsIncomplete
        If a file could not be written; all others have been. Without ``reconstruction.npz`` no older result
        is replaced.

    Warns
    -----
    ResultWarning
        The object explains the frames no better than an empty one, or frames whose positions were searched
        belong nowhere for sure.
    """
    data, execution = payload.data_config, payload.execution_config
    inputs = (
        *files_read(payload.scan_files, data.reader, payload.parts_config),
        data.start_file,
        data.dark_file,
    )
    run = RunDirectory.check(data.output_dir, _COMMAND, REFINEMENT_FILES, overwrite=overwrite, inputs=inputs)
    device = resolve_accelerator(execution.accelerator)
    count_devices(execution, device, joins=False)
    with larger_arrays(execution.largest_array_gib):
        scans = [read_of(path, payload) for path in payload.scan_files]
        start = None if data.start_file is None else load_object(data.start_file, reader=data.reader)
        dark = None if data.dark_file is None else load_dark(data.dark_file, scans[0].N)
    announce_product(scans[0])
    with run.at_work() as work, numerics():
        interrupted = False
        try:
            config = payload.refine_config
            result = refine_in_processes(scans, start, config, execution, device, progress, dark=dark)
        except RefinementInterrupted as stop:
            result, interrupted = stop.result, True
        made = refined_record(result, scans, payload.resolution, config=payload.refine_config, device=device)
        names = ", ".join(path.name for path in payload.scan_files)
        origin = _origin(made, names, list(command or ()))
        leaving = Leaving(work)
        write_results(leaving, made, run=origin, pictures=pictures)
        leaving.require(ARRAYS)
        files = run.publish()
    assert made.verdict is not None
    warn_of(made.verdict)
    warn_of_unsettled(result.unsettled_frames)
    if interrupted:
        raise RefinementInterrupted(result, run.path / ARRAYS)
    leaving.require_all(run.path, files)
    return RefinementOutcome(
        output_dir=run.path,
        result=result,
        report=made.report,
        forward_residual=made.residual,
        files=files,
        verdict=made.verdict,
        sure=tuple(sure_of(made)),
    )


def read_of(path: Path, payload: RefinementPayload) -> Scan:
    """Read a scan as the settings of a refinement say."""
    data = payload.data_config
    return read_scan(
        path,
        n_pixels=None,
        measurement_domain=data.measurement_domain,
        nphotons=data.nphotons,
        reader=data.reader,
        orientation=payload.orientation_config,
        parts=payload.parts_config,
        clean=data.clean,
        strict=data.strict,
    )


def _origin(made: Reconstructed, name: str, command: Sequence[str]) -> Origin:
    frames = made.frames
    facts = [
        ("scan", f"{frames.n_frames} frames of {frames.N} × {frames.N} px"),
        ("object", f"{' × '.join(str(side) for side in made.object.object.shape)} px"),
        ("forward residual", f"{made.residual:.4f}"),
        ("epochs", str(len(made.curve))),
        *sure_of(made),
        *made.said.items(),
        *said_of(made.verdict),
    ]
    return Origin(title=f"Refinement of {name}", facts=facts, command=command)


def refined_record(
    result: RefineResult,
    scan: Scan | Sequence[Scan],
    settings: Resolution,
    *,
    config: RefineConfig,
    device: str,
    start: Reconstructed | None = None,
) -> Reconstructed:
    """What a refinement leaves: its object compared with the frames and with the truth.

    Parameters
    ----------
    result
        From :func:`ptycho_torch.refine.refine`.
    scan
        The frames that were fitted, of one scan or of several.
    settings
        Of the run.
    config
        How it was refined.
    device
        Where the object is compared with the frames.
    start
        What it started from, if that is a result of its own.
    """
    scans = [scan] if isinstance(scan, Scan) else list(scan)
    frames = scans[0] if len(scans) == 1 else concatenated(scans)
    fitted = replace(frames, positions=result.positions)
    bars = None if result.error_bars is None else result.error_bars.at(object_pixel_m(fitted))
    verdicts = [_judged(part, result, own, config, device) for part, own in _parts(result, scans)]
    said = dict(result.said)
    if len(scans) > 1:
        said |= {f"scan {number} verdict": one.sentence for number, one in enumerate(verdicts, start=1)}
    return Reconstructed(
        object=result.object,
        probe=result.probe,
        frames=fitted,
        residual=_residual(fitted, result, device),
        report=compare_with_truth(result.object, fitted, result.probe, bars),
        settings=settings,
        curve=result.residuals,
        others=result.others,
        said=said,
        start=start,
        error_bars=bars,
        verdict=misled_doubted(worst_of(verdicts), result.worse),
    )


def _parts(result: RefineResult, scans: Sequence[Scan]) -> list[tuple[Scan, ScanResult | None]]:
    """Each scan with the positions that belong to the object, and what belongs to it of several."""
    if not result.scans:
        return [(replace(scans[0], positions=result.positions), None)]
    return [
        (replace(scan, positions=result.positions[own.frames]), own)
        for scan, own in zip(scans, result.scans, strict=True)
    ]


def _judged(
    scan: Scan, result: RefineResult, own: ScanResult | None, config: RefineConfig, device: str
) -> Verdict:
    return judge(
        scan,
        result.object,
        result.probe if own is None else own.probe,
        config=config,
        sub_pixel=result.sub_pixel,
        background=result.background,
        variation=result.variation if own is None else own.variation,
        device=device,
    )


def _residual(scan: Scan, result: RefineResult, device: str) -> float:
    """Residual over all frames; of several scans, or of tiles, from what is known of each."""
    if result.scans:
        return _common_residual(scan, [(own.frames, own.forward_residual) for own in result.scans])
    if result.tile_residuals is not None:
        index = result.others["tile_index"]
        rows = [np.flatnonzero(index == tile) for tile in range(len(result.tile_residuals))]
        return _common_residual(scan, list(zip(rows, result.tile_residuals.tolist(), strict=True)))
    return forward_residual(
        scan,
        result.object,
        result.probe,
        sub_pixel=result.sub_pixel,
        dose=result.dose,
        variation=result.variation,
        background=result.background,
        intensity_scale=result.intensity_scale,
        slices=result.slices,
        slice_distance_m=result.slice_distance_m or 0.0,
        device=device,
    )


def _common_residual(scan: Scan, parts: Sequence[tuple[npt.NDArray[np.int64], float]]) -> float:
    """Residual over the frames of several parts, from their rows and residuals: a ratio of sums."""
    amplitudes = np.concatenate(
        [
            np.sqrt(scan.diffraction[some]).sum(axis=(1, 2), dtype=np.float64)
            for some in frame_chunks(scan.diffraction)
        ]
    )
    weights = [amplitudes[rows].sum() for rows, _ in parts]
    return float(np.average([residual for _, residual in parts], weights=weights))


def refine_in_processes(
    scan: Scan | Sequence[Scan],
    start: StitchedObject | None,
    config: RefineConfig,
    execution: PyTorchExecutionConfig,
    device_type: str,
    progress: Progress | None,
    *,
    dark: npt.NDArray[np.float64] | None = None,
) -> RefineResult:
    """Refine with the settings of a configuration, in as many processes as it asks for.

    Parameters
    ----------
    scan, start, progress, dark
        As for :func:`ptycho_torch.refine.refine`.
    config
        What is fitted, and how; for ``"auto"`` epochs see :func:`ptycho_torch.refine.settings.epochs_of`.
    execution
        ``devices`` says how many processes share the frames.
    device_type
        From :func:`ptycho_torch.workflows.processes.device.resolve_accelerator`.

    Raises
    ------
    ConfigError
        If there are fewer devices than asked for, or fewer frames than processes or frames per step.
    """
    count = count_devices(execution, device_type, joins=False)
    for one in [scan] if isinstance(scan, Scan) else scan:
        check_against(config, one, n_processes=count)
    with beside(count, device_type, _refine_share, (scan, start, config, dark)) as device:
        return refine(scan, start, config=config, device=device, progress=progress, dark=dark)


def _refine_share(
    scan: Scan | Sequence[Scan],
    start: StitchedObject | None,
    config: RefineConfig,
    dark: npt.NDArray[np.float64] | None,
    device: str,
) -> None:
    """Same call in another process of the group; the first one returns the result."""
    refine(scan, start, config=config, device=device, dark=dark)
