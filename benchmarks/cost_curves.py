"""How the cost of a frame changes with the number of frames, for each part of the work.

    python benchmarks/cost_curves.py --output benchmarks/results/cost_curves.json

Processor time per frame on one thread; a part that scales keeps the cost of its smallest case. The cases are
measured in turn, several times. Frames have 32 px, so that large numbers fit into minutes; positions are
grouped up to a million times.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench_record import spread, write_record

from ptycho_torch.data.groups.grouping import make_groups
from ptycho_torch.data.opening import open_scan
from ptycho_torch.data.scan.contract import Scan
from ptycho_torch.data.simulation.simulate import simulate_scene
from ptycho_torch.reassembly import canvas_for, stitch
from ptycho_torch.refine import refine

N_PIXELS = 32
SIDES = (10, 32, 100)
GROUPED = (100, 10_000, 1_000_000)
_BATCH = 64
_EPOCHS = 4


def group(n: int) -> None:
    """Groups of four of ``n`` positions of a raster."""
    side = int(np.ceil(np.sqrt(n)))
    positions = np.stack(np.divmod(np.arange(n), side), axis=1) * 4.0
    make_groups(positions, n_groups=None, gridsize=2, neighbor_count=4, seed=0)


def open_and_check(path: Path) -> None:
    """Open a scan of this package's own format, all diagnoses asked."""
    open_scan(path)


def stitched(scan: Scan) -> None:
    """Stitch patches of one kind, whose phases agree already."""
    positions = torch.from_numpy(scan.positions)
    patches = torch.ones(_BATCH, N_PIXELS, N_PIXELS, dtype=torch.complex64)

    def batches(n_left_out: int) -> Any:
        for start in range(n_left_out * _BATCH, len(positions), _BATCH):
            some = positions[start : start + _BATCH]
            yield patches[: len(some)], some

    stitch(batches, canvas_for(scan.positions, N_PIXELS), torch.ones(N_PIXELS, N_PIXELS))


def epoch_seconds(scan: Scan) -> float:
    """Median of a few epochs of a refinement."""
    times: list[float] = []

    def look(epoch: int, n_epochs: int, residual: float) -> None:
        times.append(time.process_time())

    refine(scan, epochs=_EPOCHS + 1, tolerance=0, progress=look)
    return float(np.median([after - before for before, after in itertools.pairwise(times)]))


def seconds(work: Callable[[], None]) -> float:
    """Processor time of a call."""
    start = time.process_time()
    work()
    return time.process_time() - start


def jobs(folder: Path) -> dict[str, dict[int, Callable[[], float]]]:
    """Per part of the work and number of frames, what takes its processor time."""
    found: dict[str, dict[int, Callable[[], float]]] = {
        "grouping": {n: lambda n=n: seconds(lambda: group(n)) for n in GROUPED}
    }
    for side in SIDES:
        scan = simulate_scene("lines", N=N_PIXELS, grid=(side, side), step_px=4.0, jitter_px=1.0, seed=7)
        path = folder / f"{side}.npz"
        np.savez(
            path, diff3d=scan.diffraction, probeGuess=scan.probe,
            ycoords=scan.positions[:, 0], xcoords=scan.positions[:, 1],
        )  # fmt: skip
        n = scan.n_frames
        found.setdefault("opening and checking", {})[n] = lambda p=path: seconds(lambda: open_and_check(p))
        found.setdefault("stitching", {})[n] = lambda s=scan: seconds(lambda: stitched(s))
        found.setdefault("an epoch of refine", {})[n] = lambda s=scan: epoch_seconds(s)
    return found


def main() -> None:
    """Measure every case in turn and write the record."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        cases = jobs(Path(folder))
        taken: dict[tuple[str, int], list[float]] = {}
        for _, (name, sizes) in itertools.product(range(arguments.repeats + 1), cases.items()):
            for n, work in sizes.items():
                taken.setdefault((name, n), []).append(1e6 * work() / n)
    rows = [
        {"part": name, "frames": n, "us_per_frame": spread(values[1:])} for (name, n), values in taken.items()
    ]
    for row in rows:
        first = next(other for other in rows if other["part"] == row["part"])
        row["times_the_smallest"] = row["us_per_frame"]["median"] / first["us_per_frame"]["median"]
        print(
            f"{row['part']:22}{row['frames']:>9}{row['us_per_frame']['median']:10.2f} us per frame, "
            f"{row['times_the_smallest']:.2f} times the smallest"
        )
    write_record(arguments.output, {"n_pixels": N_PIXELS, "rows": rows})


if __name__ == "__main__":
    main()
