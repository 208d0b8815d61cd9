"""``ptycho-torch evaluate``: scores of a reconstruction against the truth."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from ptycho_config import InferenceConfig, PyTorchExecutionConfig
from ptycho_torch_cli.console import calm_lightning, note, run_command
from ptycho_torch_cli.parsers import CommandParser, add_common_flags, add_settings, add_switch
from ptycho_torch_cli.shared import LIMIT, array_limit_of, validate_paths

__all__ = ["build_parser", "main"]


def build_parser() -> CommandParser:
    """Return the parser of the command."""
    parser = CommandParser(
        "ptycho-torch evaluate",
        description="Score a reconstruction against the known object, with the scores of a flat object "
        "beside them. Shift, phase ramp, constant phase and scale, which a measurement leaves open, are "
        "removed first.",
        usage="RECONSTRUCTION.npz TRUTH.npz [--output-dir FOLDER] [--json]",
        examples=(
            ("scores on the screen", "ptycho-torch evaluate result/reconstruction.npz scan.npz"),
            (
                "scores, comparison and Fourier ring correlation as files",
                "ptycho-torch evaluate result/reconstruction.npz scan.npz --output-dir scores",
            ),
        ),
    )
    parser.add_argument(
        "reconstruction",
        metavar="RECONSTRUCTION",
        help="reconstruction.npz of infer or refine, or a scan of any format with its object",
    )
    parser.add_argument(
        "truth",
        metavar="TRUTH",
        help="scan of any format with its object, or NPZ with object and origin",
    )
    parser.add_argument(
        "--output-dir",
        "--output_dir",
        default=None,
        metavar="FOLDER",
        help="write metrics.json, comparison.png and frc.png there",
    )
    parser.add_argument(
        "--max-shift",
        type=float,
        default=16.0,
        metavar="PX",
        help="how far from each other the two may lie; at most a quarter of the field; default 16",
    )
    add_settings(parser, "reading", InferenceConfig, only={"reader"}, heading="Reading")
    add_settings(parser, "reading", PyTorchExecutionConfig, only={LIMIT}, heading="Reading")
    add_switch(parser, "--json", "print everything as JSON instead of a table")
    add_switch(parser, "--overwrite", "replace the results in the output folder")
    add_common_flags(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_command(build_parser(), _evaluate, argv)


def _evaluate(args: argparse.Namespace) -> int:
    reader = getattr(args, "reader", None)
    validate_paths(
        {"RECONSTRUCTION": args.reconstruction, "TRUTH": args.truth, "--reader": reader},
        folders=("RECONSTRUCTION", "TRUTH"),
    )
    with calm_lightning(), array_limit_of(args):
        from ptycho_torch.workflows import evaluate

        outcome = evaluate(
            args.reconstruction,
            args.truth,
            output_dir=args.output_dir,
            overwrite=args.overwrite,
            reader=reader,
            max_shift_px=args.max_shift,
        )
    print(json.dumps(outcome.report.to_dict(), indent=2) if args.json else outcome.report.table())
    for path in outcome.files:
        note(f"wrote {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
