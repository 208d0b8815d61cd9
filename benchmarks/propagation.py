"""Error against truth of scans in the near field and of thick objects, and what an epoch of them costs.

    python benchmarks/propagation.py --output benchmarks/results/propagation.json

The same scenes are simulated with a detector in the far field, and in the near field at effective distances
over which the finest detail of a pixel spreads over more and more pixels. Objects of two slices are refined
as one slice and as two, and each slice is compared with either of the truth.
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
from bench_record import error_of, write_record

from ptycho_torch.data.scan.contract import Scan
from ptycho_torch.data.scan.near_field import near_field_of
from ptycho_torch.data.simulation.scenes import (
    defocused_probe,
    object_shape,
    raster_positions,
    thick_object,
)
from ptycho_torch.data.simulation.simulate import simulate_scan, simulate_scene
from ptycho_torch.refine import refine

SCENES = ("lines", "natural", "random_field")
FOCI_M = (0.04, 0.02, 0.006)
"""From the focus to the sample: nearly the effective distance, as the detector stands two metres away."""
DISTANCES_M = (3e-5, 1e-4, 3e-4)
"""Between slices; the depth of focus is 0.12 mm."""
SEED = 3


def optics(focus_m: float) -> dict[str, Any]:
    """Metadata of a detector of 75 um pixels in a cone beam of 9 keV."""
    return {
        "photon_energy_eV": 9000.0,
        "detector_object_distance_m": 2.0,
        "detector_pixel_height_m": 75e-6,
        "detector_pixel_width_m": 75e-6,
        "far_field": False,
        "focus_object_distance_m": -focus_m,
    }


def row_of(scan: Scan, epochs: int, **settings: Any) -> dict[str, float]:
    """Error and processor time of an epoch."""
    began = time.process_time()
    result = refine(scan, epochs=epochs, tolerance=0, error_bars="none", **settings)
    seconds = (time.process_time() - began) / result.n_epochs
    return {"error": error_of(scan, result.object), "residual": result.residuals[-1], "epoch_s": seconds}


def near_field(size: dict[str, Any], scenes: tuple[str, ...], epochs: int) -> dict[str, Any]:
    """Rows by scene and distance; the far field by compiled steps and by torch."""
    rows: dict[str, Any] = {}
    for scene in scenes:
        far = simulate_scene(scene, photons=1e6, seed=SEED, **size)
        found = {
            "far": row_of(far, epochs),
            "far, steps of torch": row_of(far, epochs, compiled_steps=False),
        }
        for focus in FOCI_M:
            scan = simulate_scene(scene, photons=1e6, seed=SEED, optics=optics(focus), **size)
            near = near_field_of(scan.metadata, scan.N)
            assert near is not None
            found[f"near, {max(near.spread_px()):.1f} px"] = row_of(scan, epochs)
        rows[scene] = found
        for name, row in found.items():
            print(scene, name, {key: round(value, 4) for key, value in row.items()}, flush=True)
    return rows


def thick_scan(scene: str, distance_m: float, size: dict[str, Any]) -> tuple[Scan, npt.NDArray[np.complex64]]:
    """Scan in the far field of two slices, and these."""
    margin = size["N"] // 2 + size["jitter_px"]
    positions = raster_positions(
        size["grid"],
        step_px=size["step_px"],
        jitter_px=size["jitter_px"],
        start_px=(margin, margin),
        seed=SEED,
    )
    slices = thick_object(scene, object_shape(positions, size["N"]), slices=2, seed=SEED)
    far = {**optics(1.0), "far_field": True}
    scan = simulate_scan(
        slices, defocused_probe(size["N"]), positions,
        photons=1e6, seed=SEED, optics=far, slice_distance_m=distance_m,
    )  # fmt: skip
    return scan, slices


def thick(size: dict[str, Any], scenes: tuple[str, ...], epochs: int) -> dict[str, Any]:
    """Rows by scene and distance of the slices, of the first scene."""
    rows: dict[str, Any] = {}
    for scene in scenes[:1]:
        for distance in DISTANCES_M:
            scan, truth = thick_scan(scene, distance, size)
            row: dict[str, Any] = {"one": row_of(scan, epochs)}
            began = time.process_time()
            result = refine(scan, epochs=epochs, tolerance=0, slices=2, slice_distance=distance)
            seconds = (time.process_time() - began) / epochs
            row["two"] = {
                "error": error_of(scan, result.object), "residual": result.residuals[-1], "epoch_s": seconds
            }  # fmt: skip
            assert result.slices is not None
            for number in (0, 1):
                part = replace(result.object, object=result.slices[number])
                row["two"][f"slice {number}"] = [
                    error_of(replace(scan, object_truth=truth[which]), part) for which in (number, 1 - number)
                ]
            rows[f"{scene}, {distance * 1e6:g} um"] = row
            print(scene, distance, json.dumps(row), flush=True)
    return rows


def distance(size: dict[str, Any], scenes: tuple[str, ...], epochs: int) -> dict[str, Any]:
    """The distance of slices, fitted from a wrong one: what was found as a share of the true one."""
    true = DISTANCES_M[-1]
    scan, _ = thick_scan(scenes[0], true, size)
    settings = {"slices": 2, "slice_distance": 0.8 * true, "refine_slice_distance": True}
    began = time.process_time()
    result = refine(scan, epochs=min(epochs, 120), tolerance=0, error_bars="none", **settings)
    seconds = (time.process_time() - began) / result.n_epochs
    row = {
        "start": 0.8,
        "found": (result.slice_distance_m or 0.0) / true,
        "epochs": result.n_epochs,
        "residual": result.residuals[-1],
        "epoch_s": seconds,
    }
    print(json.dumps(row), flush=True)
    return row


PARTS = {"near_field": near_field, "thick": thick, "distance": distance}


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", default=list(PARTS), choices=list(PARTS))
    parser.add_argument("--quick", action="store_true", help="one tiny scan, to see that everything runs")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    size = {"N": 64, "grid": (8, 8), "step_px": 6.0, "jitter_px": 1.5}
    scenes, epochs = SCENES, 200
    if arguments.quick:
        size, scenes, epochs = {"N": 32, "grid": (3, 3), "step_px": 4.0, "jitter_px": 1.0}, SCENES[:1], 2
    record = json.loads(arguments.output.read_text()) if arguments.output.exists() else {}
    for part in arguments.only:
        record[part] = PARTS[part](size, scenes, epochs)
    parts = {part: record[part] for part in PARTS if part in record}
    write_record(arguments.output, {"size": size, "epochs": epochs, **parts})


if __name__ == "__main__":
    main()
