"""``ptycho-torch infer``: from a model bundle and a scan to a stitched object."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ptycho_config import schema_of_job
from ptycho_torch_cli.console import calm_lightning, is_first_process, progress_of, run_command
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
    from ptycho_torch.config_factory import InferencePayload
    from ptycho_torch.workflows import InferenceOutcome

__all__ = ["build_parser", "main"]

_JOB = "infer"
_SCHEMA = schema_of_job(_JOB)


def build_parser() -> CommandParser:
    """Return the parser of the command."""
    parser = CommandParser(
        "ptycho-torch infer",
        description="Reconstruct a scan with a trained model. Leaves reconstruction.npz (object, weight, "
        "origin), reconstruction.h5 for ptychodus when the scan says its geometry, amplitude.png, phase.png, "
        "resolved_config.json, report.html (one page about the run) and, when the scan holds the truth, "
        "metrics.json and comparison.png in the output folder. The network comes from the bundle. "
        "--refine N refines the object in N passes over all frames; network.npz then holds the object of the "
        "network alone, and refinement.png shows the residual.",
        usage="--model-path FOLDER --test-data SCAN --output-dir FOLDER [settings]",
        examples=(
            (
                "reconstruct a scan with the model of a training",
                "ptycho-torch infer --model-path model --test-data scan.npz --output-dir result",
            ),
            (
                "take the middle of each patch only, on the CPU",
                "ptycho-torch infer --model-path model --test-data scan.h5 --output-dir result "
                "--middle-trim 32 --accelerator cpu",
            ),
        ),
    )
    # Profiles are about training.
    add_layer_flags(parser, _SCHEMA, job=_JOB, with_profile=False)
    add_run_flags(parser)
    add_settings(parser, "inference", _SCHEMA["inference"])
    add_settings(parser, "orientation", _SCHEMA["orientation"])
    add_settings(parser, "parts", _SCHEMA["parts"], job=_JOB)
    add_settings(parser, "refine", _SCHEMA["refine"], job=_JOB)
    add_settings(parser, "execution", _SCHEMA["execution"], job=_JOB)
    add_common_flags(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_command(build_parser(), _infer, argv)


def _infer(args: argparse.Namespace) -> int:
    payload = _payload(args)
    if args.dry_run:
        print_resolution(payload)
        return 0
    # With several patterns per group the network works through groups.
    unit = "pattern" if payload.inference_config.model.gridsize == 1 else "group"
    quiet = wants_quiet(args) or not is_first_process()
    with (
        calm_lightning(),
        progress_of(unit, name="predicting", quiet=quiet) as progress,
        progress_of("epoch", name="refining", quiet=quiet, measure="residual") as epochs,
    ):
        from ptycho_torch.workflows import infer

        outcome = infer(
            payload,
            overwrite=args.overwrite,
            progress=progress,
            refine_progress=epochs,
            command=args.command_line,
        )
    if is_first_process():
        print(_report(outcome))
    return exit_code(outcome.verdict, strict=payload.inference_config.strict)


def _payload(args: argparse.Namespace) -> InferencePayload:
    layer = cli_layer(args, _SCHEMA)
    config_file = getattr(args, "config_file", None)
    require_sound_layers(
        _JOB,
        layer,
        args,
        config_file,
        {
            "--model-path": layer.get("model_path"),
            "--test-data-file": layer.get("test_data_file"),
        },
        folders=("--model-path", "--test-data-file"),
    )
    from ptycho_torch.config_factory import create_inference_payload

    with missing_files_are_usage():
        return create_inference_payload(None, None, None, cli=layer, config_file=config_file)


def _report(outcome: InferenceOutcome) -> str:
    lines = [
        f"object    {' x '.join(str(side) for side in outcome.reconstruction.object.shape)} px",
        f"residual  {outcome.forward_residual:.4f} of the amplitudes{_before(outcome)}",
        f"speed     {outcome.patterns_per_second:.0f} patterns/s",
        f"verdict   {outcome.verdict.sentence}",
        f"files     {', '.join(path.name for path in outcome.files)} in {outcome.output_dir}",
    ]
    if outcome.report is not None:
        lines += ["", outcome.report.table()]
    return "\n".join(lines)


def _before(outcome: InferenceOutcome) -> str:
    """What a refinement started from, to stand after what it reached."""
    if outcome.refinement is None:
        return ""
    epochs = outcome.refinement.n_epochs
    text = f", {outcome.network_residual:.4f} before {epochs} epochs of refinement"
    if outcome.network_report is not None and outcome.report is not None:
        before, after = (r.scores.complex_nrmse for r in (outcome.network_report, outcome.report))
        text += f"\nerror     {after:.4f}, {before:.4f} before (complex normalised RMSE)"
    return text


if __name__ == "__main__":
    sys.exit(main())
