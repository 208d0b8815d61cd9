"""Search the settings of a refinement of a scan, and leave a record of every trial."""

from __future__ import annotations

import logging
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ptycho_config import (
    Config,
    OrientationConfig,
    PartsConfig,
    PyTorchExecutionConfig,
    RefineConfig,
    RefineDataConfig,
    evolve,
    field_specs,
    flag_words,
    write_resolved,
)
from ptycho_torch.bundle import installed_versions
from ptycho_torch.config_factory.tuning import TuningPayload
from ptycho_torch.control import Progress
from ptycho_torch.data.dark import load_dark
from ptycho_torch.data.inputs import files_read
from ptycho_torch.data.limits import larger_arrays
from ptycho_torch.trials.tuning import (
    Tuning,
    TuningInterrupted,
    TuningProblem,
    require_optuna,
    tune,
    tuning_problem,
)
from ptycho_torch.workflows.jobs.refinement import read_of
from ptycho_torch.workflows.processes.device import numerics, resolve_accelerator
from ptycho_torch.workflows.runs.directory import RESOLVED_NAME, TRIALS, RunDirectory
from ptycho_torch.workflows.runs.resume import check_same_settings
from ptycho_torch.workflows.runs.trial_record import read_trials, write_trials

__all__ = ["TUNING_FILES", "TuningFailed", "TuningOutcome", "repeating_words", "tune_scan"]

logger = logging.getLogger(__name__)

_COMMAND = "tune"
_BEST = "best"
TUNING_FILES = (TRIALS, RESOLVED_NAME)


class TuningFailed(RuntimeError):
    """No trial came to its end."""


@dataclass(frozen=True, kw_only=True)
class TuningOutcome:
    """What a search of settings left behind.

    Attributes
    ----------
    output_dir
        Folder of the results.
    tuning
        Every trial, and what they say together.
    words
        The command that refines the whole scan with the best settings, word by word.
    files
        Everything written.
    """

    output_dir: Path
    tuning: Tuning = field(repr=False)
    words: tuple[str, ...]
    files: tuple[Path, ...]

    @property
    def command(self) -> str:
        """The command as it is typed."""
        return shlex.join(self.words)


def tune_scan(
    payload: TuningPayload,
    *,
    overwrite: bool = False,
    resume: bool = False,
    progress: Progress | None = None,
    command: Sequence[str] | None = None,
    clock: Callable[[], float] = time.monotonic,
    began: float | None = None,
) -> TuningOutcome:
    """Search settings for a scan, judged by frames that were held out, within a budget.

    Parameters
    ----------
    payload
        From :func:`ptycho_torch.config_factory.create_tuning_payload`.
    overwrite
        Replace older results in the same directory once these are complete.
    resume
        Continue the search in the directory, interrupted or not: for the budget again, or for more trials.
    progress
        Called after every trial with trials done and trials that there may be.
    command
        Command line, for the record.
    clock
        Tells the time; s.
    began
        When the budget began, by this clock; None: with the call.

    Raises
    ------
    ConfigError
        If optuna is not installed, the settings do not fit the scan or the directory holds other results; on
        resuming, if there is no search or it was started with other settings or another scan.
    DataError
        If the scan breaks the data contract. Nothing has been written then.
    TuningFailed
        If no trial came to its end. The record is kept, and the search can be resumed.
    TuningInterrupted
        On Ctrl-C; the trials so far have been written, and the search can be resumed.
    """
    began = clock() if began is None else began
    require_optuna()
    run = _find_place(payload, overwrite=overwrite, resume=resume)
    device = resolve_accelerator(payload.execution_config.accelerator)
    known = read_trials(run.work) if resume else None
    problem = _problem(payload, payload.fixed if known is None else known.fixed)
    before = () if known is None else known.trials_of(problem.identity, problem.space)
    path = run.work / TRIALS

    def write(tuning: Tuning) -> None:
        write_trials(run.work, tuning, problem.identity, repeating_words(payload, tuning.settings))

    with run.at_work() as work, numerics():
        if run.resumed:
            run.begin()
            logger.info("continuing after %d trials", len(before))
        write(problem.told(before))
        write_resolved(work / RESOLVED_NAME, payload.resolution, installed_versions(), list(command or ()))
        try:
            tuning = tune(
                problem,
                budget_s=payload.tune_config.budget_s - (clock() - began),
                trials=payload.tune_config.trials,
                device=device,
                before=before,
                on_trial=write,
                progress=progress,
                clock=clock,
            )
        except TuningInterrupted as stop:
            write(stop.tuning)
            raise TuningInterrupted(stop.tuning, path) from None
        write(tuning)
        if tuning.best is None:
            raise TuningFailed(_why_failed(tuning, payload, path))
        files = run.publish()
    words = repeating_words(payload, tuning.settings)
    return TuningOutcome(output_dir=run.path, tuning=tuning, words=words, files=files)


def _find_place(payload: TuningPayload, *, overwrite: bool, resume: bool) -> RunDirectory:
    data = payload.data_config
    if resume:
        run = RunDirectory.resume(data.output_dir, _COMMAND, TUNING_FILES)
        check_same_settings(payload.resolution, run.work / RESOLVED_NAME, job=_COMMAND)
        return run
    inputs = (*files_read(payload.scan_files, data.reader, payload.parts_config), data.dark_file)
    return RunDirectory.check(
        data.output_dir, _COMMAND, TUNING_FILES, overwrite=overwrite, resumable=True, inputs=inputs
    )


def _problem(payload: TuningPayload, fixed: Mapping[str, Any]) -> TuningProblem:
    data, search = payload.data_config, payload.tune_config
    with larger_arrays(payload.execution_config.largest_array_gib):
        scan = read_of(payload.scan_files[0], payload)
        dark = None if data.dark_file is None else load_dark(data.dark_file, scan.N)
    return tuning_problem(scan, fixed, choose=search.chosen, dark=dark, seed=search.tune_seed)


def _why_failed(tuning: Tuning, payload: TuningPayload, path: Path) -> str:
    failed = next((trial for trial in tuning.trials if trial.state == "failed"), None)
    kept = f"the trials are in {path}"
    if failed is not None:
        return f"no trial came to its end; number {failed.number} failed: {failed.reason}; {kept}"
    budget = payload.tune_config.budget_s
    return f"no trial came to its end within {budget:g} s; --resume with a larger --budget-s goes on; {kept}"


def repeating_words(payload: TuningPayload, settings: Mapping[str, Any]) -> tuple[str, ...]:
    """The command that refines the whole scan with settings that were found, word by word.

    Parameters
    ----------
    payload
        Of the search. Everything in it that differs from the defaults is stated.
    settings
        What was found, by the names of :class:`ptycho_config.RefineConfig`.
    """
    data = payload.data_config
    words = ["ptycho-torch", "refine", "--data", str(data.scan_file)]
    words += flag_words(RefineDataConfig, {"output_dir": data.output_dir / _BEST})
    parts: tuple[tuple[type[Config], Config], ...] = (
        (RefineDataConfig, data),
        (OrientationConfig, payload.orientation_config),
        (PartsConfig, payload.parts_config),
        (RefineConfig, evolve(payload.refine_config, **settings)),
        (PyTorchExecutionConfig, payload.execution_config),
    )
    for cls, config in parts:
        stated = {
            spec.name: getattr(config, spec.name)
            for spec in field_specs(cls)
            if spec.name not in ("scan_file", "output_dir")
            and {"tune", "refine"} <= set(spec.jobs)
            and getattr(config, spec.name) != spec.default
        }
        words += flag_words(cls, stated)
    return tuple(words)
