"""Networks on a device: the numbers of the processor, patterns per second, and training in half precision."""

from __future__ import annotations

import itertools
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench_record import error_of
from parts import STEP_PX, Rows, Setting, forget_peak, peak_bytes, rates, scan_of

from ptycho_torch.bundle import load_bundle
from ptycho_torch.config_factory import create_training_payload
from ptycho_torch.data.scan.contract import Scan
from ptycho_torch.data.simulation.simulate import simulate_scene
from ptycho_torch.lightning import compiling
from ptycho_torch.models import PatchModel
from ptycho_torch.prediction.reconstruction import default_physics_steps, reconstruct
from ptycho_torch.refine import refine
from ptycho_torch.workflows import train


@dataclass(frozen=True)
class Learned:
    """A model after a short training, its losses and how long it took."""

    model: PatchModel
    losses: list[float]
    wall_s: float


def scene_of(n_pixels: int, side: int, seed: int) -> Scan:
    """A lines scan whose object is known."""
    return simulate_scene("lines", N=n_pixels, grid=(side, side), step_px=STEP_PX[n_pixels], seed=seed)


def learned(scan: Scan, accelerator: str, **settings: Any) -> Learned:
    """Train on a scan."""
    stated = {"nepochs": 2, "accelerator": accelerator, "logger_backend": None, "n_groups": None}
    with tempfile.TemporaryDirectory() as name:
        payload = create_training_payload(scan, Path(name) / "run", overrides={**stated, **settings})
        start = time.perf_counter()
        outcome = train(payload)
        wall = time.perf_counter() - start
        losses = [float(row["train_loss"]) for row in outcome.history if "train_loss" in row]
        return Learned(load_bundle(outcome.bundle)[0], losses, wall)


def difference(own: np.ndarray, other: np.ndarray) -> float:
    """Norm of the difference of two objects, as a share of that of the first."""
    return float(np.linalg.norm(own - other) / np.linalg.norm(own))


def agreement(setting: Setting) -> Rows:
    """How far training, reconstruction and refinement on the device are from those on the processor."""
    n_pixels, side, epochs = (32, 5, 4) if setting.quick else (64, 16, 60)
    scan = scene_of(n_pixels, side, 1)
    own, there = learned(scan, "cpu"), learned(scan, setting.device)
    new = scene_of(n_pixels, side, 2)
    objects = [reconstruct(own.model.to(device), new).object for device in ("cpu", setting.device)]
    yield {
        "what": "network",
        "N": n_pixels,
        "losses_cpu": own.losses,
        "losses_device": there.losses,
        "object_difference": difference(*objects),
        "training_wall_s": {"cpu": own.wall_s, "device": there.wall_s},
    }
    solved = [refine(new, epochs=epochs, device=device).object for device in ("cpu", setting.device)]
    yield {
        "what": "refine",
        "N": n_pixels,
        "object_difference": difference(solved[0].object, solved[1].object),
        "errors": {"cpu": error_of(new, solved[0]), "device": error_of(new, solved[1])},
    }


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


def prediction(setting: Setting, n_pixels: int) -> Rows:
    """Patterns per second of the network alone, and of frames in host memory to the stitched object."""
    n_frames, batches, side = 65536 * 64**2 // n_pixels**2, (4096, 1024), 32
    if setting.quick:
        n_pixels, n_frames, batches, side = 32, 16, (16,), 4
        # That the path is taken shows without waiting for a compiler.
        compiling.BACKEND = "eager"
    model = learned(scene_of(n_pixels, side // 2, 1), setting.device).model.to(setting.device).eval()
    model = model.to(memory_format=torch.channels_last)
    scan = scan_of(n_pixels, n_frames, side)
    networks = {"as it is": None, "compiled": compiling.compiled(model.generator.forward)}
    for batch_size, (name, network) in itertools.product(batches, networks.items()):
        counts = torch.from_numpy(scan.diffraction[:batch_size].astype(np.float32))[:, None]
        work = Work(model, scan, counts.to(setting.device), network)
        parts = {
            "network_alone": (work.predict, 4 * len(counts)),
            "network_and_steps": (partial(work.predict, held=True), 4 * len(counts)),
            "frames_to_object": (work.whole, scan.n_frames),
            "frames_to_object_without_steps": (partial(work.whole, physics_steps=0), scan.n_frames),
        }
        forget_peak(setting.device)
        row: dict[str, Any] = {"N": n_pixels, "frames": scan.n_frames}
        row |= {"batch_size": batch_size, "network": name}
        with compiling.compiler_warnings():
            for part, (function, count) in parts.items():
                row[part] = rates(function, count, setting)
        yield {**row, "peak_bytes": peak_bytes(setting.device)}


def half_precision(setting: Setting) -> Rows:
    """Training in 32 and 16 bits: losses, time, and the error of what the network draws of a new scan.

    Prediction and `refine` have no such setting.
    """
    n_pixels, side, epochs, batch_size = (32, 4, 1, 4) if setting.quick else (64, 32, 4, 64)
    scan, new = scene_of(n_pixels, side, 1), scene_of(n_pixels, side, 2)
    # Half precision with 16-mixed is refused on a processor.
    modes = ("32-true", "bf16-mixed") if setting.quick else ("32-true", "16-mixed", "bf16-mixed", "32-true")
    for precision in modes:
        forget_peak(setting.device)
        found = learned(scan, setting.device, nepochs=epochs, batch_size=batch_size, precision=precision)
        model = found.model.to(setting.device)
        yield {
            "precision": precision,
            "losses": found.losses,
            "training_wall_s": found.wall_s,
            "error_of_the_network": error_of(new, reconstruct(model, new, physics_steps=0)),
            "error_with_steps": error_of(new, reconstruct(model, new)),
            "peak_bytes": peak_bytes(setting.device),
        }
