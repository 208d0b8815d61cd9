"""Compare a saved reconstruction with a known object."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

from ptycho_torch.data.inputs import files_read
from ptycho_torch.data.summary import probe_diameter
from ptycho_torch.errors import ResultWarning
from ptycho_torch.metrics import MetricReport, compare
from ptycho_torch.plotting import save_comparison_figure, save_frc_figure
from ptycho_torch.results import load_object, load_object_and_probe, load_sigmas
from ptycho_torch.workflows.runs.directory import RunDirectory
from ptycho_torch.workflows.runs.leaving import Leaving
from ptycho_torch.workflows.runs.saving import COMPARISON, METRICS, write_metrics

__all__ = ["EvaluationOutcome", "evaluate"]

_FRC = "frc.png"
EVALUATION_FILES = (METRICS, COMPARISON, _FRC)


@dataclass(frozen=True, kw_only=True)
class EvaluationOutcome:
    """Comparison of a reconstruction with the truth, and the files written."""

    report: MetricReport
    files: tuple[Path, ...]


def evaluate(
    reconstruction_file: str | Path,
    truth_file: str | Path,
    *,
    output_dir: str | Path | None = None,
    overwrite: bool = False,
    reader: str | Path | None = None,
    max_shift_px: float = 16.0,
) -> EvaluationOutcome:
    """Compare a saved reconstruction with a known object.

    Parameters
    ----------
    reconstruction_file
        As :func:`infer` writes it. Where it holds error bars, their coverage is told.
    truth_file
        A scan of any format that holds an object, or an NPZ with ``object`` and ``origin``.
    output_dir
        Where ``metrics.json``, ``comparison.png`` and ``frc.png`` go; ``None`` writes nothing.
    overwrite
        Replace older results there.
    reader
        Python file with a format of the caller's own, to read either file with.
    max_shift_px
        How far from each other the origins may be, px; see :func:`ptycho_torch.metrics.compare`.

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
    ResultsIncomplete
        If a file could not be written; all others have been. Without ``metrics.json`` no older result
        is replaced.

    Warns
    -----
    ResultWarning
        If the two match clearly better where no shift was looked for: the scores are those of a wrong place.
    """
    run = None
    if output_dir is not None:
        read = files_read((reconstruction_file, truth_file), reader)
        run = RunDirectory.check(
            Path(output_dir), "evaluate", EVALUATION_FILES, overwrite=overwrite, inputs=read
        )
    ours, probe = load_object_and_probe(reconstruction_file, reader=reader)
    truth = load_object(truth_file, reader=reader)
    report = compare(
        ours.object,
        truth.object,
        weight=ours.weight,
        origin=ours.origin,
        truth_origin=truth.origin,
        probe_diameter=None if probe is None else probe_diameter(probe),
        max_shift_px=max_shift_px,
        sigmas=load_sigmas(reconstruction_file, reader=reader),
    )
    said = report.beyond_search()
    if said is not None:
        warnings.warn(said, ResultWarning, stacklevel=2)
    if run is None:
        return EvaluationOutcome(report=report, files=())
    with run.at_work() as work:
        leaving = Leaving(work)
        with leaving.file(METRICS) as path:
            write_metrics(path, report)
        with leaving.file(COMPARISON) as path:
            save_comparison_figure(path, report)
        with leaving.file(_FRC) as path:
            save_frc_figure(path, report)
        leaving.require(METRICS)
        files = run.publish()
    leaving.require_all(run.path, files)
    return EvaluationOutcome(report=report, files=files)
