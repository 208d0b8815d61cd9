"""Two scans of one object refined together, beside each of them alone.

    python benchmarks/several_scans.py --output benchmarks/results/several_scans.json

The second scan has other positions, which are stated (7.3, -4.6) px beside where they are; in one case
it also has another defocus and three times the photons.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench_record import error_of, write_record
from unknowns import SCENES, SEED

from ptycho_torch.data.scan.contract import Scan
from ptycho_torch.data.simulation import simulate_scene
from ptycho_torch.data.simulation.simulate import simulate_scan
from ptycho_torch.refine import refine

OFFSET = np.array([7.3, -4.6])
DEFOCUS_RAD = 60.0
SETTINGS: dict[str, dict[str, Any]] = {"known probes": {}, "fitted probes": {"refine_probe": True}}
PHOTONS = (1e4, 1e5)


def pair(scene: str, photons: float, *, other: bool, grid: tuple[int, int]) -> tuple[Scan, Scan]:
    """Two scans of one object; where ``other``, with another probe and dose."""
    first = simulate_scene(scene, N=32, grid=grid, step_px=4.0, jitter_px=1.0, photons=photons, seed=SEED)
    low, high = first.positions.min(axis=0), first.positions.max(axis=0)
    moves = np.random.default_rng(SEED).uniform(-1, 1, first.positions.shape)
    places = (first.positions + moves).clip(low, high)
    probe = first.probe
    if other:
        square = np.add.outer(np.fft.fftfreq(32) ** 2, np.fft.fftfreq(32) ** 2)
        spectrum = np.fft.fft2(probe) * np.exp(1j * DEFOCUS_RAD * square)
        probe = np.fft.ifft2(spectrum).astype(np.complex64)
    made = simulate_scan(
        first.object_truth, probe, places, photons=photons * (3 if other else 1), seed=SEED + 1,
        object_origin=first.object_truth_origin.tolist(),
    )  # fmt: skip
    return first, replace(
        made, positions=places - OFFSET, object_truth_origin=first.object_truth_origin + OFFSET
    )


def three_runs(scans: tuple[Scan, Scan], settings: dict[str, Any], epochs: int) -> dict[str, float]:
    """Errors of each scan alone and of both together, and how the offset was found."""
    row: dict[str, float] = {}
    seconds = 0.0
    for name, scan in zip(("first_alone", "second_alone"), scans, strict=True):
        began = time.process_time()
        row[name] = error_of(scan, refine(scan, epochs=epochs, **settings).object)
        seconds += time.process_time() - began
    began = time.process_time()
    together = refine(scans, epochs=epochs, **settings)
    row["time_ratio"] = (time.process_time() - began) / seconds
    row["together"] = error_of(scans[0], together.object)
    row["offset_error_px"] = float(np.hypot(*(together.scans[1].offset_px - OFFSET)))
    row["dose_ratio"] = together.scans[1].dose / together.scans[0].dose
    return row


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="one small pair, to see that everything runs")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    scenes, photons = (SCENES[:1], PHOTONS[1:]) if arguments.quick else (SCENES, PHOTONS)
    side, epochs = (6, 10) if arguments.quick else (12, 60)
    rows: dict[str, dict[str, Any]] = {}
    for scene in scenes:
        for count in photons:
            for other in (True, False):
                scans = pair(scene, count, other=other, grid=(side, side))
                for name, settings in SETTINGS.items():
                    kind = "other probe, 3 x the dose" if other else "the same"
                    label = f"{scene}, {count:g} photons, {kind}, {name}"
                    rows[label] = three_runs(scans, settings, epochs)
                    shown = {key: round(value, 4) for key, value in rows[label].items()}
                    print(label, json.dumps(shown), flush=True)
    write_record(arguments.output, {"epochs": epochs, "side": side, "pairs": rows})


if __name__ == "__main__":
    main()
