"""How many frames that lie pixels beside their stated positions come home.

Scans of known truth whose positions are stated wrong, each frame by itself; refined with and without search.
Errors are distances from the true positions after the common shift (median) is taken out.

    python benchmarks/positions.py --output benchmarks/results/positions.json
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from bench_record import write_record
from scipy.ndimage import gaussian_filter

from ptycho_torch.data import Scan, open_scan
from ptycho_torch.data.simulation import Faults, simulate_scene
from ptycho_torch.refine import RefineResult, refine

SCENES = ("lines", "natural", "random_field")
ERRORS_PX = (10.0, 5.0, 2.0)
PROBES = ("known", "blurred")
SEED = 3
REACH = 3.0
STAR = Path(__file__).resolve().parents[1] / "data" / "siemens_star_128.npz"


def blurred(probe: npt.NDArray[np.complex64], width: float) -> npt.NDArray[np.complex64]:
    """The probe convolved with a Gaussian."""
    parts = (gaussian_filter(part, (0, width, width)) for part in (probe.real, probe.imag))
    real, imaginary = parts
    return (real + 1j * imaginary).astype(np.complex64)


def scan_with(
    scene: str, error_px: float, probe: str, size: dict[str, Any]
) -> tuple[Scan, npt.NDArray[np.float64]]:
    """A scan and its true positions."""
    scan, truth = (
        simulate_scene(scene, photons=1e6, seed=SEED, faults=Faults(position_error_px=error), **size["scan"])
        for error in (error_px, 0.0)
    )
    if probe == "blurred":
        scan = replace(scan, probe=blurred(scan.probe, size["scan"]["N"] / 43))
    return scan, truth.positions


def errors_of(positions: npt.NDArray[np.float64], truth: npt.NDArray[np.float64]) -> dict[str, float]:
    """Root mean square, median and largest distance; px. And frames farther than 2 px."""
    moves = positions - truth
    distance = np.hypot(*(moves - np.median(moves, axis=0)).T)
    return {
        "rms": float(np.sqrt((distance**2).mean())),
        "median": float(np.median(distance)),
        "largest": float(distance.max()),
        "beyond_2_px": int((distance > 2).sum()),
    }


def timed(scan: Scan, **settings: Any) -> tuple[RefineResult, float]:
    """A refinement and the processor time that it took."""
    began = time.process_time()
    result = refine(scan, refine_positions=True, error_bars="none", **settings)
    return result, time.process_time() - began


def row_of(scene: str, error_px: float, probe: str, size: dict[str, Any]) -> dict[str, Any]:
    """One case with and without a search."""
    scan, truth = scan_with(scene, error_px, probe, size)
    settings = {"epochs": size["epochs"], "refine_probe": probe == "blurred"}
    return compared(scan, truth, REACH * error_px, settings)


def star(error_px: float) -> dict[str, Any]:
    """The measured star, its own positions taken for the truth."""
    scan = open_scan(STAR)
    errors = np.random.default_rng(SEED).standard_normal(scan.positions.shape) * error_px / np.sqrt(2)
    moved = replace(scan, positions=scan.positions + errors)
    settings = {"epochs": 60, "likelihood": "amplitude"}
    return compared(moved, scan.positions, 30.0, settings)


def compared(
    scan: Scan, truth: npt.NDArray[np.float64], reach_px: float, settings: dict[str, Any]
) -> dict[str, Any]:
    """Errors without a search and with it, and the ratio of their processor time."""
    plain, plain_seconds = timed(scan, **settings)
    found, seconds = timed(scan, position_search_px=reach_px, **settings)
    assert found.unsettled_frames is not None
    settled = np.ones(len(truth), np.bool_)
    settled[found.unsettled_frames] = False
    return {
        "stated": errors_of(scan.positions, truth),
        "plain": errors_of(plain.positions, truth),
        "found": errors_of(found.positions, truth),
        "settled": errors_of(found.positions[settled], truth[settled]),
        "unsettled": int((~settled).sum()),
        "seconds_ratio": seconds / plain_seconds,
        "seconds": seconds,
    }


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scenes", nargs="+", default=list(SCENES), choices=SCENES)
    parser.add_argument("--errors", nargs="+", type=float, default=list(ERRORS_PX))
    parser.add_argument("--probes", nargs="+", default=list(PROBES), choices=PROBES)
    parser.add_argument("--quick", action="store_true", help="one tiny scan, to see that everything runs")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--star", action="store_true", help="the measured star instead, 8 px (rms)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    size: dict[str, Any] = {
        "scan": {"N": 64, "grid": (28, 28), "step_px": 6.0, "jitter_px": 1.5},
        "epochs": 100,
    }
    if arguments.quick:
        size = {"scan": {"N": 32, "grid": (5, 5), "step_px": 4.0, "jitter_px": 1.0}, "epochs": 3}
    record = json.loads(arguments.output.read_text()) if arguments.output.exists() else {}
    cases: dict[str, Any] = record.get("cases", {})
    if arguments.star:
        cases["star, 8 px, probe known"] = star(8.0)
        print(json.dumps(cases), flush=True)
        write_record(arguments.output, {"size": size, "cases": cases})
        return
    scenes, errors = arguments.scenes, arguments.errors
    if arguments.quick:
        scenes, errors = scenes[:1], errors[:1]
    for error_px in errors:
        for probe in arguments.probes:
            for scene in scenes:
                name = f"{scene}, {error_px:g} px, probe {probe}"
                cases[name] = row_of(scene, error_px, probe, size)
                print(name, json.dumps(cases[name]), flush=True)
                write_record(arguments.output, {"size": size, "cases": cases})


if __name__ == "__main__":
    main()
