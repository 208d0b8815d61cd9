"""``ptycho-torch tune``: find settings of refine by frames held out, and print the command that uses them."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ptycho_config import schema_of_job
from ptycho_torch_cli.console import UsageError, note, progress_of, run_command
from ptycho_torch_cli.parsers import (
    CommandParser,
    add_common_flags,
    add_layer_flags,
    add_run_flags,
    add_settings,
    add_switch,
)
from ptycho_torch_cli.shared import (
    cli_layer,
    missing_files_are_usage,
    print_resolution,
    record_of_run,
    require_sound_layers,
    wants_quiet,
)

if TYPE_CHECKING:
    from ptycho_torch.config_factory import TuningPayload
    from ptycho_torch.trials import Trial, Tuning
    from ptycho_torch.workflows import TuningOutcome

__all__ = ["build_parser", "main"]

_JOB = "tune"
_SCHEMA = schema_of_job(_JOB)
_ROWS = 12
"""Trials that the table shows; all are in the record."""


def build_parser() -> CommandParser:
    """Return the parser of the command."""
    parser = CommandParser(
        "ptycho-torch tune",
        description="Search the settings of refine: likelihood, modes of the probe, unknowns to fit, "
        "smoothness. Every trial refines a hundred frames at most, and is judged by how well it predicts "
        "frames that were held out. What is stated is not searched. Prints the command that repeats the "
        "best on the whole scan, or says that nothing beats the defaults beyond the noise. Leaves "
        "trials.json with every trial and resolved_config.json in the output folder. Needs the extra "
        "ptycho-torch-core[tune].",
        usage="--data SCAN --output-dir FOLDER [--budget-s SECONDS] [--trials N] [--resume] [settings]",
        examples=(
            (
                "ten minutes for a scan",
                "ptycho-torch tune --data scan.npz --output-dir tuned",
            ),
            (
                "the likelihood and the smoothness alone, with the probe fitted in every trial",
                "ptycho-torch tune --data scan.npz --output-dir few --choose likelihood,smoothness "
                "--refine-probe --budget-s 120",
            ),
            (
                "go on for five more minutes",
                "ptycho-torch tune --resume --output-dir tuned --budget-s 300",
            ),
        ),
    )
    add_layer_flags(parser, _SCHEMA, job=_JOB, with_profile=False)
    add_run_flags(
        parser,
        with_resume="go on with the search in the output folder, interrupted or not, with its settings: for "
        "the budget again, or to more --trials",
    )
    group = parser.add_argument_group("Tune: Search")
    add_switch(group, "--json", "print what was found as JSON")
    add_settings(parser, "tune", _SCHEMA["tune"])
    add_settings(parser, "refine_data", _SCHEMA["refine_data"], job=_JOB, heading="Tune: Data")
    add_settings(parser, "orientation", _SCHEMA["orientation"])
    add_settings(parser, "parts", _SCHEMA["parts"], job=_JOB)
    add_settings(parser, "refine", _SCHEMA["refine"], job=_JOB)
    add_settings(parser, "execution", _SCHEMA["execution"], job=_JOB)
    add_common_flags(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_command(build_parser(), _tune, argv)


def _tune(args: argparse.Namespace) -> int:
    began = time.monotonic()
    payload = _payload(args)
    if args.dry_run:
        print_resolution(payload)
        return 0
    with progress_of("trial", name="tuning", quiet=wants_quiet(args)) as progress:
        from ptycho_torch.trials import TuningInterrupted
        from ptycho_torch.workflows import tune_scan

        try:
            outcome = tune_scan(
                payload,
                overwrite=args.overwrite,
                resume=args.resume,
                progress=progress,
                command=args.command_line,
                began=began,
            )
        except TuningInterrupted as stop:
            note(_table(stop.tuning))
            raise
    print(_as_json(outcome) if args.json else _report(outcome))
    return 0


def _payload(args: argparse.Namespace) -> TuningPayload:
    layer = cli_layer(args, _SCHEMA)
    config_file = getattr(args, "config_file", None)
    if args.resume and args.overwrite:
        raise UsageError("--resume continues the search that --overwrite would replace; keep one of them")
    if args.resume and config_file is None:
        config_file = record_of_run(layer, _SCHEMA["refine_data"], _JOB)
    require_sound_layers(
        _JOB,
        layer,
        args,
        config_file,
        {"--data": layer.get("scan_file"), "--dark": layer.get("dark_file")},
        folders=("--data",),
    )
    from ptycho_torch.config_factory import create_tuning_payload

    with missing_files_are_usage():
        return create_tuning_payload(None, None, cli=layer, config_file=config_file)


def _as_json(outcome: TuningOutcome) -> str:
    found: dict[str, Any] = outcome.tuning.to_dict()
    for trial in found["trials"]:
        del trial["point"], trial["deviances"]
    found |= {"command": outcome.command, "words": list(outcome.words), "output_dir": str(outcome.output_dir)}
    return json.dumps(found, indent=2)


def _report(outcome: TuningOutcome) -> str:
    tuning = outcome.tuning
    searched = ", ".join(tuning.space.axes)
    lines = [
        f"searched  {searched}, on {tuning.n_frames} frames, each held out once",
        f"trials    {len(tuning.trials)}; {tuning.ending}",
        _table(tuning),
        f"verdict   {tuning.verdict}",
        f"command   {outcome.command}",
        f"files     {', '.join(path.name for path in outcome.files)} in {outcome.output_dir}",
    ]
    return "\n".join(lines)


def _table(tuning: Tuning) -> str:
    """The best trials, the defaults among them, and how many others there are of each kind."""
    best, plain = tuning.best, tuning.plain
    complete = sorted(
        (trial for trial in tuning.trials if trial.state == "complete"), key=lambda trial: trial.deviance
    )
    shown = [trial for trial in complete if trial in (best, plain)]
    shown += [trial for trial in complete if trial not in (best, plain)][: _ROWS - len(shown)]
    shown.sort(key=lambda trial: trial.deviance)
    lines = [f"  {'trial':>5}  {'misfit':>9}  {'gain':>6}  {'s':>6}  settings"]
    lines += [_row(trial, tuning) for trial in shown]
    for state in ("complete", "worse", "failed", "out of time", "interrupted"):
        others = [trial for trial in tuning.trials if trial.state == state and trial not in shown]
        if others:
            reasons = {trial.reason for trial in others if trial.reason}
            why = f": {'; '.join(sorted(reasons))}" if reasons else ""
            lines.append(f"  {len(others):>5}  {_OTHERS[state]}{why}")
    return "\n".join(lines)


_OTHERS = {
    "complete": "more that predict worse",
    "worse": "ended early, much worse than the best",
    "failed": "failed",
    "out of time": "stopped by the budget",
    "interrupted": "interrupted",
}


def _row(trial: Trial, tuning: Tuning) -> str:
    from ptycho_torch.trials.paying import refine_flags

    gain = ""
    if tuning.plain is not None and tuning.plain.state == "complete":
        gain = f"{1 - trial.deviance / tuning.plain.deviance:.1%}"
    mark = "  best" if trial is tuning.best else ""
    flags = refine_flags(trial.settings) or "(the defaults)"
    return f"  {trial.number:>5}  {trial.deviance:>9.4g}  {gain:>6}  {trial.seconds:>6.1f}  {flags}{mark}"


if __name__ == "__main__":
    sys.exit(main())
