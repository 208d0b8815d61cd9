"""Patterns per second of the default network against the reference architecture.

    python benchmarks/network_throughput.py --output benchmarks/results/network_throughput.json

Both train on the same batch of simulated frames with the same loss and optimiser, in turn.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import torch
from bench_record import repeat, spread, write_record

from ptycho_torch.data.simulation.simulate import simulate_scene
from ptycho_torch.models import GeneratorSpec, PatchModel
from ptycho_torch.physics import calibrate, poisson_deviance


def build(architecture: str, n_pixels: int, batch_size: int, device: str) -> tuple[PatchModel, torch.Tensor]:
    """Model and one batch of counts ``(batch, 1, N, N)``."""
    side = max(2, int(batch_size**0.5 + 0.999))
    scan = simulate_scene("lines", N=n_pixels, grid=(side, side), seed=1)
    counts = torch.from_numpy(scan.diffraction[:batch_size].astype("float32"))[:, None].to(device)
    mean_counts = float(counts.sum(dim=(-2, -1)).mean())
    calibration = calibrate(torch.from_numpy(scan.probe), mean_counts)
    torch.manual_seed(0)
    return PatchModel(architecture, GeneratorSpec(n_pixels=n_pixels), calibration).to(device), counts


def training(model: PatchModel, counts: torch.Tensor, steps: int) -> Callable[[], int]:
    """Function that trains for some steps."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    mean_counts = float(model.mean_counts)

    def work() -> int:
        for _ in range(steps):
            optimizer.zero_grad()
            predicted = model.predict_counts(model(counts))
            poisson_deviance(predicted, counts, mean_counts=mean_counts).backward()
            optimizer.step()
        return steps * len(counts)

    return work


def prediction(model: PatchModel, counts: torch.Tensor, steps: int) -> Callable[[], int]:
    """Function that predicts for some steps."""

    def work() -> int:
        with torch.no_grad():
            for _ in range(steps):
                model(counts)
        return steps * len(counts)

    return work


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128])
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--output", type=Path, default=Path("network_throughput.json"))
    arguments = parser.parse_args()
    torch.set_flush_denormal(True)
    results = []
    for n_pixels in arguments.sizes:
        models = {
            name: build(name, n_pixels, arguments.batch_size, arguments.device)
            for name in ("unrolled", "cnn")
        }
        for task, make in (("training", training), ("prediction", prediction)):
            candidates = {
                name: make(model, counts, arguments.steps) for name, (model, counts) in models.items()
            }
            rows = repeat(candidates, rounds=arguments.rounds)
            for clock in ("wall_per_s", "cpu_per_s"):
                ratios = [a[clock] / b[clock] for a, b in zip(rows["unrolled"], rows["cnn"], strict=True)]
                entry = {"N": n_pixels, "task": task, "clock": clock, "ratio": spread(ratios)}
                entry |= {name: spread([row[clock] for row in rows[name]]) for name in rows}
                results.append(entry)
                print(
                    f"N={n_pixels:4d} {task:10s} {clock:10s} unrolled {entry['unrolled']['median']:8.1f}"
                    f"  cnn {entry['cnn']['median']:8.1f}  ratio {entry['ratio']['median']:.1f}"
                    f" ({entry['ratio']['min']:.1f} to {entry['ratio']['max']:.1f})"
                )
    write_record(arguments.output, {"batch_size": arguments.batch_size, "results": results})


if __name__ == "__main__":
    main()
