"""Error against time of `ptycho_torch.refine` and of Pty-Chi's solvers on the same frames.

    python benchmarks/refine_vs_ptychi.py --ptychi-python ENV/bin/python

Both sides get the same counts, probe, positions and start, one thread, and run in turn. Times are
processor seconds, which other programs on the machine disturb least. Positions are whole pixels
unless --between-pixels is given: there all programs model the same experiment. Between pixels Pty-Chi
moves the probe and this project interpolates the object, as the simulator does, or moves the probe too;
--between-pixels says with which of the two models the frames are made, and this project is run with both.

With --networks, a folder pattern such as runs/{scene}, the object of a network trained on another scan
of the same kind is refined instead: the time then holds prediction, stitching and refinement. Train
them with, for example,

    ptycho-torch simulate --scene lines --grid 28 28 --seed 101 --output lines.npz
    ptycho-torch train --train-data-file lines.npz --output-dir runs/lines --max-epochs 12 \\
        --n-images 784 --scheduler WarmupCosine
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench_record import write_record
from scipy.ndimage import gaussian_filter

from ptycho_torch.bundle import load_bundle
from ptycho_torch.data import Scan
from ptycho_torch.data.simulation.simulate import simulate_scan, simulate_scene
from ptycho_torch.metrics import compare
from ptycho_torch.physics import calibrate
from ptycho_torch.reassembly import StitchedObject, canvas_for
from ptycho_torch.refine import refine
from ptycho_torch.workflows import reconstruct

MARKS_S = (1.0, 2.0, 5.0, 20.0, 60.0)
MARKS_EPOCHS = (10, 50, 100)


def prepare(scene: str, seed: int, between_pixels: str | None) -> Scan:
    """784 frames of 64 x 64 with a million photons each."""
    scan = simulate_scene(scene, grid=(28, 28), seed=seed)
    truth = scan.object_truth
    assert truth is not None
    if between_pixels == "object":
        return scan
    if between_pixels is None:
        return simulate_scan(truth, scan.probe, np.rint(scan.positions), photons=1e6, seed=seed + 1)
    return replace(scan, diffraction=frames_of_moved_probe(scan, photons=1e6, seed=seed + 1))


def frames_of_moved_probe(scan: Scan, *, photons: float, seed: int) -> np.ndarray:
    """Counts where the object stays on its pixels and the probe is moved by Fourier transforms."""
    n = scan.N
    frequency = np.fft.fftfreq(n)
    spectrum = np.fft.fft2(scan.probe.astype(np.complex128))
    frames = []
    for position in scan.positions:
        corner = np.floor(position + 0.5).astype(int)
        y, x = position - corner
        shift = np.exp(-2j * np.pi * (frequency[:, None] * y + frequency[None, :] * x))
        rows, columns = (slice(start - n // 2, start - n // 2 + n) for start in corner)
        wave = np.fft.ifft2(spectrum * shift) * scan.object_truth[rows, columns]
        field = np.fft.fftshift(np.fft.fft2(wave, norm="ortho"), axes=(-2, -1))
        frames.append((np.abs(field) ** 2).sum(axis=0))
    expected = np.stack(frames)
    expected *= photons / expected.sum(axis=(1, 2)).mean()
    return np.random.default_rng(seed).poisson(expected).astype(np.int32)


def flat_start(scan: Scan) -> StitchedObject:
    """One everywhere, with a row and a column to spare."""
    geometry = canvas_for(scan.positions, scan.N)
    shape = (geometry.shape[0] + 1, geometry.shape[1] + 1)
    return StitchedObject(
        object=np.ones(shape, np.complex64),
        weight=np.ones(shape, np.float32),
        origin=np.array(geometry.origin),
    )


def rough_start(scan: Scan) -> StitchedObject:
    """The truth, blurred: what a trained network hands over."""
    start, truth = flat_start(scan), scan.object_truth
    if truth is None:
        raise ValueError("truth: expected an object, got None; use a simulated scan")
    smooth = gaussian_filter(truth.real, 1.5) + 1j * gaussian_filter(truth.imag, 1.5)
    rows, columns = np.ogrid[: start.object.shape[0], : start.object.shape[1]]
    y, x = (axis - int(by) for axis, by in zip((rows, columns), start.origin, strict=True))
    inside = smooth[np.clip(y, 0, truth.shape[0] - 1), np.clip(x, 0, truth.shape[1] - 1)]
    start.object[...] = inside
    return start


def error_of(scan: Scan, image: np.ndarray, weight: np.ndarray, origin: np.ndarray) -> float:
    """Complex normalised RMSE after alignment."""
    report = compare(
        image, scan.object_truth, weight=weight, origin=origin,
        truth_origin=scan.object_truth_origin, probe_diameter=scan.N / 2, frc=False,
    )  # fmt: skip
    return report.scores.complex_nrmse


def run_ours(
    scan: Scan, start: StitchedObject | None, epochs: int, sub_pixel: str = "object", device: str = "cpu"
) -> dict[str, float]:
    """Error and processor seconds of one run."""
    cpu, wall = time.process_time(), time.perf_counter()
    result = refine(scan, start, epochs=epochs, sub_pixel=sub_pixel, device=device)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    fitted = result.object
    error = error_of(scan, fitted.object, fitted.weight, fitted.origin)
    return {"epochs": result.n_epochs, "cpu_s": cpu, "wall_s": wall, "error": error}


def run_from_network(scan: Scan, bundle: Path, epochs: tuple[int, ...]) -> list[dict[str, float]]:
    """Error and processor seconds of a network, and of refinements from its object."""
    model, _ = load_bundle(bundle, device="cpu")
    # Once for nothing, as everywhere here: the first call of every kernel costs more.
    reconstruct(model, scan.take(np.arange(64)), batch_size=16)
    cpu, wall = time.process_time(), time.perf_counter()
    start = reconstruct(model, scan, batch_size=16)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    error = error_of(scan, start.object, start.weight, start.origin)
    rows = [{"epochs": 0, "cpu_s": cpu, "wall_s": wall, "error": error}]
    for count in epochs:
        run = run_ours(scan, start, count)
        rows.append({**run, "cpu_s": run["cpu_s"] + cpu, "wall_s": run["wall_s"] + wall})
    return rows


def run_theirs(
    scan: Scan,
    solver: str,
    python: str,
    budget_s: float,
    last_epoch: int,
    weight: np.ndarray,
    device: str = "cpu",
    larger: int = 1,
) -> list[dict[str, float]]:
    """Errors of one solver of Pty-Chi at the marks, which are wall seconds on a GPU.

    Its batches hold ``larger`` times as many frames as were best on a processor.
    """
    start = flat_start(scan)
    gauge = calibrate(torch.from_numpy(scan.probe), float(scan.counts_per_frame().mean()))
    with tempfile.TemporaryDirectory() as folder:
        problem, output = Path(folder) / "problem.npz", Path(folder) / "objects.npz"
        np.savez(
            problem,
            counts=scan.diffraction,
            positions=scan.positions,
            start=start.object,
            origin=start.origin,
            probe=gauge.probe.numpy() * gauge.intensity_scale**0.5,
        )
        command = [python, str(Path(__file__).with_name("ptychi_worker.py")), str(problem), str(output)]
        command += [
            "--solver",
            solver,
            "--budget-s",
            str(budget_s),
            "--last-epoch",
            str(last_epoch),
            "--device",
            device,
            "--larger",
            str(larger),
            "--marks-s",
            *map(str, MARKS_S),
        ]
        subprocess.run([*command, "--marks-epochs", *map(str, MARKS_EPOCHS)], check=True, capture_output=True)
        found = np.load(output)
        trim = tuple(slice(0, size) for size in weight.shape)
        rows = []
        for epoch, cpu, wall, image in zip(*(found[key] for key in found.files), strict=True):
            finite = bool(np.isfinite(image).all())
            error = error_of(scan, image[trim], weight, start.origin) if finite else float("nan")
            rows.append({"epochs": int(epoch), "cpu_s": float(cpu), "wall_s": float(wall), "error": error})
        return rows


def measure(scene: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """All runs of one scene."""
    scan = prepare(scene, arguments.seed, arguments.between_pixels)
    weight = refine(scan, epochs=1).object.weight
    ours = []
    theirs = {}
    rough = rough_start(scan)
    for epochs in arguments.epochs:
        ours.append(run_ours(scan, None, epochs))
        print(scene, "refine", ours[-1], flush=True)
    for solver in arguments.solvers:
        theirs[solver] = run_theirs(
            scan, solver, arguments.ptychi_python, arguments.budget_s, arguments.last_epoch, weight
        )
        for row in theirs[solver]:
            print(scene, solver, row, flush=True)
        ours.append(run_ours(scan, None, arguments.epochs[-1]))
    if arguments.networks is not None:
        bundle = Path(arguments.networks.format(scene=scene))
        from_network = run_from_network(scan, bundle, tuple(arguments.epochs))
        for row in from_network:
            print(scene, "refine from the network", row, flush=True)
        return {"scene": scene, "refine": ours, "refine_from_network": from_network, "ptychi": theirs}
    if arguments.between_pixels is not None:
        moved = [run_ours(scan, None, epochs, "probe") for epochs in arguments.epochs]
        for row in moved:
            print(scene, "refine, moved probe", row, flush=True)
        return {"scene": scene, "refine": ours, "refine_moved_probe": moved, "ptychi": theirs}
    handed = []
    for epochs in arguments.epochs:
        handed.append(run_ours(scan, rough, epochs))
        print(scene, "refine from a rough start", handed[-1], flush=True)
    return {
        "scene": scene,
        "flat": error_of(scan, np.ones_like(rough.object), np.ones(rough.object.shape), rough.origin),
        "rough_start": error_of(scan, rough.object, np.ones(rough.object.shape), rough.origin),
        "refine": ours,
        "refine_from_rough_start": handed,
        "ptychi": theirs,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ptychi-python", required=True, help="interpreter that has Pty-Chi")
    parser.add_argument("--scenes", nargs="+", default=["lines", "natural", "random_field"])
    parser.add_argument("--solvers", nargs="+", default=["lsqml", "epie", "autodiff"])
    parser.add_argument("--epochs", type=int, nargs="+", default=[10, 20, 40, 60, 100, 250])
    parser.add_argument("--networks", help="model folder with {scene} in its name; refine from its object")
    parser.add_argument("--budget-s", type=float, default=61.0)
    parser.add_argument("--last-epoch", type=int, default=10**6, help="of Pty-Chi's solvers, budget or not")
    parser.add_argument(
        "--between-pixels", choices=["object", "probe"], help="what the frames were made with"
    )
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--output", type=Path, default=Path("refine_vs_ptychi.json"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    results = [measure(scene, arguments) for scene in arguments.scenes]
    record = {
        "seed": arguments.seed,
        "between_pixels": arguments.between_pixels,
        "frames": 784,
        "photons_per_frame": 1e6,
        "results": results,
    }
    write_record(arguments.output, record)


if __name__ == "__main__":
    main()
