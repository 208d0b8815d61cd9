"""Whether a network that sees the whole object between passes of `refine` gains time over `refine` alone.

    python benchmarks/learned.py train --seed 1 --minutes 8 --output canvas_1.pt
    python benchmarks/learned.py measure canvas_1.pt --output benchmarks/results/learned.json

A U-Net on the canvas of the object follows each of three passes of the solver, which take the step for slow
phases. It is trained on simulated scans of 12 x 12 frames, whose truth is known, pass by pass on what the
passes before left. It is measured on scans of seeds, and for half of the rows of kinds, that it never saw:
three passes with the network and then `refine`, beside `refine` from a flat start with the step for slow
phases and without it. Errors are complex normalised RMSE after alignment, times processor seconds of one
thread.
"""

from __future__ import annotations

import argparse
import math
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from bench_record import error_of, write_record
from scipy.spatial import cKDTree
from slow_phases import dead_leaves, object_of, photograph
from torch import Tensor, nn
from torch.nn import functional

from ptycho_config import RefineConfig
from ptycho_torch.data.scan.contract import Scan
from ptycho_torch.data.simulation.scenes import OBJECTS, defocused_probe, object_shape, raster_positions
from ptycho_torch.data.simulation.simulate import simulate_scan
from ptycho_torch.denormals import flushed_denormals
from ptycho_torch.reassembly import StitchedObject
from ptycho_torch.refine import refine
from ptycho_torch.refine.iteration import Iteration
from ptycho_torch.refine.subsets import first_count

N = 64
PASSES = 3
SEEN = ("lines", "natural", "random_field", "grains", "fractal")
MEASURED = ("lines", "natural", "random_field", "leaves", "camera", "coffee")
CONDITIONS = ((6, 1e6, 24), (12, 1e6, 18), (6, 1e4, 24))
EPOCHS = (5, 10, 15, 20, 40)
EPOCHS_AFTER = (5, 10, 20, 40)


def grains(shape: tuple[int, int], seed: int) -> npt.NDArray[np.complex64]:
    """Cells of Voronoi, each of one amplitude and one phase."""
    rng = np.random.default_rng(seed)
    count = int(rng.integers(20, 120))
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    nearest = cKDTree(rng.random((count, 2)) * shape).query(np.stack([rows.ravel(), columns.ravel()], 1))[1]
    values = rng.uniform(0.5, 1, count) * np.exp(1j * rng.uniform(-1.2, 1.2, count))
    return values[nearest].reshape(shape).astype(np.complex64)


def fractal(shape: tuple[int, int], seed: int) -> npt.NDArray[np.complex64]:
    """Amplitude and phase whose spectra fall as a power of the frequency."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.fftfreq(shape[1])[None])
    frequency[0, 0] = 1 / max(shape)
    power = rng.uniform(1.2, 2.2)

    def field() -> npt.NDArray[np.float64]:
        image = np.fft.ifft2(np.fft.fft2(rng.normal(size=shape)) / frequency**power).real
        return np.asarray((image - image.mean()) / image.std())

    phase = rng.uniform(0.2, 1.0) * field()
    return ((0.75 + 0.25 * np.tanh(field())) * np.exp(1j * phase)).astype(np.complex64)


def scan_of(kind: str, side: int, step_px: int, photons: float, seed: int) -> Scan:
    """Scan of an object of a kind with the one probe that the network learns for."""
    positions = raster_positions(
        (side, side), step_px=float(step_px), jitter_px=1.5, start_px=(38, 38), seed=seed
    )
    shape = object_shape(positions, N)
    makers = {"grains": grains, "fractal": fractal, "leaves": dead_leaves}
    if kind in makers:
        truth = makers[kind](shape, seed + 5)
    else:
        truth = object_of(kind, shape, seed + 5) if kind in OBJECTS else photograph(kind, shape, seed)
    return simulate_scan(truth, defocused_probe(N), positions, photons=photons, seed=seed + 1)


def convolved(inputs: int, outputs: int) -> nn.Sequential:
    """Two convolutions."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1),
        nn.GELU(),
        nn.Conv2d(outputs, outputs, 3, padding=1),
        nn.GELU(),
    )


class CanvasNet(nn.Module):
    """U-Net of two levels on blocks of two pixels; it begins by changing nothing."""

    def __init__(self, channels: int = 9, widths: tuple[int, int, int] = (32, 48, 64)) -> None:
        super().__init__()
        fine, middle, coarse = widths
        self.down = nn.ModuleList(
            [convolved(4 * channels, fine), convolved(fine, middle), convolved(middle, coarse)]
        )
        self.bottom = convolved(coarse, coarse)
        self.up = nn.ModuleList([convolved(coarse + middle, middle), convolved(middle + fine, fine)])
        self.last = nn.Conv2d(fine, 8, 1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Real and imaginary part of a correction, ``(1, 2, height, width)``."""
        height, width = images.shape[-2:]
        padded = functional.pad(images, (0, -width % 16, 0, -height % 16), mode="replicate")
        first = self.down[0](functional.pixel_unshuffle(padded, 2))
        second = self.down[1](functional.avg_pool2d(first, 2))
        third = self.down[2](functional.avg_pool2d(second, 2))
        third = third + self.bottom(third)
        second = self.up[0](torch.cat([grown(third, second), second], 1))
        first = self.up[1](torch.cat([grown(second, first), first], 1))
        return functional.pixel_shuffle(self.last(first), 2)[..., :height, :width]


def grown(image: Tensor, like: Tensor) -> Tensor:
    """An image at the size of another one."""
    return functional.interpolate(image, size=like.shape[-2:], mode="bilinear")


def truth_of(solver: Iteration, scan: Scan) -> Tensor:
    """The true object on the canvas of a problem."""
    truth = scan.object_truth
    assert truth is not None
    whole = StitchedObject(object=truth, weight=np.ones(truth.shape, np.float32), origin=np.zeros(2))
    return torch.from_numpy(solver.canvas.lay(whole)).to(torch.complex64)


def passed(network: CanvasNet, scan: Scan, truth: bool = False) -> tuple[Iteration, list[Tensor]]:
    """Three passes, each followed by the network; logarithms of the errors where the truth is wanted."""
    solver = Iteration(scan, None, RefineConfig(), device=torch.device("cpu"), dtype=torch.complex64)
    n_subsets = first_count(scan.n_frames, solver.frames_per_pixel())
    light = solver.illumination / solver.illumination.max()
    known = truth_of(solver, scan) if truth else None
    photons = solver.mean_counts * scan.n_frames / float((light > 0.1).sum())
    image, errors = solver.unknowns.object, []
    before = torch.zeros_like(image.value)
    for number in range(PASSES):
        start = image.now.clone()
        with torch.no_grad(), flushed_denormals():
            solver.run_epoch(number, n_subsets)
            solver._stand()
        made = corrected(network, image.now, image.now - start, before, light, photons, number)
        if known is not None:
            errors.append(log_error(made, known, light))
        before = (made - start).detach()
        image.value = made.detach()
        solver._stand()
    return solver, errors


def corrected(
    network: CanvasNet,
    image: Tensor,
    moved: Tensor,
    before: Tensor,
    light: Tensor,
    photons: float,
    number: int,
) -> Tensor:
    """The object with the correction of the network, in units of what the pass moved."""
    mean = (image * light).sum()
    turn = mean.conj() / mean.abs()
    size = (moved.abs().square() * light).sum().div(light.sum()).sqrt() + 1e-6
    parts = [part * turn for part in (image, moved / size, before / size)]
    facts = [light, torch.full_like(light, math.log10(photons) / 5), torch.full_like(light, number / PASSES)]
    found = network(torch.stack([side for part in parts for side in (part.real, part.imag)] + facts)[None])[0]
    weight = light / (light + 0.02)
    return image + torch.complex(found[0] * weight, found[1] * weight) * size * turn.conj()


def log_error(made: Tensor, truth: Tensor, light: Tensor) -> Tensor:
    """Logarithm of the relative error after the best complex factor, weighed by the light."""
    weight = light * (light > 0.05)
    factor = (truth * made.conj() * weight).sum() / (made.abs().square() * weight).sum()
    left = ((made * factor - truth).abs().square() * weight).sum()
    return 0.5 * torch.log(left / (truth.abs().square() * weight).sum() + 1e-6)


def train(arguments: argparse.Namespace) -> None:
    """Train for some minutes of processor time."""
    torch.manual_seed(arguments.seed)
    rng, network = random.Random(arguments.seed), CanvasNet()
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3, weight_decay=1e-4)
    began, step = time.process_time(), 0
    while (share := (time.process_time() - began) / 60 / arguments.minutes) < 1:
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * min(1, (step + 1) / 30) * (0.5 * (1 + math.cos(math.pi * share)) + 0.01)
        scan = scan_of(
            rng.choice(SEEN),
            12,
            rng.choice((6, 6, 8, 12)),
            10 ** rng.uniform(4, 6.5),
            rng.randrange(10**6) * 7 + 1000,
        )
        errors = passed(network, scan, truth=True)[1]
        optimizer.zero_grad()
        torch.stack(errors).sum().backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        step += 1
        if step % 50 == 0:
            print(step, [round(math.exp(float(error.detach())), 4) for error in errors], flush=True)
    torch.save(network.state_dict(), arguments.output)


def refined(
    scan: Scan, start: StitchedObject | None, epochs: int, began: float, slow: bool
) -> dict[str, float]:
    """Error of a refinement, and processor seconds since ``began``."""
    result = refine(scan, start, epochs=epochs, tolerance=0, error_bars="none", slow_phases=slow)
    return {"cpu_s": time.process_time() - began, "error": error_of(scan, result.object)}


def compared(
    network: CanvasNet, scan: Scan, numbers: Sequence[int], after: Sequence[int]
) -> dict[str, list[dict[str, float]]]:
    """The solver without and with its step for slow phases, and after passes with the network."""
    rows: dict[str, list[dict[str, float]]] = {
        name: [refined(scan, None, epochs, time.process_time(), slow) for epochs in numbers]
        for name, slow in (("without", False), ("with", True))
    }
    began = time.process_time()
    with torch.no_grad():
        start = passed(network, scan)[0].standing()
    took = time.process_time() - began
    rows["network"] = [{"cpu_s": took, "error": error_of(scan, start)}]
    for epochs in after:
        rows["network"].append(refined(scan, start, epochs, time.process_time() - took, True))
    return rows


def at_equal_time(rows: list[dict[str, float]], others: list[dict[str, float]]) -> list[float]:
    """Errors of rows as shares of those of others, interpolated by logarithms, where both have times."""
    times, errors = (np.log([row[name] for row in others]) for name in ("cpu_s", "error"))
    return [
        row["error"] / math.exp(float(np.interp(math.log(row["cpu_s"]), times, errors)))
        for row in rows
        if times[0] <= math.log(row["cpu_s"]) <= times[-1]
    ]


def measure(arguments: argparse.Namespace) -> None:
    """Every network on every kind, in every condition."""
    cases: list[dict[str, Any]] = []
    kinds, conditions, numbers = MEASURED, CONDITIONS, (EPOCHS, EPOCHS_AFTER)
    if arguments.quick:
        kinds, conditions, numbers = MEASURED[:1], ((6, 1e6, 5),), ((2,), (2,))
    for weights in arguments.weights:
        network = CanvasNet()
        network.load_state_dict(torch.load(weights, weights_only=True))
        network.eval()
        for kind in kinds:
            for step_px, photons, side in conditions:
                for seed in range(arguments.seeds):
                    scan = scan_of(kind, side, step_px, photons, 31337 + seed)
                    rows = compared(network, scan, *numbers)
                    ratios = at_equal_time(rows["network"], rows["with"])
                    cases.append(
                        {
                            "weights": weights.name, "kind": kind, "seen": kind in SEEN, "step_px": step_px,
                            "photons": photons, "seed": seed, **rows, "network_to_solver": ratios,
                        }
                    )  # fmt: skip
                    print(kind, step_px, f"{photons:.0e}", [f"{ratio:.2f}" for ratio in ratios], flush=True)
                    write_record(arguments.output, {"cases": cases})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("train")
    one.add_argument("--seed", type=int, default=1)
    one.add_argument("--minutes", type=float, default=8.0, help="of processor time")
    one.set_defaults(run=train)
    two = commands.add_parser("measure")
    two.add_argument("weights", type=Path, nargs="+")
    two.add_argument("--seeds", type=int, default=1)
    two.add_argument("--quick", action="store_true", help="one tiny scan, to see that everything runs")
    two.set_defaults(run=measure)
    for command in (one, two):
        command.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.run(arguments)


if __name__ == "__main__":
    main()
