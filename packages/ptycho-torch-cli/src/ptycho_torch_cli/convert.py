"""``ptycho-torch convert``: the same scan in another kind of file."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from typing import Any

from ptycho_config import ConfigError, Problem, field_specs, setting
from ptycho_torch_cli.console import UsageError, progress_of, run_command
from ptycho_torch_cli.parsers import CommandParser, add_common_flags, add_settings, add_switch
from ptycho_torch_cli.shared import validate_paths

__all__ = ["Conversion", "build_parser", "main"]


_METADATA_HINT = (
    "--metadata states what is missing, such as --metadata photon_energy_eV=9000; it may be repeated"
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Conversion:
    """What can be said about a conversion; only what was typed is passed on."""

    format: str | None = setting(
        None,
        help="kind of file to write; none: from the name of the target (.npz, .cxi, .h5 for a training file, "
        "no suffix for a folder with diffraction.h5 and product.h5)",
        choices=("npz", "ptychodus", "ptychodus-training", "cxi"),
    )
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
        description="Write a scan as another kind of file: NPZ, CXI, the pair of ptychodus or its training "
        "file. The target holds counts and everything else that the source holds.",
        usage="SOURCE TARGET [--format FORMAT] [--overwrite]",
        examples=(
            ("a CXI file as NPZ", "ptycho-torch convert scan.cxi scan.npz"),
            (
                "an NPZ file as the pair of ptychodus, which speaks in metres",
                "ptycho-torch convert scan.npz pair --metadata photon_energy_eV=9000 \\\n"
                "      --metadata detector_object_distance_m=2 --metadata detector_pixel_width_m=75e-6 \\\n"
                "      --metadata detector_pixel_height_m=75e-6",
            ),
        ),
    )
    parser.add_argument("source", metavar="SOURCE", help="scan of any format, or folder with a pair")
    parser.add_argument("target", metavar="TARGET", help="file to write, or folder for a pair")
    add_settings(parser, "conversion", Conversion, heading="Conversion")
    group = parser.add_argument_group("Run")
    group.add_argument(
        "--metadata",
        action="append",
        metavar="KEY=VALUE",
        help="entry to add or replace; may be repeated. Formats in metres need photon_energy_eV, "
        "detector_object_distance_m, detector_pixel_width_m and detector_pixel_height_m",
    )
    add_switch(group, "--overwrite", "replace the target if it exists")
    add_switch(group, "--quiet", "no progress, no log lines; warnings remain")
    add_common_flags(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_command(build_parser(), _convert, argv)


def _convert(args: argparse.Namespace) -> int:
    validate_paths({"SOURCE": args.source}, folders=("SOURCE",))
    asked = {spec.name: getattr(args, spec.name) for spec in field_specs(Conversion) if spec.name in args}
    metadata = _entries(getattr(args, "metadata", []))
    from ptycho_torch.data.convert import convert, format_from_name
    from ptycho_torch.data.opening import locate_scan, read_scan_header
    from ptycho_torch.errors import DataError

    if asked.get("format") is None:
        try:
            asked["format"] = format_from_name(args.target)
        except DataError as error:
            raise UsageError(str(error)) from error
    try:
        with progress_of("frame", name="writing", quiet=args.quiet) as progress:
            target = convert(
                args.source,
                args.target,
                metadata=metadata,
                overwrite=args.overwrite,
                progress=progress,
                **asked,
            )
    except FileExistsError as error:
        raise UsageError(f"{error}; --overwrite replaces it") from error
    except FileNotFoundError as error:
        raise UsageError(str(error)) from error
    except DataError as error:
        if not any(text.startswith("metadata: ") and " is missing" in text for text in error.problems):
            raise
        raise UsageError(f"{error}\n{_METADATA_HINT}") from error
    header = read_scan_header(target)
    print(f"{target}: {header.n_frames} frames of {header.N} x {header.N} px as {locate_scan(target).format}")
    return 0


def _entries(texts: Sequence[str]) -> dict[str, Any]:
    """Metadata from ``KEY=VALUE``; a value that is no JSON is text."""
    entries: dict[str, Any] = {}
    problems = []
    for text in texts:
        key, separator, value = text.partition("=")
        if not (key and separator):
            problems.append(Problem("--metadata", text, "KEY=VALUE, such as photon_energy_eV=9000"))
            continue
        try:
            entries[key] = json.loads(value)
        except json.JSONDecodeError:
            entries[key] = value
    if problems:
        raise ConfigError(problems)
    return entries


if __name__ == "__main__":
    sys.exit(main())
