"""What is known of a sample or a probe, and what it saves where frames hold few photons.

    python benchmarks/constraints.py --output benchmarks/results/constraints.json

Every row has the error of one scan without and with a setting, from runs of the same number of epochs.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench_record import error_of, write_record
from unknowns import SCENES, SEED

from ptycho_torch.data.scan.contract import Scan
from ptycho_torch.data.simulation import simulate_scan, simulate_scene
from ptycho_torch.refine import refine

PHOTONS = (1e3, 1e4)
PENALTIES: dict[str, dict[str, Any]] = {
    "none": {},
    "smoothness 0.1": {"smoothness": 0.1},
    "total variation 0.01": {"total_variation": 0.01},
    "total variation 0.03": {"total_variation": 0.03},
}
SUPPORTS: dict[str, dict[str, Any]] = {
    "none": {"refine_probe": True},
    "24 px": {"refine_probe": True, "probe_support": 24.0},
    "20 px": {"refine_probe": True, "probe_support": 20.0},
}
PHASES: dict[str, dict[str, Any]] = {"none": {}, "phase": {"object_constraint": "phase"}}


def without_absorption(scan: Scan, photons: float) -> Scan:
    """The same scan of a sample with the same phase that absorbs nothing."""
    truth = np.exp(1j * np.angle(scan.object_truth))
    return simulate_scan(truth, scan.probe, scan.positions, photons=photons, seed=SEED)


def errors(scan: Scan, settings: dict[str, dict[str, Any]], epochs: int) -> dict[str, float]:
    """Error of a scan with each of some settings."""
    return {
        name: error_of(scan, refine(scan, epochs=epochs, error_bars="none", **chosen).object)
        for name, chosen in settings.items()
    }


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="one tiny scan, to see that everything runs")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    side, epochs, scenes = (6, 4, SCENES[:1]) if arguments.quick else (8, 60, SCENES)
    size = {"N": 32, "grid": (side, side), "step_px": 4.0, "jitter_px": 1.0}
    cases: dict[str, dict[str, dict[str, float]]] = {}
    for scene in scenes:
        for photons in PHOTONS[: 1 if arguments.quick else None]:
            scan = simulate_scene(scene, photons=photons, seed=SEED, **size)
            clear = without_absorption(scan, photons)
            for case, one, settings in (
                ("penalties", scan, PENALTIES),
                ("support of the probe", scan, SUPPORTS),
                ("phase only, true", clear, PHASES),
                ("phase only, false", scan, PHASES),
            ):
                row = cases.setdefault(case, {})[f"{scene}, {photons:g} photons"] = errors(
                    one, settings, epochs
                )
                print(
                    case,
                    scene,
                    f"{photons:g}",
                    {name: round(value, 4) for name, value in row.items()},
                    flush=True,
                )
            write_record(arguments.output, {"size": size, "epochs": epochs, "cases": cases})


if __name__ == "__main__":
    main()
