"""``ptycho-torch simulate``: a scan whose truth is known."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ptycho_config import ConfigError, Problem, field_specs, setting
from ptycho_torch_cli.console import UsageError, run_command
from ptycho_torch_cli.formats import (
    add_writing_flags,
    format_names,
    metadata_of,
    wrong_targets_are_usage,
)
from ptycho_torch_cli.parsers import CommandParser, add_common_flags, add_settings, add_switch

_FAULTS = (
    "dose_rms",
    "dose_fading",
    "background",
    "scan_stretch_y",
    "scan_stretch_x",
    "scan_rotation_deg",
    "scan_shear",
    "drift_px",
    "probe_drift",
    "position_error_px",
)
_GEOMETRY = ("photon_energy_eV", "detector_object_distance_m", "detector_pixel_m")

__all__ = ["Scene", "build_parser", "main"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scene:
    """What can be said about a simulated scan.

    The defaults are those of `ptycho_torch.data.simulation.simulate.simulate_scene`, stated for ``--help``;
    only what was typed is passed on. Where the scan was measured is metadata, which formats in metres need.
    """

    scene: str = setting(
        "lines",
        help="object: crossing fibres, a synthetic natural image, or smooth random fields",
        choices=("lines", "natural", "random_field"),
    )
    N: int = setting(64, help="side of frames and probe", unit="px", ge=8)
    grid: tuple[int, ...] = setting((20, 20), help="rows and columns of the raster", ge=1)
    step_px: float = setting(6.0, help="step of the raster", unit="px", gt=0, cli=("--step",))
    jitter_px: float = setting(
        1.5, help="largest displacement of a point along each axis", unit="px", ge=0, cli=("--jitter",)
    )
    photons: float = setting(1e6, help="mean counts per frame", unit="photons", gt=0)
    modes: int = setting(
        1, help="incoherent probe modes, each with half the power of the one before", ge=1, le=6
    )
    seed: int = setting(0, help="seed of object, positions and noise", ge=0)
    noise: bool = setting(True, help="Poisson noise; off: the expected counts")
    dose_rms: float = setting(
        0.0, help="a fault: spread of the dose from frame to frame, as a share of the mean", ge=0
    )
    dose_fading: float = setting(
        0.0, help="a fault: share of the first frame's dose that the last one has lost", ge=0, le=0.95
    )
    background: float = setting(
        0.0, help="a fault: mean counts per pixel beside the light of the object, more on the right", ge=0
    )
    probe_drift: float = setting(
        0.0,
        help="a fault: astigmatism of the probe in the last frame, the opposite of the first (rms)",
        unit="rad",
        ge=0,
    )
    position_error_px: float = setting(
        0.0,
        help="a fault: how far stated positions lie beside the true ones (rms), each frame by itself",
        unit="px",
        ge=0,
        cli=("--position-error",),
    )
    scan_stretch_y: float = setting(
        0.0, help="a fault: share by which steps along y are longer than the positions say", ge=-0.5, le=0.5
    )
    scan_stretch_x: float = setting(0.0, help="the same along x", ge=-0.5, le=0.5)
    scan_rotation_deg: float = setting(
        0.0,
        help="a fault: rotation of the scan against its positions, from x towards y",
        unit="degrees",
        ge=-45,
        le=45,
        cli=("--scan-rotation",),
    )
    scan_shear: float = setting(
        0.0, help="a fault: tangent of the angle by which y leans towards x", ge=-0.5, le=0.5
    )
    drift_px: float = setting(
        0.0,
        help="a fault: how far frames have drifted from their positions (rms), smoothly in their number",
        unit="px",
        ge=0,
        cli=("--drift",),
    )
    propagation: str = setting(
        "far",
        help="where the detector is: far, so that it shows Fourier transforms, or near, so that it shows the "
        "light itself, some way on (Fresnel)",
        choices=("far", "near"),
    )
    focus_distance_m: float | None = setting(
        None,
        help="from the focus of a cone beam to the sample, in the near field; none: a parallel beam",
        unit="m",
        gt=0,
        cli=("--focus-distance",),
    )
    slices: int = setting(1, help="slices of a thick object along the beam", ge=1, le=32)
    slice_distance_m: float | None = setting(
        None,
        help="from a slice to the next one; needs slices",
        unit="m",
        gt=0,
        lt=1,
        cli=("--slice-distance",),
    )
    photon_energy_eV: float = setting(
        9000.0,
        help="photon energy, written as metadata",
        unit="eV",
        gt=0,
        cli=("--energy",),
    )
    detector_object_distance_m: float = setting(
        2.0, help="from sample to detector; written as metadata", unit="m", gt=0, cli=("--distance",)
    )
    detector_pixel_m: float = setting(
        75e-6,
        help="pixel of the detector, written as metadata; the object pixel follows: wavelength times "
        "distance over N detector pixels, in the near field that of the detector over the magnification",
        unit="m",
        gt=0,
        cli=("--detector-pixel",),
    )


def build_parser() -> CommandParser:
    """Return the parser of the command."""
    parser = CommandParser(
        "ptycho-torch simulate",
        description="Simulate a scan and write it with the object it was made from, as "
        f"{format_names(writable=True)}.",
        usage="--output SCAN.npz [--format FORMAT] [settings]",
        examples=(
            ("crossing fibres, 20 x 20 positions", "ptycho-torch simulate --output scan.npz"),
            (
                "a faint natural image, two probe modes",
                "ptycho-torch simulate --output faint.npz --scene natural --photons 1e4 --modes 2",
            ),
            (
                "a source that flickers by a fifth",
                "ptycho-torch simulate --output flickering.npz --dose-rms 0.2",
            ),
            (
                "in the near field, 50 times magnified by a focus before the sample",
                "ptycho-torch simulate --output near.npz --propagation near --focus-distance 0.04",
            ),
            (
                "two slices of a thick object, 0.1 mm apart",
                "ptycho-torch simulate --output thick.npz --slices 2 --slice-distance 1e-4",
            ),
            (
                "as CXI, measured with 12 keV at 3 m",
                "ptycho-torch simulate --output scan.cxi --energy 12000 --distance 3",
            ),
        ),
    )
    group = parser.add_argument_group("Output")
    group.add_argument("--output", "-o", required=True, metavar="FILE", help="file to write, or folder")
    add_writing_flags(group)
    add_switch(group, "--overwrite", "replace the file if it exists")
    add_settings(parser, "scene", Scene, heading="Scene")
    add_common_flags(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_command(build_parser(), _simulate, argv)


def _simulate(args: argparse.Namespace) -> int:
    target = Path(args.output)
    wanted, metadata = _wanted(args), metadata_of(args)
    geometry = _geometry(wanted)
    from ptycho_torch.data.convert import target_format, write_scan
    from ptycho_torch.data.simulation import Faults, simulate_scene

    faults = {name: wanted.pop(name) for name in _FAULTS if name in wanted}
    try:
        with wrong_targets_are_usage():
            asked = getattr(args, "format", None)
            kind = target_format(target, asked, overwrite=args.overwrite).name
        scan = simulate_scene(**wanted, faults=Faults(**faults), optics=geometry)
    except ValueError as error:
        # Every number and name came from the command line.
        raise UsageError(str(error)) from error
    scan = dataclasses.replace(scan, metadata={**scan.metadata, **metadata})
    with wrong_targets_are_usage():
        write_scan(target, scan, format=kind, overwrite=args.overwrite)
    height, width = (0, 0) if scan.object_truth is None else scan.object_truth.shape
    print(
        f"{target}: {scan.n_frames} frames of {scan.N} x {scan.N} px, {scan.n_modes} probe mode(s), "
        f"object {height} x {width} px, {float(scan.counts_per_frame().mean()):.4g} counts per frame"
    )
    return 0


def _geometry(wanted: dict[str, Any]) -> dict[str, Any]:
    """Metadata that say where the scan was measured; taken out of what is wanted of the simulation."""
    stated = {
        spec.name: float(wanted.pop(spec.name, spec.default))
        for spec in field_specs(Scene)
        if spec.name in _GEOMETRY
    }
    pixel = stated.pop("detector_pixel_m")
    found = {**stated, "detector_pixel_height_m": pixel, "detector_pixel_width_m": pixel}
    focus = wanted.pop("focus_distance_m", None)
    if wanted.pop("propagation", "far") == "near":
        return {**found, "far_field": False, "focus_object_distance_m": -focus if focus else 0.0}
    if focus is not None:
        raise ConfigError(
            Problem("--focus-distance", focus, "nothing in the far field", "add --propagation near")
        )
    return found


def _wanted(args: argparse.Namespace) -> dict[str, Any]:
    names = [spec.name for spec in field_specs(Scene)]
    wanted = {name: getattr(args, name) for name in names if hasattr(args, name)}
    grid = wanted.get("grid")
    if grid is not None and len(grid) != 2:
        raise ConfigError(Problem("--grid", grid, "rows and columns, such as 20,20"))
    modes = wanted.pop("modes", None)
    if modes is not None:
        wanted["mode_powers"] = tuple(0.5**mode for mode in range(modes))
    return wanted


if __name__ == "__main__":
    sys.exit(main())
