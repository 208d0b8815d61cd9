"""How often the error of a refined object lies within its error bars, and what they say of a measured scan.

    python benchmarks/error_bars.py --output benchmarks/results/error_bars.json > tables.txt

It prints the tables of error_bars.md.

Five scenes at three doses and three overlaps, each solved once with its error bars by thinning and once by
the jackknife; the map of shot noise is that of the first. A second scan of the same object and positions with
other photons tells noise and bias apart: half the mean square of the difference is the variance, what is left
of the mean square error the bias. Then the same three looks at a part of the measured star.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench_record import write_record

from ptycho_torch.data import Scan
from ptycho_torch.data.formats.npz import load_scan
from ptycho_torch.data.simulation.scenes import OBJECTS, defocused_probe, object_shape, raster_positions
from ptycho_torch.data.simulation.simulate import simulate_scan
from ptycho_torch.data.summary import probe_diameter
from ptycho_torch.metrics import Coverage, MetricReport, compare
from ptycho_torch.refine import RefineResult, refine

DATA = Path(__file__).resolve().parents[1] / "data"
N = 32
EPOCHS = 60
DOSES = (1e4, 1e5, 1e6)
STEPS = {4.0: 12, 6.0: 9, 9.0: 7}
"""Frames along an axis, by the step in px: all scans are about as wide."""


def discs(shape: tuple[int, int], *, seed: int) -> np.ndarray:
    """Absorbing discs on a clear ground, the amplitude down to 0.2."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    depth = np.ones(shape)
    for _ in range(int(shape[0] * shape[1] / 250)):
        radius, middle = rng.uniform(3, 8), rng.uniform(0, shape)
        inside = np.hypot(y - middle[0], x - middle[1]) < radius
        depth = np.where(inside, np.minimum(depth, rng.uniform(0.2, 0.8)), depth)
    return depth * np.exp(0.8j * (1 - depth))


def spokes(shape: tuple[int, int], *, seed: int) -> np.ndarray:
    """Star of 24 spokes, a phase step of 0.6 rad with little absorption."""
    middle = np.array(shape) / 2 + np.random.default_rng(seed).uniform(-3, 3, 2)
    y, x = np.mgrid[: shape[0], : shape[1]]
    bars = np.sin(24 * np.arctan2(y - middle[0], x - middle[1])) > 0
    return (1 - 0.05 * bars) * np.exp(0.6j * bars)


SCENES = {**OBJECTS, "discs": discs, "spokes": spokes}


def scans_of(scene: str, step_px: float, photons: float) -> tuple[Scan, Scan]:
    """Two scans of one object at the same positions, with other photons each."""
    start = N // 2 + 1.0
    count = STEPS[step_px]
    positions = raster_positions(
        (count, count), step_px=step_px, jitter_px=1.0, start_px=(start, start), seed=5
    )
    image = SCENES[scene](object_shape(positions, N), seed=7)
    probe = defocused_probe(N)
    first, second = (simulate_scan(image, probe, positions, photons=photons, seed=seed) for seed in (1, 2))
    return first, second


def compared(scan: Scan, result: RefineResult) -> MetricReport:
    """Scores of a result, with the coverage of its error bars."""
    found, bars = result.object, result.error_bars
    return compare(
        found.object,
        scan.object_truth,
        weight=found.weight,
        origin=found.origin,
        truth_origin=scan.object_truth_origin,
        probe_diameter=probe_diameter(scan.probe),
        sigmas=None if bars is None else bars.sigmas(),
        frc=False,
    )


def noise_and_bias(first: MetricReport, second: MetricReport) -> tuple[float, float]:
    """Rms of the part of the error that photons change, and of the part that they do not."""
    mask = first.mask & second.mask
    one, two = ((report.reconstruction - report.truth)[mask] for report in (first, second))
    noise = float((np.abs(one - two) ** 2).mean() / 2)
    whole = float((np.abs(one) ** 2).mean() + (np.abs(two) ** 2).mean()) / 2
    return noise**0.5, max(whole - noise, 0.0) ** 0.5


def case(scene: str, step_px: float, photons: float) -> dict[str, Any]:
    """One scan: what its error bars say, and what its error is."""
    scan, other = scans_of(scene, step_px, photons)
    began = time.process_time()
    thinned = refine(scan, epochs=EPOCHS, error_bars="thinning")
    jackknifed = refine(scan, epochs=EPOCHS, error_bars="jackknife")
    cpu = time.process_time() - began
    report = compared(scan, thinned)
    noise, bias = noise_and_bias(report, compared(other, refine(other, epochs=EPOCHS, error_bars="none")))
    looks = {**report.coverage, **compared(scan, jackknifed).coverage}
    assert thinned.error_bars is not None
    resolution = thinned.error_bars.resolution
    return {
        "scene": scene,
        "step_px": step_px,
        "overlap": 1 - step_px / probe_diameter(scan.probe),
        "photons": photons,
        "n_frames": scan.n_frames,
        "rms_noise": noise,
        "rms_bias": bias,
        "cpu_s": cpu,
        "half_period_px": None if resolution is None else resolution.half_period_px("half_bit"),
        "looks": {name: shortened(found) for name, found in looks.items()},
    }


def shortened(found: Coverage) -> dict[str, Any]:
    """Coverage with its tenths as two lists each, to four digits."""
    told: dict[str, Any] = {
        name: getattr(found, name)
        for name in ("within_one", "within_two", "rms_error", "rms_sigma", "n_pixels")
    }
    for kind in ("by_illumination", "by_amplitude"):
        told[kind] = {
            name: [round(getattr(part, name), 4) for part in getattr(found, kind)]
            for name in ("within_one", "within_two")
        }
    return told


def star(likelihood: str) -> dict[str, Any]:
    """The three looks at the frames in the middle of the measured star."""
    whole = load_scan(DATA / "siemens_star_128.npz")
    away = np.hypot(*(whole.positions - np.median(whole.positions, axis=0)).T)
    scan = replace(whole.take(np.sort(np.argsort(away)[:100])), object_truth=None)
    told: dict[str, Any] = {"likelihood": likelihood, "n_frames": scan.n_frames}
    for method in ("thinning", "jackknife"):
        result = refine(scan, epochs=40, refine_probe=True, likelihood=likelihood, error_bars=method)
        assert result.error_bars is not None
        told[method] = result.error_bars.summary(result.object.object)
        told["forward_residual"] = result.residuals[-1]
    return told


def table_of_cases(rows: list[dict[str, Any]]) -> str:
    """One line for every scan: share of errors within one standard deviation, and how large that one is."""
    lines = [
        "| scene | overlap | photons | noise | bias | shot | thinning | jackknife |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        looks = " | ".join(
            f"{found['within_one']:.2f} ({found['rms_sigma'] / found['rms_error']:.2f})"
            for found in row["looks"].values()
        )
        lines.append(
            f"| {row['scene']} | {row['overlap']:.2f} | {row['photons']:.0e} | {row['rms_noise']:.4f} | "
            f"{row['rms_bias']:.4f} | {looks} |"
        )
    return "\n".join(lines)


def table_of_deciles(rows: list[dict[str, Any]], kind: str) -> str:
    """Median over scans of the share within one standard deviation, in tenths of their pixels."""
    heads = " | ".join(str(number) for number in range(1, 11))
    lines = [f"| error bar | {heads} |", "|---|" + "---|" * 10]
    for name in rows[0]["looks"]:
        each = [row["looks"][name][kind]["within_one"] for row in rows]
        lines.append(
            f"| `{name}` | " + " | ".join(f"{value:.2f}" for value in np.median(each, axis=0)) + " |"
        )
    return "\n".join(lines)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--without-star", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for scene in SCENES:
        for step_px in STEPS:
            for photons in DOSES:
                row = case(scene, step_px, photons)
                rows.append(row)
                print(scene, step_px, photons, file=sys.stderr)
    stars = [] if arguments.without_star else [star(likelihood) for likelihood in ("amplitude", "poisson")]
    lit = [row for row in rows if row["photons"] >= 1e5]
    print(table_of_cases(rows))
    for kind in ("by_illumination", "by_amplitude"):
        print(f"\n{kind}, at least 1e5 photons\n\n{table_of_deciles(lit, kind)}")
    write_record(arguments.output, {"epochs": EPOCHS, "N": N, "cases": rows, "star": stars})


if __name__ == "__main__":
    main()
