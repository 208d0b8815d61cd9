"""Largest resident memory of a reconstruction, over batch sizes, each in a process of its own.

Groups of four frames of 128 px, as many as the largest batch holds. The network has fresh weights, and one
classical step follows it instead of 32, which take the same memory again. The package bounds the pixels of a
batch; `--unbounded` shows what that saves.

    python benchmarks/reconstruction_memory.py
    python benchmarks/reconstruction_memory.py --batches 16,1000 --unbounded
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import torch
from bench_record import write_record

from ptycho_config import ModelConfig
from ptycho_torch.data.simulation.simulate import simulate_scene
from ptycho_torch.models import build_patch_model
from ptycho_torch.physics import calibrate
from ptycho_torch.prediction import reconstruction
from ptycho_torch.workflows import reconstruct


def resident_gigabytes() -> float:
    """Largest size of this process so far."""
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kilobytes * (1 if sys.platform == "darwin" else 1024) / 2**30


def run(batch: int, arguments: argparse.Namespace) -> dict[str, float]:
    """Reconstruct once in this process."""
    torch.set_num_threads(1)
    if arguments.unbounded:
        reconstruction._LARGEST_BATCH_PX = 2**62
    side = int(arguments.groups**0.5)
    scan = simulate_scene("lines", N=arguments.size, grid=(side, -(-arguments.groups // side)), step_px=4.0)
    config = ModelConfig(N=arguments.size, gridsize=2)
    model = build_patch_model(
        config, calibrate(torch.from_numpy(scan.probe), float(scan.counts_per_frame().mean()))
    )
    before, start = resident_gigabytes(), time.perf_counter()
    reconstruct(model, scan, batch_size=batch, physics_steps=arguments.steps)
    return {
        "batch": batch,
        "groups": scan.n_frames,
        "gibibytes_before": round(before, 2),
        "gibibytes": round(resident_gigabytes(), 2),
        "seconds": round(time.perf_counter() - start, 1),
    }


def main() -> None:
    """Run the batch sizes in processes of their own, print a table and JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--batches", default="16,1000", help="groups predicted together, at most")
    parser.add_argument("--groups", type=int, default=1000, help="groups of the scan, one for each frame")
    parser.add_argument("--size", type=int, default=128, help="side of a frame; px")
    parser.add_argument("--steps", type=int, default=1, help="classical steps after the network")
    parser.add_argument("--unbounded", action="store_true", help="take batches as large as asked for")
    parser.add_argument("--json", type=Path, help="write the record here")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one is not None:
        print(json.dumps(run(arguments.one, arguments)))
        return
    rows = []
    for batch in arguments.batches.split(","):
        done = subprocess.run(
            [sys.executable, __file__, *sys.argv[1:], "--one", batch],
            check=True, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        rows.append(json.loads(done.stdout.splitlines()[-1]))
        print("  ".join(f"{name} {value}" for name, value in rows[-1].items()), flush=True)
    if arguments.json is not None:
        record = {"size": arguments.size, "physics_steps": arguments.steps, "unbounded": arguments.unbounded}
        write_record(arguments.json, {**record, "rows": rows})


if __name__ == "__main__":
    main()
