"""Error of a refinement against the number of subsets it begins with, and whether the default chooses well.

    python benchmarks/refine_subsets.py --frames 100 --output benchmarks/results/refine_subsets.json

Steps, scenes, photons and numbers of frames are crossed. Every case runs from a flat start with each fixed
number of frames per step and with the default, for the same number of epochs. Cases that the record holds
already are left as they are, so that the run may be interrupted and continued; ``--shares`` leaves fixed
choices out where many frames take long. ``--only-default`` measures the default again. The table at the end
says where the default is worse than the best fixed choice.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from bench_record import error_of, write_record

from ptycho_torch.data.scan.contract import Scan
from ptycho_torch.data.simulation.simulate import simulate_scene
from ptycho_torch.refine import refine

SCENES = ("lines", "natural", "random_field")
STEPS_PX = (6.0, 9.0, 12.0, 16.0, 22.0)
PHOTONS = (1e4, 1e6)
SIDES = {100: 10, 400: 20, 1600: 40}
SHARES = (32, 16, 8, 4, 2, 1)
ALLOWED = 1.1


def scan_of(scene: str, step_px: float, photons: float, frames: int, n_pixels: int) -> Scan:
    """Scan of a square raster with a jitter of one pixel."""
    side = SIDES.get(frames, round(frames**0.5))
    return simulate_scene(
        scene, N=n_pixels, grid=(side, side), step_px=step_px, jitter_px=1.0, photons=photons, seed=7
    )


def solved(scan: Scan, batch_size: int | None, epochs: int) -> dict[str, float]:
    """Complex normalised RMSE against the truth after alignment, and processor seconds."""
    cpu = time.process_time()
    result = refine(scan, epochs=epochs, batch_size=batch_size, tolerance=0)
    cpu = time.process_time() - cpu
    return {"error": error_of(scan, result.object), "cpu_s": cpu}


def choices_of(frames: int, shares: Sequence[int]) -> dict[str, int | None]:
    """Frames per step by the name of the choice; None is the default."""
    fixed = {f"n/{share}": max(1, round(frames / share)) for share in shares}
    return {**fixed, "default": None}


def judged(cases: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Per case the best fixed choice, and the default as a multiple of its error."""
    rows = []
    for name, choices in sorted(cases.items()):
        fixed = {choice: row["error"] for choice, row in choices.items() if choice != "default"}
        if not fixed or "default" not in choices:
            continue
        best = min(fixed, key=lambda choice: fixed[choice])
        ratio = choices["default"]["error"] / fixed[best]
        rows.append({"case": name, "best": best, "error": fixed[best], "default_to_best": ratio})
    return rows


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """All cases that the record does not hold; the record."""
    record = json.loads(arguments.output.read_text()) if arguments.output.exists() else {}
    cases: dict[str, dict[str, Any]] = record.get("cases", {})
    crossed = itertools.product(arguments.frames, arguments.steps, arguments.scenes, arguments.photons)
    for frames, step_px, scene, photons in crossed:
        name = f"{frames} frames, step {step_px:g} px, {scene}, {photons:g} photons"
        case = cases.setdefault(name, {})
        wanted = {
            choice: size
            for choice, size in choices_of(frames, arguments.shares).items()
            if (choice == "default" and arguments.only_default)
            or (choice not in case and not arguments.only_default)
        }
        if not wanted:
            continue
        scan = scan_of(scene, step_px, photons, frames, arguments.n_pixels)
        for choice, size in wanted.items():
            case[choice] = solved(scan, size, arguments.epochs)
        print(name, {choice: round(row["error"], 4) for choice, row in case.items()}, flush=True)
        record = {
            "epochs": arguments.epochs,
            "N": arguments.n_pixels,
            "cases": cases,
            "judged": judged(cases),
        }
        write_record(arguments.output, record)
    return record


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, nargs="+", default=list(SIDES))
    parser.add_argument("--steps", type=float, nargs="+", default=list(STEPS_PX))
    parser.add_argument("--scenes", nargs="+", default=list(SCENES))
    parser.add_argument("--photons", type=float, nargs="+", default=list(PHOTONS))
    parser.add_argument("--shares", type=int, nargs="+", default=list(SHARES), help="first subsets to try")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--n-pixels", type=int, default=64)
    parser.add_argument("--only-default", action="store_true", help="measure the default again, nothing else")
    parser.add_argument("--quick", action="store_true", help="one small case, to see that everything runs")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.quick:
        arguments.frames, arguments.steps, arguments.scenes, arguments.photons = [36], [6.0], ["lines"], [1e5]
        arguments.epochs, arguments.n_pixels = 4, 32
    record = run(arguments)
    worse = [row for row in record["judged"] if row["default_to_best"] > ALLOWED]
    for row in worse:
        print(f"{row['case']}: {row['default_to_best']:.2f} times the error of {row['best']}")
    total = len(record["judged"])
    print(f"{len(worse)} of {total} cases are worse than the best fixed choice by more than 10 %")


if __name__ == "__main__":
    main()
