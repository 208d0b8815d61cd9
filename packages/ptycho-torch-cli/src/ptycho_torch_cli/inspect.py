"""``ptycho-torch inspect``: what is in a scan file, and what is wrong with it."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ptycho_config import InferenceConfig, OrientationConfig, PartsConfig, PyTorchExecutionConfig, spec_of
from ptycho_torch_cli.console import note, progress_of, run_command
from ptycho_torch_cli.formats import SCAN_HELP, format_names
from ptycho_torch_cli.parsers import CommandParser, add_common_flags, add_settings, add_switch
from ptycho_torch_cli.shared import (
    LIMIT,
    array_limit_of,
    check_target,
    orientation_of,
    parts_of,
    validate_paths,
)
from ptycho_torch_cli.trials import add_trial_flags, text_of_trials, trials_of, wants_trials

if TYPE_CHECKING:
    from ptycho_torch.data.summary import Examination, ScanSummary
    from ptycho_torch.diagnosis.finding import Finding
    from ptycho_torch.trials import OrientationTrial, PayingTrial, ScaleTrial

__all__ = ["build_parser", "main"]


def build_parser() -> CommandParser:
    """Return the parser of the command."""
    parser = CommandParser(
        "ptycho-torch inspect",
        description="Show what a scan holds: arrays, measurement domain, geometry, photon statistics, "
        "problems. Exits with 1 when the file would be refused.",
        usage="SCAN [--json] [--plot PICTURE.png] [--orientation] [--scale] [--deep]",
        examples=(
            ("what a file holds", "ptycho-torch inspect scan.npz"),
            ("with a picture of the scan, of any format", "ptycho-torch inspect pair --plot scan.png"),
            (
                "which orientation of the frames, and which scale of the positions, fits",
                "ptycho-torch inspect --orientation --scale scan.npz",
            ),
            (
                "what refine should fit beside the object",
                "ptycho-torch inspect --deep scan.npz",
            ),
            ("for a script", "ptycho-torch inspect scan.h5 --json"),
        ),
    )
    parser.add_argument("file", metavar="FILE", help=f"{SCAN_HELP}; formats: {format_names()}")
    add_switch(parser, "--json", "print JSON")
    group = parser.add_argument_group("Picture")
    group.add_argument(
        "--plot",
        metavar="PICTURE.png",
        help="draw scan map, coverage, mean frame, photon statistics and probe on one page",
    )
    add_switch(group, "--overwrite", "replace the picture if it exists")
    add_switch(group, "--quiet", "no progress, no log lines; warnings remain")
    add_settings(
        parser,
        "reading",
        InferenceConfig,
        only={"measurement_domain", "reader", "clean", "strict"},
        heading="Reading",
    )
    add_settings(parser, "reading", PyTorchExecutionConfig, only={LIMIT}, heading="Reading")
    add_settings(parser, "orientation", OrientationConfig)
    add_settings(parser, "parts", PartsConfig)
    add_trial_flags(parser)
    add_common_flags(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_command(build_parser(), _inspect, argv)


def _inspect(args: argparse.Namespace) -> int:
    reader = getattr(args, "reader", None)
    validate_paths({"FILE": args.file, "--reader": reader}, folders=("FILE",))
    picture = getattr(args, "plot", None)
    if picture is not None:
        inputs = [args.file] if reader is None else [args.file, reader]
        check_target("--plot", Path(picture), suffix=".png", overwrite=args.overwrite, inputs=inputs)
    from ptycho_torch.data.reading import cleaning_of
    from ptycho_torch.data.summary import examine_scan

    default = spec_of(InferenceConfig, "measurement_domain").default
    domain = getattr(args, "measurement_domain", default)
    applied, parts = orientation_of(args), parts_of(args)
    with (
        array_limit_of(args),
        progress_of("frame", name="counting", quiet=args.quiet, brief=True) as progress,
    ):
        found = examine_scan(
            args.file,
            measurement_domain=domain,
            progress=progress,
            reader=reader,
            orientation=applied,
            parts=parts,
            clean=cleaning_of(getattr(args, "clean", "auto")),
        )
    summary = found.summary
    trials = _tried(args, found, applied)
    data = {name: trial.to_dict() for name, trial in trials.items()}
    text = "\n".join(filter(None, [_as_text(summary), text_of_trials(trials)]))
    print(json.dumps(_plain({**_as_data(summary), **data}), indent=2) if args.json else text)
    if picture is not None:
        _draw(picture, found)
    refused = getattr(args, "strict", False) and bool(_spoiling(summary))
    return 0 if summary.is_sound and not refused else 1


def _spoiling(summary: ScanSummary) -> list[Finding]:
    """Findings that spoil a result, or would have."""
    return [finding for finding in summary.findings if finding.found and finding.severity == "warning"]


def _tried(
    args: argparse.Namespace, found: Examination, applied: OrientationConfig
) -> dict[str, OrientationTrial | ScaleTrial | PayingTrial]:
    if not wants_trials(args):
        return {}
    if found.scan is None:
        note("nothing was tried: a scan with problems cannot be solved; repair it first")
        return {}
    return trials_of(args, found.scan, applied)


def _draw(picture: str, found: Examination) -> None:
    if found.scan is None or found.frames is None:
        note(f"{picture} was not drawn: a scan with problems has nothing to show; repair it first")
        return
    from ptycho_torch.plotting import save_scan_figure

    save_scan_figure(picture, found.scan, found.frames, found.summary)
    note(f"wrote {picture}")


def _as_data(summary: ScanSummary) -> Any:
    data = asdict(replace(summary, findings=()))
    data["findings"] = [
        {
            "name": finding.name,
            "found": finding.found,
            "severity": finding.severity,
            "text": finding.text,
            "advice": finding.advice,
            "numbers": dict(finding.numbers),
        }
        for finding in summary.findings
    ]
    data["source"] = str(summary.source)
    data["headers"] = {
        key: {"shape": list(shape), "dtype": str(dtype)} for key, (shape, dtype) in summary.headers.items()
    }
    data["is_sound"] = summary.is_sound
    return _plain(data)


def _plain(value: Any) -> Any:
    """Types that JSON knows; it knows no NaN and no infinity."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _as_text(summary: ScanSummary) -> str:
    lines = [f"{summary.source}"]
    if summary.headers:
        lines.append("arrays")
        width = max(len(key) for key in summary.headers)
        lines += [
            f"  {key:{width}}  {dtype!s:10}  {' x '.join(map(str, shape)) or 'scalar'}"
            for key, (shape, dtype) in summary.headers.items()
        ]
    lines += [f"{title:12}{text}" for title, text in _facts(summary)]
    lines += _looked_for(summary)
    for title, texts in (("notes", summary.remarks), ("problems", summary.problems)):
        if texts:
            lines += [title, *(f"  - {text}" for text in texts)]
    if summary.is_sound:
        spoiling = _spoiling(summary)
        lines.append(f"{len(spoiling)} findings that spoil a result" if spoiling else "no problems")
    return "\n".join(lines)


def _looked_for(summary: ScanSummary) -> list[str]:
    """Every diagnosis on its line, those that found nothing too."""
    if not summary.findings:
        return []
    width = max(len(finding.name) for finding in summary.findings)
    marks = {True: {"warning": "!!", "note": " !"}, False: {"warning": "ok", "note": "ok"}}
    return [
        "looked for",
        *(
            f"  {marks[finding.found][finding.severity]} {finding.name:{width}}  {finding.sentence()}"
            for finding in summary.findings
        ),
    ]


def _facts(summary: ScanSummary) -> list[tuple[str, str]]:
    facts = []
    if summary.domain is not None:
        how = "stated" if summary.domain.stated else "decided"
        facts.append(("domain", f"{summary.domain.domain} ({how}): {summary.domain.reason}"))
    if summary.n_frames is not None:
        facts.append(("frames", f"{summary.n_frames} of {summary.N} x {summary.N} px"))
        facts.append(("probe", f"{summary.n_modes} mode(s)"))
        facts.append(("truth", "in the file" if summary.has_truth else "not in the file"))
        facts.append(("bad pixels", str(summary.n_bad_pixels)))
    where = summary.positions
    if where is not None:
        facts.append(
            (
                "positions",
                f"y {where.y_min:.1f} to {where.y_max:.1f}, x {where.x_min:.1f} to {where.x_max:.1f} px",
            )
        )
        facts.append(
            (
                "overlap",
                f"{where.overlap:.0%} (step {where.median_step:.2f} px, probe diameter "
                f"{where.probe_diameter:.1f} px)",
            )
        )
    dose = summary.photons
    if dose is not None:
        facts.append(("counts", f"{dose.mean:.4g} per frame ({dose.minimum:.4g} to {dose.maximum:.4g})"))
        facts.append(
            ("pixels", f"largest {dose.max_pixel:.4g} counts, {dose.zero_share:.0%} without a count")
        )
    if summary.metadata:
        facts.append(("metadata", json.dumps(_plain(summary.metadata))))
    return facts


if __name__ == "__main__":
    sys.exit(main())
