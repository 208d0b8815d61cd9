"""``ptycho-torch replay``: a scan that was measured, sent as a detector and an encoder would send it."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from typing import TYPE_CHECKING

from ptycho_config import InferenceConfig, PartsConfig, PyTorchExecutionConfig, setting
from ptycho_torch_cli.console import note, progress_of, run_command
from ptycho_torch_cli.early import INTERRUPTED
from ptycho_torch_cli.formats import SCAN_HELP
from ptycho_torch_cli.parsers import CommandParser, add_common_flags, add_settings, add_switch
from ptycho_torch_cli.shared import LIMIT, array_limit_of, parts_of, validate_paths

if TYPE_CHECKING:
    from ptycho_torch.data.scan.contract import Scan
    from ptycho_torch.live.replay.play import Played
    from ptycho_torch.live.replay.sender import Sender

__all__ = ["Replay", "build_parser", "main"]

_DISTURBANCES = ("drop", "duplicate", "shuffle", "late_positions_s", "seed")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Replay:
    """What can be said about a replay; only what was typed is passed on."""

    rate_fps: float = setting(100.0, help="frames a second", unit="1/s", gt=0, cli=("--rate",))
    drop: float = setting(0.0, help="share of the frames that are never sent", ge=0, le=1)
    shuffle: int = setting(0, help="by how many places a frame or a position is late at most", ge=0)
    late_positions_s: float = setting(
        0.0,
        help="by how much positions are sent after their frames",
        unit="s",
        ge=0,
        cli=("--late-positions",),
    )
    duplicate: float = setting(0.0, help="share of the frames and positions that are sent again", ge=0, le=1)
    seed: int = setting(0, help="seed of everything that goes wrong", ge=0)


def build_parser() -> CommandParser:
    """Return the parser of the command."""
    from ptycho_torch.live.replay.protocols import DEFAULT_PROTOCOL, PROTOCOLS

    parser = CommandParser(
        "ptycho-torch replay",
        description="Send a scan as a detector and an encoder would send it, to try out live reconstruction. "
        "It begins when somebody receives, and the end is sent too. The same seed sends the same.",
        usage="SCAN --to ADDRESS [--positions-to ADDRESS] [--rate FPS] [--protocol NAME]",
        examples=(
            (
                "frames with their positions, for `live --frames zmq:tcp://127.0.0.1:5555`",
                "ptycho-torch replay scan.npz --to tcp://127.0.0.1:5555",
            ),
            (
                "as a DECTRIS detector, with positions on their own and half a second late",
                "ptycho-torch replay scan.npz --to tcp://127.0.0.1:31001 --protocol dectris \\\n"
                "      --positions-to zmq:tcp://127.0.0.1:5556 --late-positions 0.5",
            ),
            (
                "a bad day: a tenth of the frames lost, some twice, all in disorder",
                "ptycho-torch replay scan.npz --to tcp://127.0.0.1:5555 --drop 0.1 --duplicate 0.05 \\\n"
                "      --shuffle 20",
            ),
        ),
    )
    parser.add_argument("scan", metavar="SCAN", help=SCAN_HELP)
    group = parser.add_argument_group("Sending")
    forms = "; ".join(f"{name}: {facts.form}" for name, facts in PROTOCOLS.items())
    group.add_argument(
        "--to", required=True, metavar="ADDRESS", help=f"where frames are sent from, or written. {forms}"
    )
    names = ", ".join(name for name, facts in PROTOCOLS.items() if "positions" in facts.gives)
    group.add_argument(
        "--positions-to",
        metavar="ADDRESS",
        help=f"where positions are sent, NAME:ADDRESS with one of the names {names}; without it they go "
        "with the frames where the protocol has a place for them",
    )
    listed = "; ".join(f"{name}: {facts.help}" for name, facts in PROTOCOLS.items())
    group.add_argument(
        "--protocol", metavar="NAME", help=f"how frames are sent; {DEFAULT_PROTOCOL} without it. {listed}"
    )
    add_settings(parser, "replay", Replay, heading="Pace, and what goes wrong")
    add_settings(parser, "reading", InferenceConfig, only={"reader"}, heading="Reading")
    add_settings(parser, "reading", PyTorchExecutionConfig, only={LIMIT}, heading="Reading")
    add_settings(parser, "parts", PartsConfig)
    add_switch(group, "--quiet", "no progress, no log lines; warnings remain")
    add_common_flags(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_command(build_parser(), _replay, argv)


def _replay(args: argparse.Namespace) -> int:
    validate_paths({"SCAN": args.scan, "--reader": getattr(args, "reader", None)}, folders=("SCAN",))
    from ptycho_torch.live.replay.play import play
    from ptycho_torch.live.replay.protocols import DEFAULT_PROTOCOL, PROTOCOLS
    from ptycho_torch.live.replay.schedule import Disturbances, schedule

    wrong = Disturbances(**{name: getattr(args, name) for name in _DISTURBANCES if name in args})
    protocol = getattr(args, "protocol", DEFAULT_PROTOCOL)
    facts = PROTOCOLS.get(protocol)
    with array_limit_of(args):
        scan = _raw_scan(args)
        with _senders(args, protocol, scan) as (frames_to, positions_to):
            apart = positions_to is not None or wrong.late_positions_s > 0
            within = facts is not None and facts.joins and not apart
            alone = positions_to is not None or (
                facts is not None and "positions" in facts.gives and not within
            )
            rate = getattr(args, "rate_fps", Replay.rate_fps)
            events = schedule(scan.n_frames, rate, wrong, positions_alone=alone)
            if not (alone or within):
                note(f"positions are not sent: {protocol} has no place for them; --positions-to names one")
            if not args.quiet:
                note(f"waiting for a receiver of frames at {args.to}")
            with progress_of("frame", name="sending", quiet=args.quiet) as progress:
                sent = play(
                    scan,
                    events,
                    frames_to,
                    positions_to,
                    positions_within=within,
                    progress=progress,
                )
    print(_outcome(args.scan, scan, sent))
    return 0 if sent.finished else INTERRUPTED


def _raw_scan(args: argparse.Namespace) -> Scan:
    """The scan as it was measured: nothing is masked or left out, which is for the receiver to do."""
    from ptycho_torch.data.opening import open_scan

    return open_scan(args.scan, reader=getattr(args, "reader", None), parts=parts_of(args), clean=())


@contextmanager
def _senders(args: argparse.Namespace, protocol: str, scan: Scan) -> Iterator[tuple[Sender, Sender | None]]:
    """Where frames and positions go, closed with the block."""
    from ptycho_torch.live.replay.play import frame_kind
    from ptycho_torch.live.replay.sender import open_sender

    with ExitStack() as stack:
        frames_to = stack.enter_context(closing(open_sender(protocol, args.to, "frames", frame_kind(scan))))
        address = getattr(args, "positions_to", None)
        if address is None:
            yield frames_to, None
            return
        name, _, rest = address.partition(":")
        yield frames_to, stack.enter_context(closing(open_sender(name, rest, "positions", frame_kind(scan))))


def _outcome(path: str, scan: Scan, sent: Played) -> str:
    twice = sent.frames - sent.distinct_frames
    parts = [f"{sent.distinct_frames} of {scan.n_frames} frames"]
    parts += [f"{twice} of them twice"] * (twice > 0)
    parts += [f"{sent.positions} positions"] * (sent.positions > 0)
    return f"{path}: sent {', '.join(parts)} in {sent.seconds:.3g} s, {sent.rate_fps:.3g} frames/s"


if __name__ == "__main__":
    sys.exit(main())
