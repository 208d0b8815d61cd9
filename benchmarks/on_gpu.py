"""What a GPU gives: the same numbers as the processor, and patterns per second from memory to object.

    python benchmarks/on_gpu.py --output benchmarks/results/on_gpu.json

Throughput is that of `reconstruct`, which reads frames from host memory, predicts, aligns phases and
stitches, beside the network alone on frames that lie on the device, in one run. The scan is a
simulated one that is laid side by side as often as needed: what it shows does not matter for the time.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import tempfile
import time
import warnings
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench_record import spread, write_record

from ptycho_torch.bundle import load_bundle
from ptycho_torch.config_factory import create_training_payload
from ptycho_torch.data.scan.contract import Scan
from ptycho_torch.data.simulation.simulate import simulate_scene
from ptycho_torch.lightning.compiling import compiled, compiler_warnings
from ptycho_torch.models import PatchModel
from ptycho_torch.prediction.reconstruction import default_physics_steps, reconstruct
from ptycho_torch.workflows import train

STEP_PX = {64: 6.0, 128: 12.0}


def scan_of(n_pixels: int, n_frames: int, side: int = 32) -> Scan:
    """A lines scan of about ``n_frames`` frames, copies of one of ``side`` × ``side`` frames."""
    step = STEP_PX[n_pixels]
    tile = simulate_scene("lines", N=n_pixels, grid=(side, side), step_px=step, jitter_px=step / 4, seed=1)
    rows = max(1, round((n_frames / side**2) ** 0.5))
    columns = max(1, round(n_frames / side**2 / rows))
    starts = np.array([(i, j) for i in range(rows) for j in range(columns)]) * side * step
    n_copies = len(starts)
    return replace(
        tile,
        diffraction=np.tile(tile.diffraction, (n_copies, 1, 1)),
        positions=(tile.positions + starts[:, None]).reshape(-1, 2),
        positions_nominal=None,
        frame_index=np.arange(n_copies * side**2),
        scan_index=np.zeros(n_copies * side**2, dtype=np.int64),
        object_truth=None,
        object_truth_origin=None,
    )


def learned(
    folder: Path, n_pixels: int, accelerator: str, epochs: int = 2
) -> tuple[PatchModel, list[float], float]:
    """A model after a short training, its losses and how long it took."""
    scan = simulate_scene("lines", N=n_pixels, grid=(16, 16), step_px=STEP_PX[n_pixels], seed=1)
    settings = {"nepochs": epochs, "accelerator": accelerator, "logger_backend": None, "n_groups": None}
    payload = create_training_payload(scan, folder / f"{accelerator}-{n_pixels}", overrides=settings)
    start = time.perf_counter()
    outcome = train(payload)
    wall = time.perf_counter() - start
    losses = [float(row["train_loss"]) for row in outcome.history if "train_loss" in row]
    return load_bundle(outcome.bundle)[0], losses, wall


def agreement(folder: Path, n_pixels: int) -> dict[str, Any]:
    """How far training and reconstruction on the GPU are from those on the processor."""
    model, losses, wall = learned(folder, n_pixels, "cpu")
    _, gpu_losses, gpu_wall = learned(folder, n_pixels, "cuda")
    scan = simulate_scene("lines", N=n_pixels, grid=(16, 16), step_px=STEP_PX[n_pixels], seed=2)
    own = reconstruct(model, scan).object
    moved = reconstruct(model.to("cuda"), scan).object
    return {
        "N": n_pixels,
        "losses_cpu": losses,
        "losses_gpu": gpu_losses,
        "object_difference": float(np.linalg.norm(own - moved) / np.linalg.norm(own)),
        "training_wall_s": {"cpu": wall, "gpu": gpu_wall},
    }


def timed(work: Any, n_frames: int, rounds: int) -> dict[str, float]:
    """Patterns per second of a function, after one call that does not count."""
    rates = []
    for number in range(rounds + 1):
        torch.cuda.synchronize()
        start = time.perf_counter()
        work()
        torch.cuda.synchronize()
        if number:
            rates.append(n_frames / (time.perf_counter() - start))
    return spread(rates)


@dataclass(frozen=True)
class Work:
    """What is timed: a model, a scan in host memory, and one batch of it on the device."""

    model: PatchModel
    scan: Scan
    counts: torch.Tensor
    network: Any

    @torch.no_grad()
    def predict(self, *, held: bool = False) -> None:
        """Patches of the batch, four times, with the steps after the network or without."""
        for _ in range(4):
            drawn = self.model(self.counts, network=self.network)
            if held:
                self.model.held_to(self.counts, drawn, n_steps=default_physics_steps(self.model))

    def whole(self, **settings: Any) -> None:
        """The object of the scan."""
        batch_size = len(self.counts)
        reconstruct(self.model, self.scan, batch_size=batch_size, network=self.network, **settings)


def throughput(n_pixels: int, n_frames: int, batches: list[int], rounds: int) -> list[dict[str, Any]]:
    """Network alone, and frames to object, as it is and compiled, for each batch size."""
    scan = scan_of(n_pixels, n_frames)
    with tempfile.TemporaryDirectory() as name:
        model = learned(Path(name), n_pixels, "cuda")[0].to("cuda").eval()
    model = model.to(memory_format=torch.channels_last)
    networks = {"as it is": None, "compiled": compiled(model.generator.forward)}
    rows = []
    for (name, network), batch_size in itertools.product(networks.items(), batches):
        counts = torch.from_numpy(scan.diffraction[:batch_size].astype(np.float32))[:, None].to("cuda")
        work = Work(model, scan, counts, network)
        row: dict[str, Any] = {"N": n_pixels, "frames": scan.n_frames}
        row |= {"batch_size": batch_size, "network": name}
        parts = {
            "network_alone": (work.predict, 4 * len(counts)),
            "network_and_steps": (partial(work.predict, held=True), 4 * len(counts)),
            "frames_to_object": (work.whole, scan.n_frames),
            "frames_to_object_without_steps": (partial(work.whole, physics_steps=0), scan.n_frames),
        }
        for part, (function, count) in parts.items():
            row[part] = timed(function, count, rounds)
        row["peak_bytes"] = torch.cuda.max_memory_allocated()
        shown = ", ".join(f"{part} {row[part]['median']:.0f}/s" for part in parts)
        print(f"N={n_pixels} {name}, batch {batch_size}: {shown}", flush=True)
        rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--frames", type=int, default=65536, help="frames of 64 px; a quarter as many of 128 px"
    )
    parser.add_argument("--batches", type=int, nargs="+", default=[256, 1024, 4096])
    parser.add_argument("--sizes", type=int, nargs="+", choices=tuple(STEP_PX), default=list(STEP_PX))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=UserWarning)
    record: dict[str, Any] = {"agreement": [], "throughput": []}
    for n_pixels in arguments.sizes:
        with tempfile.TemporaryDirectory() as name:
            record["agreement"].append(agreement(Path(name), n_pixels))
        print(record["agreement"][-1], flush=True)
        n_frames = arguments.frames * 64**2 // n_pixels**2
        with compiler_warnings():
            record["throughput"] += throughput(n_pixels, n_frames, arguments.batches, arguments.rounds)
        write_record(arguments.output, record)


if __name__ == "__main__":
    main()
