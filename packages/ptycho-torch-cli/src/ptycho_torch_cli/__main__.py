"""``ptycho-torch``: one command, its jobs as subcommands.

What takes time to import is imported in functions, so that Ctrl-C ends a process in words before that.
"""

from __future__ import annotations

import sys

# Checkers of types take this for true; typing itself takes longer to load than all else before the work.
TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from ptycho_torch_cli.parsers import CommandParser

__all__ = ["COMMANDS", "build_parser", "main", "run", "run_inference", "run_train"]

COMMANDS = {
    "train": ("train", "train a network on a scan, leave a model bundle"),
    "infer": ("inference", "reconstruct a scan with a trained model (also: inference)"),
    "refine": ("refine", "reconstruct a scan by iteration, from a flat object or from a start"),
    "tune": ("tune", "find the settings of refine by frames held out"),
    "live": ("live", "reconstruct a scan while it is measured"),
    "simulate": ("simulate", "make a scan with a known object"),
    "evaluate": ("evaluate", "score a reconstruction against the known object"),
    "replay": ("replay", "send a scan as a detector and an encoder would, for live reconstruction"),
    "convert": ("convert", "write a scan as another kind of file: NPZ, HDF5 of ptychodus, CXI"),
    "inspect": ("inspect", "show what a scan file holds and what is wrong with it"),
    "config": ("config", "show, validate or explain settings"),
}
"""Subcommand -> module of this package, and what it does."""

_ALIASES = {"inference": "infer"}


def build_parser() -> CommandParser:
    """Return the parser of everything that stands before a subcommand."""
    from ptycho_torch_cli.parsers import CommandParser, add_common_flags

    parser = CommandParser(
        "ptycho-torch",
        description="Learned reconstruction of ptychography scans.",
        usage="COMMAND [flags]     (COMMAND --help lists the flags)",
        examples=(
            ("look at a scan", "ptycho-torch inspect scan.npz --plot scan.png"),
            ("train on it", "ptycho-torch train --train-data-file scan.npz --output-dir model"),
            (
                "reconstruct it",
                "ptycho-torch infer --model-path model --test-data scan.npz --output-dir result",
            ),
        ),
    )
    group = parser.add_argument_group("Commands")
    for name, (_, text) in COMMANDS.items():
        group.add_argument(f"_{name}", metavar=name, nargs="?", help=text)
    add_common_flags(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a subcommand and return its exit code."""
    from importlib import import_module

    from ptycho_config import suggest
    from ptycho_torch_cli.console import note, run_command

    words = list(sys.argv[1:] if argv is None else argv)
    parser = build_parser()
    if not words:
        parser.print_help(sys.stderr)
        return 2
    name = _ALIASES.get(words[0], words[0])
    if name in COMMANDS:
        command = import_module(f"ptycho_torch_cli.{COMMANDS[name][0]}")
        return int(command.main(words[1:]))
    known = f"expected one of {', '.join(COMMANDS)}"
    if name.startswith("-"):
        problem, flags = f"a command is missing; {known}", words[:1]
    else:
        problem, flags = f"{name}: unknown command; {suggest(name, COMMANDS) or known}", []

    def refuse(args: argparse.Namespace) -> int:
        note(f"{parser.prog}: {problem}")
        return 2

    return run_command(parser, refuse, flags)


def run(argv: Sequence[str] | None = None) -> int:
    """Run a subcommand in a process of its own, which Ctrl-C ends in words whenever it comes."""
    from ptycho_torch_cli.early import end_in_words

    end_in_words()
    return main(argv)


def run_train() -> int:
    """``ptycho-train``."""
    return run(["train", *sys.argv[1:]])


def run_inference() -> int:
    """``ptycho-inference``."""
    return run(["infer", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(run())
