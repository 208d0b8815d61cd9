"""Error against processor time of `refine` with and without its step for slow phases, side by side.

    python benchmarks/slow_phases.py --output benchmarks/results/slow_phases.json

Every case is solved from a flat start for several numbers of epochs, with the step and without it in turn, on
one thread. Per case the record holds the errors and processor seconds of both, and the ratio of the errors
after as many epochs and after as much time as without the step. Cases that the record holds already are left
as they are. No setting of the step is fitted to any of these objects; photographs are those that scikit-image
ships.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import statistics
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from bench_record import error_of, write_record
from scipy.ndimage import gaussian_filter
from skimage import data as photographs
from skimage.transform import resize

from ptycho_torch.data.scan.contract import Scan
from ptycho_torch.data.simulation.scenes import OBJECTS, defocused_probe, object_shape, raster_positions
from ptycho_torch.data.simulation.simulate import simulate_scan
from ptycho_torch.refine import refine

KINDS = ("lines", "natural", "random_field", "leaves", "camera", "coffee")
STEPS_PX = (6, 12, 16, 22)
PHOTONS = (1e3, 1e4, 1e6)
SIDES = {6: 24, 12: 18, 16: 14, 22: 12}
EPOCHS = (10, 20, 40, 60)
FAULTS: dict[str, dict[str, Any]] = {
    "none": {},
    "amplitude": {"likelihood": "amplitude"},
    "probe blurred": {"refine_probe": True},
    "positions 2 px": {"refine_positions": True},
    "three modes": {},
    "flat-phase probe": {},
    "128 px": {},
}


def dead_leaves(shape: tuple[int, int], seed: int) -> npt.NDArray[np.complex64]:
    """Disks of random amplitude and phase, one over the other."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    phase, amplitude = np.zeros(shape), np.ones(shape)
    for _ in range(200):
        radius = min(60.0, 4 / (rng.random() + 0.03))
        inside = np.hypot(rows - rng.random() * shape[0], columns - rng.random() * shape[1]) < radius
        phase[inside], amplitude[inside] = rng.uniform(-1.2, 1.2), rng.uniform(0.5, 1)
    return (amplitude * np.exp(1j * phase)).astype(np.complex64)


def photograph(name: str, shape: tuple[int, int], seed: int) -> npt.NDArray[np.complex64]:
    """A photograph as the phase, and turned by half a circle as the amplitude; the seed mirrors it."""
    image = np.asarray(getattr(photographs, name)(), dtype=float)
    image = resize(image if image.ndim == 2 else image.mean(axis=-1), shape, anti_aliasing=True)
    image = (image - image.min()) / (image.max() - image.min())
    image = image[:: -1 if seed % 2 else 1, :: -1 if seed % 4 > 1 else 1]
    return ((0.5 + 0.5 * np.rot90(image, 2)) * np.exp(2.4j * (image - 0.5))).astype(np.complex64)


def object_of(kind: str, shape: tuple[int, int], seed: int) -> npt.NDArray[np.complex64]:
    """An object of a kind."""
    if kind in OBJECTS:
        return OBJECTS[kind](shape, seed=seed)
    return dead_leaves(shape, seed) if kind == "leaves" else photograph(kind, shape, seed)


def probe_of(n_pixels: int, fault: str) -> npt.NDArray[np.complex64]:
    """The probe that lights the scan."""
    if fault == "three modes":
        return defocused_probe(n_pixels, mode_powers=(0.7, 0.2, 0.1))
    probe = defocused_probe(n_pixels)
    return np.abs(probe).astype(np.complex64) if fault == "flat-phase probe" else probe


def scan_of(kind: str, step_px: int, photons: float, seed: int, fault: str, side: int | None = None) -> Scan:
    """Scan of a square raster with a jitter of 1.5 px, as a user has it who does not know of the fault."""
    n_pixels = 128 if fault == "128 px" else 64
    scale = n_pixels // 64
    side = SIDES[step_px] if side is None else side
    middle = n_pixels // 2 + 6
    positions = raster_positions(
        (side, side), step_px=float(step_px * scale), jitter_px=1.5, start_px=(middle, middle), seed=seed
    )
    # With room for positions that are stated wrongly.
    shape = tuple(size + 8 for size in object_shape(positions, n_pixels))
    probe = probe_of(n_pixels, fault)
    scan = simulate_scan(
        object_of(kind, (shape[0], shape[1]), seed + 5), probe, positions, photons=photons, seed=seed + 1
    )
    return stated(scan, fault, seed)


def stated(scan: Scan, fault: str, seed: int) -> Scan:
    """A scan as its user states it: with a blurred probe, or with positions that are 2 px rms wrong."""
    if fault == "probe blurred":
        probe = scan.probe
        blurred = gaussian_filter(probe.real, (0, 2, 2)) + 1j * gaussian_filter(probe.imag, (0, 2, 2))
        return replace(scan, probe=blurred.astype(np.complex64))
    if fault == "positions 2 px":
        wrong = np.random.default_rng(seed).normal(scale=2 / math.sqrt(2), size=scan.positions.shape)
        return replace(scan, positions=scan.positions + wrong.clip(-5, 5))
    return scan


def solved(scan: Scan, epochs: int, **settings: Any) -> dict[str, float]:
    """Complex normalised RMSE against the truth after alignment, and processor seconds."""
    cpu = time.process_time()
    result = refine(scan, epochs=epochs, tolerance=0, error_bars="none", **settings)
    cpu = time.process_time() - cpu
    return {"error": error_of(scan, result.object), "cpu_s": cpu}


def compared(scan: Scan, numbers: Sequence[int], **settings: Any) -> dict[str, Any]:
    """Both solvers at all numbers of epochs, and the ratios."""
    rows: dict[str, list[dict[str, float]]] = {"without": [], "with": []}
    for epochs in numbers:
        for name, slow in (("without", False), ("with", True)):
            rows[name].append(solved(scan, epochs, slow_phases=slow, **settings))
    return {"epochs": list(numbers), **rows, **ratios(rows["without"], rows["with"])}


def ratios(without: list[dict[str, float]], with_step: list[dict[str, float]]) -> dict[str, list[float]]:
    """Ratios of errors after equal epochs, and at equal times: between runs by the logarithms of both."""
    times = np.log([row["cpu_s"] for row in with_step])
    errors = np.log([row["error"] for row in with_step])
    at_equal_time = [
        math.exp(float(np.interp(math.log(row["cpu_s"]), times, errors))) / row["error"]
        for row in without
        if math.log(row["cpu_s"]) >= times[0]
    ]
    at_equal_epochs = [fast["error"] / slow["error"] for fast, slow in zip(with_step, without, strict=True)]
    return {"error_at_equal_time": at_equal_time, "error_at_equal_epochs": at_equal_epochs}


def crossed(arguments: argparse.Namespace) -> list[tuple[str, int, float, str, int]]:
    """Kinds, steps, photons, faults and seeds: all doses and steps without a fault, then the faults."""
    if arguments.quick:
        return [("natural", 6, 1e6, fault, 77) for fault in ("none", "probe blurred")]
    plain = itertools.product(KINDS, STEPS_PX, PHOTONS, ("none",))
    faulty = itertools.product(("natural", "camera"), (6, 12), (1e6,), tuple(FAULTS)[1:])
    seeds = range(arguments.seeds)
    return [(*case, 77 + seed) for seed in seeds for case in (*plain, *faulty)]


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """All cases that the record does not hold; the record."""
    record = json.loads(arguments.output.read_text()) if arguments.output.exists() else {}
    cases: dict[str, dict[str, Any]] = record.get("cases", {})
    for kind, step_px, photons, fault, seed in crossed(arguments):
        name = f"{kind}, step {step_px} px, {photons:.0e} photons, {fault}, seed {seed}"
        if name in cases:
            continue
        scan = scan_of(kind, step_px, photons, seed, fault, 5 if arguments.quick else None)
        numbers = (2, 4) if arguments.quick else EPOCHS
        cases[name] = {
            "kind": kind, "step_px": step_px, "photons": photons, "fault": fault, "seed": seed,
            **compared(scan, numbers, **FAULTS[fault]),
        }  # fmt: skip
        print(name, [f"{value:.2f}" for value in cases[name]["error_at_equal_time"]], flush=True)
        write_record(arguments.output, {"cases": cases, "summary": summary(cases)})
    return {"cases": cases, "summary": summary(cases)}


def summary(cases: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Median and range over kinds and seeds."""
    rows = []
    for fault, photons, step_px in itertools.product(FAULTS, PHOTONS, STEPS_PX):
        some = [
            case
            for case in cases.values()
            if (case["fault"], case["photons"], case["step_px"]) == (fault, photons, step_px)
        ]
        if not some:
            continue
        rows.append(
            {"fault": fault, "photons": photons, "step_px": step_px, "cases": len(some), **spread(some)}
        )
    return rows


def spread(cases: list[dict[str, Any]]) -> dict[str, list[float]]:
    """Median, least and most of the ratios, per number of epochs and at all times."""
    found = {
        f"after {epochs} epochs": [case["error_at_equal_epochs"][number] for case in cases]
        for number, epochs in enumerate(cases[0]["epochs"])
    }
    found["at equal time"] = [value for case in cases for value in case["error_at_equal_time"]]
    return {name: [statistics.median(some), min(some), max(some)] for name, some in found.items() if some}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="two tiny scans, to see that everything runs")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for row in run(arguments)["summary"]:
        print(row)


if __name__ == "__main__":
    main()
