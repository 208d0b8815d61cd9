"""Cost of an epoch of `refine`, as a multiple of the transforms that it cannot do without.

    python benchmarks/epoch_cost.py --output benchmarks/results/epoch_cost.json

A frame needs one pair of transforms per mode of the probe. Their time is taken before and after every epoch
and that of the epoch between, as processor seconds per frame, with the compiled steps and without; the ratio
is what is left of a machine's speed, also where other programs make it change. ``--threads 2`` takes wall
time instead, which other programs on the machine spoil.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from bench_record import spread, write_record

from ptycho_torch.data.scan.contract import Scan
from ptycho_torch.data.simulation.simulate import simulate_scene
from ptycho_torch.refine import refine

Clock = Callable[[], float]

_TOGETHER = 32
_WARM_EPOCHS = 2


@dataclass(frozen=True)
class Case:
    """One scan and how it is refined."""

    name: str
    side: int
    n_pixels: int = 64
    modes: int = 1
    likelihood: str = "poisson"
    sub_pixel: str = "object"
    fitted: tuple[str, ...] = ()

    def scan(self) -> Scan:
        """Scan of a square raster."""
        powers = tuple(0.5**mode for mode in range(self.modes))
        grid = (self.side, self.side)
        return simulate_scene(
            "lines", N=self.n_pixels, grid=grid, step_px=6.0, jitter_px=1.0, seed=7, mode_powers=powers
        )


CASES = (
    Case("N = 64", 20),
    Case("N = 64, amplitude", 20, likelihood="amplitude"),
    Case("N = 64, probe moved", 20, sub_pixel="probe"),
    Case("N = 64, three modes", 14, modes=3),
    Case("N = 64, probe and positions fitted", 16, fitted=("refine_probe", "refine_positions")),
    Case("N = 128", 10, n_pixels=128),
    Case("N = 256", 5, n_pixels=256),
)


def transforms_s(case: Case, clock: Clock) -> float:
    """Seconds per frame of one pair of transforms per mode, of as many frames as fit the cache."""
    together = max(1, _TOGETHER * 64**2 // (case.n_pixels**2 * case.modes))
    waves = torch.randn(together, case.modes, case.n_pixels, case.n_pixels, dtype=torch.complex64)
    repeats = max(1, 12 * _TOGETHER * 64**2 // (case.n_pixels**2 * case.modes * together))
    start = clock()
    for _ in range(repeats):
        torch.fft.ifft2(torch.fft.fft2(waves), norm="forward")
    return (clock() - start) / (repeats * together)


def epochs_s(
    scan: Scan, case: Case, rounds: int, clock: Clock, *, compiled: bool
) -> list[tuple[float, float]]:
    """Seconds per frame of the transforms around epochs, and of these.

    Epochs take all frames in subsets, as the first half of a refinement does.
    """
    pairs: list[float] = []
    begun: list[float] = []
    epochs: list[float] = []

    def look(epoch: int, n_epochs: int, residual: float) -> None:
        epochs.extend(clock() - start for start in begun[-1:])
        pairs.append(transforms_s(case, clock))
        begun.append(clock())

    refine(
        scan, epochs=rounds + _WARM_EPOCHS, tolerance=0, likelihood=case.likelihood, sub_pixel=case.sub_pixel,
        compiled_steps=compiled, batch_size=min(_TOGETHER, scan.n_frames), warm_up=0, progress=look,
        **dict.fromkeys(case.fitted, True),
    )  # fmt: skip
    around = [statistics.mean(pair) for pair in itertools.pairwise(pairs)]
    rows = [(pair, epoch / scan.n_frames) for pair, epoch in zip(around, epochs, strict=True)]
    return rows[_WARM_EPOCHS - 1 :]


def measure(case: Case, rounds: int, repeats: int, clock: Clock) -> dict[str, Any]:
    """Microseconds per frame and ratios, taken in turn."""
    scan = case.scan()
    transforms_s(case, clock)
    pairs: list[float] = []
    taken: dict[str, list[float]] = {"compiled": [], "torch": []}
    ratios: dict[str, list[float]] = {"compiled": [], "torch": []}
    for _ in range(repeats):
        for name in taken:
            rows = epochs_s(scan, case, rounds, clock, compiled=name == "compiled")
            pairs += [pair for pair, _ in rows]
            taken[name] += [epoch for _, epoch in rows]
            ratios[name].append(statistics.median(epoch / pair for pair, epoch in rows))
    microseconds = {"transforms": pairs, **taken}
    return {
        "case": case.name,
        "us_per_frame": {name: 1e6 * statistics.median(values) for name, values in microseconds.items()},
        "times_the_transforms": {name: spread(values) for name, values in ratios.items()},
    }


def main() -> None:
    """Measure every case and write the record."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--epochs", type=int, default=6, help="epochs that are timed in each turn")
    parser.add_argument("--repeats", type=int, default=5, help="turns")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", nargs="*", default=None, help="names of cases")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    clock = time.process_time if arguments.threads == 1 else time.perf_counter
    rows = []
    for case in CASES:
        if arguments.only and case.name not in arguments.only:
            continue
        row = measure(case, arguments.epochs, arguments.repeats, clock)
        rows.append(row)
        found = row["times_the_transforms"]
        told = ", ".join(f"{name} {values['median']:.2f}" for name, values in found.items())
        print(f"{case.name}: {told}; {row['us_per_frame']['compiled']:.1f} us per frame", flush=True)
    write_record(arguments.output, {"threads_asked": arguments.threads, "cases": rows})


if __name__ == "__main__":
    main()
