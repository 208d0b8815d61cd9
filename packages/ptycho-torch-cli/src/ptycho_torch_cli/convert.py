"""``ptycho-torch convert``: the same scan in another kind of file."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence

from ptycho_config import (
    InferenceConfig,
    OrientationConfig,
    PartsConfig,
    PyTorchExecutionConfig,
    field_specs,
    setting,
)
from ptycho_torch_cli.console import UsageError, progress_of, run_command
from ptycho_torch_cli.formats import (
    SCAN_HELP,
    add_writing_flags,
    format_names,
    metadata_of,
    wrong_targets_are_usage,
)
from ptycho_torch_cli.parsers import CommandParser, add_common_flags, add_settings, add_switch
from ptycho_torch_cli.shared import LIMIT, array_limit_of, orientation_of, parts_of, validate_paths

__all__ = ["Conversion", "build_parser", "main"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Conversion:
    """What can be said about a conversion; only what was typed is passed on."""

    measurement_domain: str = setting(
        "auto",
        help="whether the frames of the source are counts or their square roots; auto decides from the file",
        choices=("auto", "amplitude", "counts"),
    )
    N: int | None = setting(
        None, help="crop frames and probe to this size; none: as they are", unit="px", ge=8
    )


def build_parser() -> CommandParser:
    """Return the parser of the command."""
    parser = CommandParser(
        "ptycho-torch convert",
        description=f"Write a scan as another kind of file: {format_names(writable=True)}. The target holds "
        "counts and everything else that the source holds.",
        usage="SOURCE TARGET [--format FORMAT] [--overwrite]",
        examples=(
            ("a CXI file as NPZ", "ptycho-torch convert scan.cxi scan.npz"),
            (
                "an NPZ file as the pair of ptychodus, whose positions are in metres",
                "ptycho-torch convert scan.npz pair --metadata photon_energy_eV=9000 \\\n"
                "      --metadata detector_object_distance_m=2 --metadata detector_pixel_width_m=75e-6 \\\n"
                "      --metadata detector_pixel_height_m=75e-6",
            ),
        ),
    )
    parser.add_argument("source", metavar="SOURCE", help=SCAN_HELP)
    parser.add_argument("target", metavar="TARGET", help="file to write, or folder for a pair")
    add_settings(parser, "conversion", Conversion, heading="Conversion")
    add_settings(parser, "reading", InferenceConfig, only={"reader"}, heading="Reading")
    add_settings(parser, "reading", PyTorchExecutionConfig, only={LIMIT}, heading="Reading")
    add_settings(parser, "orientation", OrientationConfig)
    add_settings(parser, "parts", PartsConfig)
    group = parser.add_argument_group("Run")
    add_writing_flags(group)
    add_switch(group, "--overwrite", "replace the target if it exists")
    add_switch(group, "--quiet", "no progress, no log lines; warnings remain")
    add_common_flags(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_command(build_parser(), _convert, argv)


def _convert(args: argparse.Namespace) -> int:
    validate_paths({"SOURCE": args.source, "--reader": getattr(args, "reader", None)}, folders=("SOURCE",))
    names = ["reader", *(spec.name for spec in field_specs(Conversion))]
    asked = {name: getattr(args, name) for name in names if name in args}
    metadata, parts = metadata_of(args), parts_of(args)
    kind = _format_of(args)
    from ptycho_torch.data.convert import convert
    from ptycho_torch.data.opening import read_scan_header

    with (
        wrong_targets_are_usage(),
        array_limit_of(args),
        progress_of("frame", name="writing", quiet=args.quiet) as progress,
    ):
        target = convert(
            args.source,
            args.target,
            kind,
            metadata=metadata,
            overwrite=args.overwrite,
            progress=progress,
            orientation=orientation_of(args),
            parts=parts,
            **asked,
        )
        header = read_scan_header(target, reader=asked.get("reader"))
    print(f"{target}: {header.n_frames} frames of {header.N} x {header.N} px as {kind}")
    return 0


def _format_of(args: argparse.Namespace) -> str:
    """Name of the format to write, stated or meant by the name of the target."""
    from ptycho_torch.data.format_registry import format_for_target, format_named
    from ptycho_torch.errors import DataError

    reader = getattr(args, "reader", None)
    if hasattr(args, "format"):
        return format_named(args.format, reader, called="--format").name
    try:
        return format_for_target(args.target, reader).name
    except DataError as error:
        raise UsageError(str(error)) from error


if __name__ == "__main__":
    sys.exit(main())
