"""A scan refined in tiles beside the same scan on one canvas: error, seams, time and memory.

    python benchmarks/tiles.py --output benchmarks/results/tiles.json

Error and seams on three scenes, with a known probe and with a fitted one. Memory on an object of 4000 x
4000 pixels, each run in a process of its own; the frames lie in a mapped file and hold one small scan over
and over: what they show does not change what a run needs. Largest resident memory without mapped files,
sampled while the run goes on.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
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
from ptycho_torch.metrics.alignment import align
from ptycho_torch.metrics.region import common_region
from ptycho_torch.reassembly import StitchedObject
from ptycho_torch.refine import refine

SETTINGS: dict[str, dict[str, Any]] = {"known probe": {}, "fitted probe": {"refine_probe": True}}
STRIP_PX = 8
FRAME_PX, STEP_PX = 64, 24.0


def seam_share(scan: Scan, found: StitchedObject, tile_px: int) -> float:
    """Root mean square error within some pixels of the borders between tiles, over that elsewhere."""
    origin = np.asarray(scan.object_truth_origin)
    here, there, _ = common_region(found.object.shape, found.origin, scan.object_truth.shape, origin)
    lit = found.weight[here] > 0.3 * np.median(found.weight[found.weight > 0])
    made = align(found.object[here], scan.object_truth[there], lit)
    error = np.abs(made.aligned - scan.object_truth[there]) ** 2
    low, high = scan.positions.min(axis=0), scan.positions.max(axis=0)
    near = np.zeros(lit.shape, dtype=bool)
    for axis in (0, 1):
        count = max(1, int(np.ceil((high[axis] - low[axis]) / tile_px)))
        places = np.arange(lit.shape[axis]) + here[axis].start - found.origin[axis]
        for border in np.linspace(low[axis], high[axis], count + 1)[1:-1]:
            close = np.abs(places - border) <= STRIP_PX
            near |= close[:, None] if axis == 0 else close[None, :]
    seen = lit & made.valid
    return float(np.sqrt(error[seen & near].mean() / error[seen & ~near].mean()))


def both_ways(scan: Scan, settings: dict[str, Any], tile_px: int, epochs: int) -> dict[str, Any]:
    """Errors, seams and processor time on one canvas and in tiles."""
    row: dict[str, Any] = {}
    for name, tiles in (("one", {}), ("tiles", {"tile_px": tile_px})):
        began = time.process_time()
        result = refine(scan, epochs=epochs, **settings, **tiles)
        row[f"{name}_seconds"] = time.process_time() - began
        row[name] = error_of(scan, result.object)
        row[f"{name}_seams"] = seam_share(scan, result.object, tile_px)
    row["more"] = row["tiles"] / row["one"] - 1
    row["slower"] = row["tiles_seconds"] / row["one_seconds"]
    row["count"] = len(result.others["tile_residual"])
    return row


class Watched:
    """Largest resident memory of this process without mapped files, in bytes, while a block runs."""

    def __enter__(self) -> Watched:
        self.most, self.done = 0, threading.Event()
        self.thread = threading.Thread(target=self._look)
        self.thread.start()
        return self

    def _look(self) -> None:
        while not self.done.wait(0.02):
            lines = Path("/proc/self/status").read_text().splitlines()
            kilobytes = next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))
            self.most = max(self.most, 1024 * kilobytes)

    def __exit__(self, *_: object) -> None:
        self.done.set()
        self.thread.join()


def mapped_scan(folder: Path, side_px: int) -> Scan:
    """A scan of a large object, whose frames are mapped and repeat those of a small one."""
    small = simulate_scene("natural", N=FRAME_PX, grid=(12, 12), step_px=STEP_PX, photons=1e5, seed=SEED)
    axis = np.arange(FRAME_PX / 2, side_px - FRAME_PX / 2, STEP_PX)
    positions = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    positions += np.random.default_rng(SEED).uniform(-1, 1, positions.shape)
    file, count = folder / "frames.npy", len(positions)
    if not file.exists():
        shape = (count, FRAME_PX, FRAME_PX)
        frames = np.lib.format.open_memmap(file, mode="w+", dtype=np.uint16, shape=shape)
        rows = np.arange(count) % small.n_frames
        for begin in range(0, count, 1024):
            frames[begin : begin + 1024] = np.asarray(small.diffraction)[rows[begin : begin + 1024]]
        frames.flush()
    return replace(
        small, diffraction=np.load(file, mmap_mode="r"), positions=positions,
        positions_nominal=positions, scan_index=np.zeros(count, np.int64), frame_index=np.arange(count),
        object_truth=None, statistics=None, labels=None,
    )  # fmt: skip


def large(folder: Path, side_px: int, tile_px: int | None, epochs: int) -> dict[str, Any]:
    """Memory and processor time of a run in this process."""
    scan = mapped_scan(folder, side_px)
    with Watched() as idle:
        time.sleep(0.1)
    began = time.process_time()
    with Watched() as watched:
        result = refine(scan, epochs=epochs, tile_px=tile_px, refine_probe=True)
    return {
        "side_px": side_px,
        "tile_px": tile_px,
        "frames": scan.n_frames,
        "tiles": len(result.others.get("tile_residual", [0])),
        "epochs": epochs,
        "megabytes": (watched.most - idle.most) / 1e6,
        "seconds": time.process_time() - began,
    }


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="tiny scans, to see that everything runs")
    parser.add_argument("--large", nargs=4, metavar=("FOLDER", "SIDE", "TILE", "EPOCHS"), help="one such run")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.large:
        folder, side, tile, epochs = arguments.large
        print(json.dumps(large(Path(folder), int(side), int(tile) or None, int(epochs))))
        return
    if arguments.output is None:
        parser.error("--output: expected a file, got none")
    quick = arguments.quick
    grid, tile_px, epochs = ((14, 14), 45, 4) if quick else ((40, 40), 120, 60)
    cases: dict[str, dict[str, Any]] = {}
    for name, settings in SETTINGS.items():
        for scene in SCENES[: 1 if quick else None]:
            scan = simulate_scene(scene, N=32, grid=grid, step_px=6.0, jitter_px=1.0, photons=1e5, seed=SEED)
            row = cases.setdefault(name, {})[scene] = both_ways(scan, settings, tile_px, epochs)
            print(name, scene, {key: round(value, 4) for key, value in row.items()}, flush=True)
    memory = []
    side = 400 if quick else 4000
    with tempfile.TemporaryDirectory() as folder:
        for tile in (0, side // 2, side // 4):
            told = [sys.executable, __file__, "--large", folder, str(side), str(tile), "1" if quick else "3"]
            found = subprocess.run(told, check=True, capture_output=True, text=True).stdout
            memory.append(json.loads(found.splitlines()[-1]))
            print(memory[-1], flush=True)
    write_record(arguments.output, {"epochs": epochs, "tile_px": tile_px, "cases": cases, "memory": memory})


if __name__ == "__main__":
    main()
