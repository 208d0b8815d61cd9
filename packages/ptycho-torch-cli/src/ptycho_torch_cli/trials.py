"""What ``ptycho-torch inspect`` tries on request: orientations, scales of the positions, unknowns to fit."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from ptycho_config import OrientationConfig
from ptycho_torch_cli.console import progress_of
from ptycho_torch_cli.parsers import CommandParser, add_switch

if TYPE_CHECKING:
    from ptycho_torch.data import Scan
    from ptycho_torch.trials import OrientationTrial, PayingTrial, ScaleTrial

    Trial = OrientationTrial | ScaleTrial | PayingTrial

__all__ = ["add_trial_flags", "text_of_trials", "trials_of", "wants_trials"]

_WIDTH = 70


def add_trial_flags(parser: CommandParser) -> None:
    """Add ``--orientation``, ``--scale`` and ``--deep``."""
    group = parser.add_argument_group("Trials")
    add_switch(
        group,
        "--orientation",
        "solve a few dozen frames in all orientations of frames against positions, and say which fits",
    )
    add_switch(
        group,
        "--scale",
        "solve them with scaled positions, in the orientation that fits, and say which scale fits",
    )
    add_switch(
        group,
        "--deep",
        "refine some hundred frames with each of the unknowns of refine, and say which of them pay, by how "
        "much of the misfit of frames held out, and what to type; takes minutes",
    )


def wants_trials(args: argparse.Namespace) -> bool:
    """Whether something is to be tried."""
    return bool(args.orientation or args.scale or args.deep)


def trials_of(args: argparse.Namespace, scan: Scan, applied: OrientationConfig) -> dict[str, Trial]:
    """Try what was asked for, by name.

    Parameters
    ----------
    args
        Of a parser with the flags of `add_trial_flags` and ``--quiet``.
    scan
        As it was opened.
    applied
        With what it was opened.
    """
    from ptycho_torch.data.scan.orientation import oriented
    from ptycho_torch.trials import try_orientations, try_scales, try_unknowns

    found: dict[str, Trial] = {}
    if args.orientation:
        with progress_of("fit", name="orientations", quiet=args.quiet, brief=True) as progress:
            trial = try_orientations(scan, applied=applied, progress=progress)
        found["orientation"] = trial
        scan = scan if trial.found is None else oriented(scan, trial.found.change)
    if args.scale:
        with progress_of("fit", name="scales", quiet=args.quiet, brief=True) as progress:
            scale = found["scale"] = try_scales(scan, applied=applied, progress=progress)
        if scale.factor is not None:
            change = OrientationConfig(position_scale=scale.factor / applied.position_scale)
            scan = oriented(scan, change)
    if args.deep:
        with progress_of("fit", name="unknowns", quiet=args.quiet, brief=True) as progress:
            found["deep"] = try_unknowns(scan, progress=progress)
    return found


def text_of_trials(trials: dict[str, Any]) -> str:
    """What was tried, in lines: a table of the orientations, and what each trial means."""
    lines = []
    if "orientation" in trials:
        trial: OrientationTrial = trials["orientation"]
        lines.append(f"orientation, tried on {trial.n_frames} frames of which {trial.n_held} were predicted")
        if trial.ways:
            lines.append(f"  {'flags':{_WIDTH}}explains  standard errors worse")
        lines += [
            f"  {way.flags or '(none)':{_WIDTH}}{way.share:8.1%}  {way.sureness:.1f}{' fits' * way.fits}"
            for way in trial.ways
        ]
        lines.append(f"  {trial.verdict}")
    if "scale" in trials:
        scale: ScaleTrial = trials["scale"]
        lines.append(f"scale, tried on {scale.n_frames} frames of which {scale.n_held} were predicted")
        lines.append(f"  {scale.verdict}")
    if "deep" in trials:
        lines += _text_of_unknowns(trials["deep"])
    return "\n".join(lines)


def _text_of_unknowns(trial: PayingTrial) -> list[str]:
    lines = [f"unknowns, tried on {trial.n_frames} frames, each held out once"]
    if trial.candidates:
        lines.append(f"  {'flags':{_WIDTH}}   gains  standard errors")
    for one in trial.candidates:
        told = "advised" if one.advised else "pays alone" if one.pays else ""
        lines.append(f"  {one.flags:{_WIDTH}}{one.gain:8.1%}  {one.sureness:15.1f}  {told}".rstrip())
    return [*lines, f"  {trial.verdict}"]
