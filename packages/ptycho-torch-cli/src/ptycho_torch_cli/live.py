"""``ptycho-torch live``: reconstruct a scan while it is measured."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ptycho_config import schema_of_job
from ptycho_torch_cli.console import calm_lightning, note, progress_of, run_command
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
    require_sound_layers,
    wants_quiet,
)

if TYPE_CHECKING:
    from ptycho_torch.config_factory import LivePayload
    from ptycho_torch.workflows import LiveOutcome

__all__ = ["build_parser", "main"]

_JOB = "live"
_SCHEMA = schema_of_job(_JOB)


def build_parser() -> CommandParser:
    """Return the parser of the command."""
    parser = CommandParser(
        "ptycho-torch live",
        description="Reconstruct a scan while it is measured: frames and positions are joined by frame "
        "number, in whatever order they come, and the object grows with them. When it is over the result "
        "is that of refine, or of infer with a model, on the same frames, and the same files are left, with "
        "live.json for the counters. Ctrl-C ends the scan and writes its result; twice, it ends at once.",
        usage="--frames SOURCE [--positions SOURCE] --output-dir FOLDER [--model-path MODEL] [settings]",
        examples=(
            (
                "a detector that sends our own message, positions with it, and a page to look at",
                "ptycho-torch live --frames zmq:tcp://detector:5555 --output-dir scan12 "
                "--serve localhost:8000",
            ),
            (
                "say which source is silent",
                "ptycho-torch live --frames zmq:tcp://detector:5555 --positions csv:stage.csv --check",
            ),
        ),
    )
    add_layer_flags(parser, _SCHEMA, job=_JOB, with_profile=False)
    add_run_flags(parser)
    group = parser.add_argument_group("Sources")
    add_switch(
        group,
        "--check",
        "connect, wait 10 seconds, say what each source has given, and stop; what came is not given back",
    )
    add_settings(parser, "live", _SCHEMA["live"])
    add_settings(parser, "orientation", _SCHEMA["orientation"])
    add_settings(parser, "parts", _SCHEMA["parts"], job=_JOB)
    add_settings(parser, "refine", _SCHEMA["refine"], job=_JOB)
    add_settings(parser, "execution", _SCHEMA["execution"], job=_JOB)
    add_common_flags(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_command(build_parser(), _live, argv)


def _live(args: argparse.Namespace) -> int:
    payload = _payload(args)
    if args.dry_run:
        print_resolution(payload)
        return 0
    if args.check:
        from ptycho_torch.workflows import check_sources

        heard = check_sources(payload)
        print("\n".join(one.sentence for one in heard))
        return 0 if all(one.n_messages for one in heard) else 1
    shown = progress_of("epoch", name="refining once more", quiet=wants_quiet(args), measure="residual")
    with calm_lightning(), _said_once(), shown as progress:
        from ptycho_torch.workflows import run_live

        outcome = run_live(
            payload,
            overwrite=args.overwrite,
            progress=progress,
            command=args.command_line,
            token=os.environ.get("PTYCHO_LIVE_TOKEN"),
            heard=None if wants_quiet(args) else note,
        )
    print(_report(outcome))
    return 0


@contextmanager
def _said_once() -> Iterator[None]:
    """Leave out lines that repeat the last one: what is read again and again while it grows says the same."""
    before: list[str] = []

    def is_new(record: logging.LogRecord) -> bool:
        said = before == [record.getMessage()]
        before[:] = [record.getMessage()]
        return not said

    logger = logging.getLogger("ptycho_torch.data.scan.domain")
    logger.addFilter(is_new)
    try:
        yield
    finally:
        logger.removeFilter(is_new)


def _payload(args: argparse.Namespace) -> LivePayload:
    layer = cli_layer(args, _SCHEMA)
    config_file = getattr(args, "config_file", None)
    require_sound_layers(
        _JOB, layer, args, config_file, {"--model-path": layer.get("model_path")}, folders=("--model-path",)
    )
    from ptycho_torch.config_factory import create_live_payload

    with missing_files_are_usage():
        return create_live_payload(None, None, cli=layer, config_file=config_file)


def _report(outcome: LiveOutcome) -> str:
    state = outcome.state
    lines = [
        f"object    {' x '.join(str(side) for side in outcome.reconstruction.object.shape)} px",
        f"scan      {outcome.counters.sentence()}; {state['ended']}",
        f"residual  {outcome.forward_residual:.4f} of the amplitudes",
        f"verdict   {outcome.verdict.sentence}",
        f"files     {', '.join(path.name for path in outcome.files)} in {outcome.output_dir}",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
