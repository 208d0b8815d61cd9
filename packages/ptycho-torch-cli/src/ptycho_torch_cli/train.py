"""``ptycho-torch train``: from a scan to a model bundle."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ptycho_config import PyTorchExecutionConfig, evolve, schema_of_job
from ptycho_torch_cli.console import (
    ProgressDisplay,
    UsageError,
    calm_lightning,
    is_first_process,
    run_command,
)
from ptycho_torch_cli.parsers import (
    CommandParser,
    add_common_flags,
    add_layer_flags,
    add_run_flags,
    add_settings,
)
from ptycho_torch_cli.shared import (
    cli_layer,
    exit_code,
    missing_files_are_usage,
    print_resolution,
    record_of_run,
    require_sound_layers,
    wants_quiet,
)

if TYPE_CHECKING:
    from ptycho_torch.config_factory import TrainingPayload
    from ptycho_torch.workflows import TrainingOutcome

__all__ = ["build_parser", "main"]

_JOB = "train"
_SCHEMA = schema_of_job(_JOB)


def build_parser() -> CommandParser:
    """Return the parser of the command."""
    parser = CommandParser(
        "ptycho-torch train",
        description="Train a network on a scan. Leaves a model bundle (wts.h5.zip), checkpoints, logs, "
        "resolved_config.json, training.png (curves and object), patches.png (sample frames) and report.html "
        "(one page about the run) in the output folder.",
        usage="--train-data-file SCAN --output-dir FOLDER [settings]",
        examples=(
            (
                "a first look at a scan, in a few minutes",
                "ptycho-torch train --profile quick --train-data-file scan.npz --output-dir look",
            ),
            (
                "a training to keep, validated on a second scan",
                "ptycho-torch train --train-data-file a.h5 --test-data-file b.h5 --output-dir model "
                "--nepochs 100",
            ),
            (
                "what would be done, with the origin of every setting",
                "ptycho-torch train --train-data-file scan.npz --output-dir model --dry-run",
            ),
            (
                "the same run again, one setting changed",
                "ptycho-torch train --config model/resolved_config.json --output-dir again "
                "--set training.seed=1",
            ),
        ),
    )
    add_layer_flags(parser, _SCHEMA, job=_JOB)
    add_run_flags(
        parser,
        with_resume="continue the run in the output folder after an interruption, with its settings; more "
        "--nepochs or --max-time extend a run that is complete",
    )
    for section in ("training", "orientation", "parts", "model", "execution"):
        add_settings(parser, section, _SCHEMA[section], job=_JOB)
    add_common_flags(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_command(build_parser(), _train, argv)


def _train(args: argparse.Namespace) -> int:
    payload = _payload(args)
    if args.dry_run:
        print_resolution(payload)
        return 0
    with calm_lightning():
        from ptycho_torch.lightning import EpochReport
        from ptycho_torch.workflows import train

        quiet = wants_quiet(args) or not is_first_process()
        progress = None if quiet else _BatchProgress("batch", name="training", bar=_wants_bar(payload))
        # One bar over all epochs, with the time left until the end, instead of one of Lightning's per epoch.
        execution = evolve(payload.execution_config, enable_progress_bar=False)
        callbacks = [] if quiet else [EpochReport(_line_beside_bar)]
        try:
            outcome = train(
                replace(payload, execution_config=execution),
                callbacks=callbacks,
                progress=progress,
                overwrite=args.overwrite,
                resume=args.resume,
                command=args.command_line,
            )
        finally:
            if progress is not None:
                progress.close()
    if is_first_process():
        print(_report(outcome, payload.execution_config))
    return exit_code(outcome.verdict, strict=payload.training_config.strict)


def _payload(args: argparse.Namespace) -> TrainingPayload:
    layer = cli_layer(args, _SCHEMA)
    config_file = getattr(args, "config_file", None)
    if args.resume and args.overwrite:
        raise UsageError("--resume continues the run that --overwrite would replace; keep one of them")
    if args.resume and config_file is None and not hasattr(args, "profile"):
        config_file = record_of_run(layer, _SCHEMA["training"], _JOB)
    require_sound_layers(
        _JOB,
        layer,
        args,
        config_file,
        {
            "--train-data-file": layer.get("train_data_file"),
            "--test-data-file": layer.get("test_data_file"),
        },
        folders=("--train-data-file", "--test-data-file"),
    )
    from ptycho_torch.config_factory import create_training_payload

    with missing_files_are_usage():
        return create_training_payload(
            None, None, cli=layer, config_file=config_file, profile=getattr(args, "profile", None)
        )


def _wants_bar(payload: TrainingPayload) -> bool | None:
    """What somebody decided about bars; None: nobody did, so a terminal gets one."""
    decided = payload.provenance["enable_progress_bar"].layer != "default"
    return payload.execution_config.enable_progress_bar if decided else None


class _BatchProgress(ProgressDisplay):
    """The bar of a training; without a bar the lines of the epochs say more than lines of batches."""

    def __call__(self, done: int, total: int, measured: float | None = None, /) -> None:
        """Show that ``done`` of ``total`` batches are done."""
        if self.wants_bar:
            super().__call__(done, total, measured)


def _line_beside_bar(text: str) -> None:
    """Write a line to standard error; a bar that stands there is drawn again below it."""
    from tqdm import tqdm  # type: ignore[import-untyped]

    tqdm.write(text, file=sys.stderr)


def _report(outcome: TrainingOutcome, execution: PyTorchExecutionConfig) -> str:
    lines = [f"bundle  {outcome.bundle}"]
    names = (execution.checkpoint_monitor_metric, "train_loss")
    name = next((name for name in names if any(name in row for row in outcome.history)), None)
    if name is not None:
        choose = min if execution.checkpoint_mode == "min" else max
        best = choose((row for row in outcome.history if name in row), key=lambda row: row[name])
        lines.append(f"best    {name} {best[name]:.6g} in epoch {best['epoch'] + 1:.0f}")
    if outcome.verdict is not None:
        lines.append(f"verdict {outcome.verdict.sentence}")
    lines.append(f"files   {', '.join(path.name for path in outcome.files)} in {outcome.output_dir}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
