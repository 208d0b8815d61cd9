"""``ptycho-torch refine``: from a scan, with or without a start, to an object refined against all frames."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ptycho_config import schema_of_job
from ptycho_torch_cli.console import calm_lightning, progress_of, run_command
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
    require_sound_layers,
    wants_quiet,
)

if TYPE_CHECKING:
    from ptycho_torch.config_factory.refinement import RefinementPayload
    from ptycho_torch.workflows import RefinementOutcome

__all__ = ["build_parser", "main"]

_JOB = "refine"
_SCHEMA = schema_of_job(_JOB)


def build_parser() -> CommandParser:
    """Return the parser of the command."""
    parser = CommandParser(
        "ptycho-torch refine",
        description="Reconstruct a scan, or one object from several scans of it, by iteration against all "
        "frames, without a network. Leaves "
        "reconstruction.npz (object, weight, origin, probe, positions, phase, sigma, null_space), "
        "reconstruction.h5 for ptychodus when the scan says its geometry, amplitude.png, phase.png, "
        "error_bars.png, amplitude.tif, phase.tif, sigma.tif, "
        "refinement.png, resolved_config.json, report.html and, if the scan holds the truth, metrics.json "
        "and comparison.png in the output folder.",
        usage="--data SCAN [SCAN ...] --output-dir FOLDER [--start RECONSTRUCTION.npz] [settings]",
        examples=(
            (
                "reconstruct a scan from nothing",
                "ptycho-torch refine --data scan.npz --output-dir refined",
            ),
            (
                "go on from a result, with the probe and its modes",
                "ptycho-torch refine --data scan.npz --output-dir further --start refined/reconstruction.npz "
                "--refine-probe --probe-modes 3",
            ),
            (
                "one object from several scans of it, each with its own probe, dose and offset",
                "ptycho-torch refine --data monday.npz tuesday.npz --output-dir both --refine-probe",
            ),
        ),
    )
    # Profiles are about training.
    add_layer_flags(parser, _SCHEMA, job=_JOB, with_profile=False)
    add_run_flags(parser)
    add_settings(parser, "refine_data", _SCHEMA["refine_data"], heading="Refine: Data")
    add_settings(parser, "orientation", _SCHEMA["orientation"])
    add_settings(parser, "parts", _SCHEMA["parts"], job=_JOB)
    add_settings(parser, "refine", _SCHEMA["refine"], job=_JOB)
    add_settings(parser, "execution", _SCHEMA["execution"], job=_JOB)
    add_common_flags(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_command(build_parser(), _refine, argv)


def _refine(args: argparse.Namespace) -> int:
    payload = _payload(args)
    if args.dry_run:
        print_resolution(payload)
        return 0
    quiet = wants_quiet(args)
    shown = progress_of("epoch", name="refining", quiet=quiet, measure="residual")
    with calm_lightning(), shown as progress:
        from ptycho_torch.workflows import refine_scan

        outcome = refine_scan(
            payload,
            overwrite=args.overwrite,
            progress=progress,
            command=args.command_line,
        )
    print(_report(outcome))
    return exit_code(outcome.verdict, strict=payload.data_config.strict)


def _payload(args: argparse.Namespace) -> RefinementPayload:
    layer = cli_layer(args, _SCHEMA)
    config_file = getattr(args, "config_file", None)
    require_sound_layers(
        _JOB,
        layer,
        args,
        config_file,
        {
            "--data": layer.get("scan_file"),
            "--start": layer.get("start_file"),
            "--dark": layer.get("dark_file"),
        },
        folders=("--data",),
    )
    from ptycho_torch.config_factory.refinement import create_refinement_payload

    with missing_files_are_usage():
        return create_refinement_payload(None, None, cli=layer, config_file=config_file)


def _report(outcome: RefinementOutcome) -> str:
    result = outcome.result
    why = ", the objective stopped falling" if result.stopped_early else ""
    lines = [
        f"object    {' x '.join(str(side) for side in result.object.object.shape)} px",
        f"epochs    {result.n_epochs}{why}",
        f"residual  {outcome.forward_residual:.4f} of the amplitudes",
        *(f"{name:9} {value}" for name, value in outcome.sure),
        *(f"{name:<9} {words}" for name, words in result.said.items()),
        f"verdict   {outcome.verdict.sentence}",
        f"files     {', '.join(path.name for path in outcome.files)} in {outcome.output_dir}",
    ]
    if outcome.report is not None:
        lines += ["", outcome.report.table()]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
