"""What commands say about file formats, and how they write one."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ptycho_config import ConfigError, Problem
from ptycho_torch_cli.console import UsageError

__all__ = ["SCAN_HELP", "add_writing_flags", "format_names", "metadata_of", "wrong_targets_are_usage"]

SCAN_HELP = "scan of any format: a file, or a folder with the files of one scan"

_METADATA_HINT = (
    "--metadata states what is missing, such as --metadata photon_energy_eV=9000; it may be repeated"
)


def format_names(*, writable: bool = False) -> str:
    """Names of the formats that are installed, for a help text; loads none of them."""
    from ptycho_torch.data.format_registry import formats, writable_formats

    found = writable_formats() if writable else [format for format in formats() if not format.problem]
    return ", ".join(sorted(format.name for format in found))


def add_writing_flags(group: Any) -> None:
    """Add ``--format`` and ``--metadata``."""
    from ptycho_torch.data.format_registry import writable_formats

    meant = ", ".join(
        f"{ending or 'a name without ending, a folder,'} means {format.name}"
        for format in writable_formats()
        for ending in format.targets[:1]
    )
    group.add_argument(
        "--format",
        metavar="FORMAT",
        help=f"kind of file to write: {format_names(writable=True)}; without it the name of the target "
        f"decides: {meant}",
    )
    group.add_argument(
        "--metadata",
        action="append",
        metavar="KEY=VALUE",
        help="entry to add or replace; may be repeated. Formats in metres need photon_energy_eV, "
        "detector_object_distance_m, detector_pixel_width_m and detector_pixel_height_m",
    )


def metadata_of(args: argparse.Namespace) -> dict[str, Any]:
    """Metadata that were typed as ``KEY=VALUE``; a value that is no JSON is text.

    Raises
    ------
    ConfigError
        With every entry that has no key or no value.
    """
    texts: Sequence[str] = getattr(args, "metadata", [])
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


@contextmanager
def wrong_targets_are_usage() -> Iterator[None]:
    """Let a target that cannot be written, and metadata that were not stated, count as wrong usage."""
    from ptycho_torch.errors import MissingMetadata

    try:
        yield
    except FileExistsError as error:
        raise UsageError(f"{error}; --overwrite replaces it") from error
    except (FileNotFoundError, IsADirectoryError) as error:
        raise UsageError(str(error)) from error
    except MissingMetadata as error:
        raise UsageError(f"{error}\n{_METADATA_HINT}") from error
