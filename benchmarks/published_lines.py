"""The lines benchmark of PtychoPINN's papers on the same work: our networks, the steps after them, `refine`.

    python benchmarks/published_lines.py --output benchmarks/results/published_lines.json

Objects, scans, doses and scores are rebuilt from what the authors publish beside their table (written up in
`published_lines.md`): amplitudes of 400 random lines, no phase, 392 px; frames of 64 px on exact rasters; two
objects to train on and two others to test on. Times are processor seconds of one thread.

The record is written after every case, and cases that it holds are not measured again: `--probes` and
`--gridsizes` choose some of them.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import json
import logging
import math
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench_record import write_record
from scipy.ndimage import gaussian_filter
from skimage.draw import line
from skimage.metrics import structural_similarity

from ptycho_torch.bundle import load_bundle
from ptycho_torch.config_factory import create_training_payload
from ptycho_torch.data import Scan
from ptycho_torch.data.groups.grouping import Groups
from ptycho_torch.data.simulation.scenes import defocused_probe
from ptycho_torch.data.simulation.simulate import simulate_scan
from ptycho_torch.metrics import levelled_phase
from ptycho_torch.models import PatchModel
from ptycho_torch.prediction.reconstruction import reconstruct
from ptycho_torch.reassembly import StitchedObject
from ptycho_torch.refine import refine
from ptycho_torch.workflows import train

N = 64
PHOTONS = 1e9
# Edge of the square that a frame stands for in their picture; a group of four lies 4 px apart.
TRAIN_STEP_PX, TEST_STEP_PX, GROUP_STEP_PX = 4, 10, 4
RIM_PX = 2
PEAK = 255.0
LEAST_ERROR = 1e-7
TRAIN_SEEDS, TEST_SEEDS = (1, 2), (11, 12)
SHOWN = {
    "amplitude_mae": 4, "amplitude_ssim": 4, "amplitude_psnr": 1, "phase_mae": 4, "phase_ssim": 3, "cpu_s": 1
}  # fmt: skip
#: Of their table, in the order of SHOWN; they state no time. What we call measured-like is of a scan there.
PUBLISHED = {
    ("measured-like", 1): (0.072003, 0.904422, 68.886477, 0.077751, 0.885615),
    ("measured-like", 2): (0.040176, 0.967679, 73.027381, 0.045158, 0.965757),
    ("ideal", 1): (0.185359, 0.620232, 60.672510, 0.295667, 0.410153),
    ("ideal", 2): (0.051782, 0.951729, 71.341465, 0.007872, 0.996137),
}


@dataclass(frozen=True)
class Work:
    """How much is done: objects of ``size`` px, how many of each kind, for how long, on how many groups."""

    size: int
    n_lines: int
    epochs: int
    refine_epochs: int
    n_objects: int
    n_groups: int | None = None


@dataclass(frozen=True)
class Test:
    """A test scan and the square of its truth that is compared: indices from ``start`` to ``stop``."""

    scan: Scan
    start: int
    stop: int


def lines_image(size: int, n_lines: int, seed: int) -> np.ndarray:
    """Amplitudes ``(size, size)`` float64: the middle of lines between random points of twice the size.

    Lines of one pixel, blurred by Gaussians of 1, 5 and 10 px and added with weights 1, 2 and 5.
    """
    rng = np.random.default_rng(seed)
    drawn = np.zeros((2 * size, 2 * size))
    for ends in rng.integers(0, 2 * size, (n_lines, 4)):
        drawn[line(*ends)] = 1
    blurred = sum(weight * gaussian_filter(drawn, sigma) for weight, sigma in ((1, 1), (2, 5), (5, 10)))
    middle = slice(size // 2, size // 2 + size)
    return np.asarray(blurred)[middle, middle]


def ideal_probe() -> np.ndarray:
    """Flat disk of 21.8 px, blurred by 1 px, without phase; ``(1, N, N)`` complex64."""
    width = N / (0.7 * np.pi**2)
    across = np.exp(-0.5 * ((np.arange(N) - (N - 1) / 2) / width) ** 2)
    disk = (np.outer(across, across) > 0.5).astype(np.float64)
    return (gaussian_filter(disk, 1) + 1e-9).astype(np.complex64)[None]


Way = Callable[[Scan], StitchedObject]
"""What makes an object of a scan."""

PROBES = {"measured-like": lambda: defocused_probe(N), "ideal": ideal_probe}


def raster(size: int, step: int, gridsize: int) -> np.ndarray:
    """Positions ``(n, 2)``; px. Where frames come in groups, ``gridsize`` × ``gridsize`` at every point."""
    inner = GROUP_STEP_PX * np.arange(gridsize)
    starts = np.arange(0, size - N - inner[-1] + 1, step)
    along = np.unique(np.add.outer(starts, inner)) + N // 2
    return np.stack(np.meshgrid(along, along, indexing="ij"), axis=-1).reshape(-1, 2).astype(np.float64)


def scan_of(work: Work, probe: np.ndarray, step: int, gridsize: int, seed: int) -> Scan:
    """Scan of one object."""
    truth = lines_image(work.size, work.n_lines, seed).astype(np.complex64)
    places = raster(work.size, step, gridsize)
    return simulate_scan(truth, probe, places, photons=PHOTONS, seed=seed + 1000)


def tests_of(work: Work, probe: np.ndarray, gridsize: int) -> list[Test]:
    """Test scans, and where they are compared: what the tiles of their picture cover, less a rim."""
    found = []
    for seed in TEST_SEEDS[: work.n_objects]:
        scan = scan_of(work, probe, TEST_STEP_PX, gridsize, seed)
        tiles = len(raster(work.size, TEST_STEP_PX, 1)) ** 0.5
        start = N // 2 - TEST_STEP_PX // 2 + RIM_PX
        found.append(Test(scan, start, start + round(tiles) * TEST_STEP_PX - 2 * RIM_PX))
    return found


def without_plane(phase: np.ndarray) -> np.ndarray:
    """Phase less its plane of least squares; rad."""
    y, x = (axis.ravel() for axis in np.mgrid[: phase.shape[0], : phase.shape[1]])
    planes = np.stack([y, x, np.ones_like(y)], axis=1).astype(np.float64)
    fitted = planes @ np.linalg.lstsq(planes, phase.ravel(), rcond=None)[0]
    return phase - fitted.reshape(phase.shape)


def psnr(error: np.ndarray) -> float:
    """Peak signal to noise with their peak of 255 in place of the range of the image; dB.

    An error below the rounding of single precision counts as that, so that the figure stays finite.
    """
    return float(10 * np.log10(PEAK**2 / max(float(np.mean(error**2)), LEAST_ERROR**2)))


def scores(image: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Their scores of an object that lies on its truth: no shift is sought, amplitudes have equal means.

    SSIM has the window of scikit-image (7 px, uniform); the range is that of the true amplitude, and for the
    phase a full turn.
    """
    amplitude, expected = (
        np.abs(image).astype(np.float64),
        np.abs(truth).astype(np.float64),
    )
    amplitude *= expected.mean() / amplitude.mean()
    phase = without_plane(levelled_phase(image, np.ones(image.shape, dtype=bool)).phase.astype(np.float64))
    expected_phase = without_plane(np.angle(truth).astype(np.float64))
    span = float(np.ptp(expected))
    return {
        "amplitude_mae": float(np.abs(amplitude - expected).mean()),
        "amplitude_ssim": float(structural_similarity(expected, amplitude, data_range=span)),
        "amplitude_psnr": psnr(amplitude - expected),
        "phase_mae": float(np.abs(phase - expected_phase).mean()),
        "phase_ssim": float(structural_similarity(expected_phase, phase, data_range=2 * np.pi)),
        "phase_psnr": psnr(phase - expected_phase),
        "amplitude_mean": float(expected.mean()),
        "amplitude_range": span,
    }


def compared(test: Test, found: StitchedObject) -> dict[str, float]:
    """Scores of an object in the coordinates of its scan."""
    origin = np.rint(found.origin).astype(int)
    if np.abs(found.origin - origin).max() > 1e-6:
        raise RuntimeError(f"origin {found.origin}: expected whole pixels, which need no registration")
    rows, columns = (slice(test.start + int(first), test.stop + int(first)) for first in origin)
    inner = slice(test.start, test.stop)
    return scores(found.object[rows, columns], test.scan.object_truth[inner, inner])


def measured(tests: list[Test], work: Way) -> dict[str, Any]:
    """Scores of what a function makes of every test scan, their mean, and processor seconds a scan."""
    rows = []
    for test in tests:
        began = time.process_time()
        found = work(test.scan)
        seconds = time.process_time() - began
        rows.append({**compared(test, found), "cpu_s": seconds})
    return {
        "mean": {name: float(np.mean([row[name] for row in rows])) for name in rows[0]},
        "each": rows,
    }


def flat(scan: Scan) -> StitchedObject:
    """An object without contrast."""
    truth = scan.object_truth
    return StitchedObject(
        object=np.ones_like(truth),
        weight=np.ones(truth.shape, np.float32),
        origin=np.zeros(2),
    )


def learned(folder: Path, work: Work, probe: np.ndarray, gridsize: int) -> tuple[dict[str, Any], PatchModel]:
    """What training took, and the model after it.

    Of groups a quarter as many are trained on per epoch, unless a number is stated: an epoch then shows as
    many frames as one of single frames.
    """
    scans = [scan_of(work, probe, TRAIN_STEP_PX, 1, seed) for seed in TRAIN_SEEDS[: work.n_objects]]
    n_frames = sum(scan.n_frames for scan in scans)
    settings = {
        "gridsize": gridsize, "nepochs": work.epochs, "batch_size": 16, "scheduler": "WarmupCosine",
        "n_groups": work.n_groups or n_frames // gridsize**2,
        "accelerator": "cpu", "logger_backend": None,
    }  # fmt: skip
    payload = create_training_payload(scans, folder / "run", overrides=settings)
    cpu, wall = time.process_time(), time.perf_counter()
    outcome = train(payload, overwrite=True)
    row = {
        "cpu_s": time.process_time() - cpu,
        "wall_s": time.perf_counter() - wall,
        "frames": n_frames,
    }
    losses = [entry["train_loss"] for entry in outcome.history if "train_loss" in entry]
    shown = work.epochs * settings["n_groups"] * gridsize**2
    row |= {"epochs": work.epochs, "frames_shown": shown, "losses": losses}
    return row, load_bundle(outcome.bundle)[0]


def without_learning(model: PatchModel) -> PatchModel:
    """The model as training found it: its U-Nets end in layers of zeros, and draw the transmitting object."""
    blank = copy.deepcopy(model)
    with torch.no_grad():
        blank.log_gain.zero_()
        for unet in blank.generator.unets:
            unet.last.weight.zero_()
            unet.last.bias.zero_()
    return blank


def groups_of(work: Work, gridsize: int) -> Groups | None:
    """Groups of a test scan: the frames of every place once; None for single frames."""
    if gridsize == 1:
        return None
    places = raster(work.size, TEST_STEP_PX, gridsize)
    along = math.isqrt(len(places))
    number = np.arange(len(places)).reshape(along // gridsize, gridsize, along // gridsize, gridsize)
    frames = number.transpose(0, 2, 1, 3).reshape(-1, gridsize**2)
    centres = places[frames].mean(axis=1)
    offsets = places[frames] - centres[:, None]
    return Groups(frames=frames, seeds=frames[:, 0], centres=centres, offsets=offsets)


def network_ways(work: Work, probe: np.ndarray, gridsize: int) -> tuple[dict[str, Any], dict[str, Way]]:
    """What training took, and what makes an object of a test scan after it."""
    with tempfile.TemporaryDirectory() as folder:
        training, model = learned(Path(folder), work, probe, gridsize)
    groups, untrained = groups_of(work, gridsize), without_learning(model)

    def made(own: PatchModel, **settings: Any) -> Way:
        return lambda scan: reconstruct(own, scan, groups=groups, **settings)

    return training, {
        "network alone": made(model, physics_steps=0),
        "network and steps": made(model),
        "steps alone": made(untrained),
    }


def one_case(work: Work, name: str, gridsize: int) -> dict[str, Any]:
    """Train, and score what each way makes of the test scans."""
    probe = PROBES[name]()
    tests = tests_of(work, probe, gridsize)
    case: dict[str, Any] = {"probe": name, "gridsize": gridsize, "work": asdict(work)}
    ways: dict[str, Way] = {"flat object": flat}
    if work.epochs:
        case["training"], learned_ways = network_ways(work, probe, gridsize)
        ways |= learned_ways
    ways["refine"] = lambda scan: refine(scan, epochs=work.refine_epochs, error_bars="none").object
    case |= {"test_frames": [test.scan.n_frames for test in tests], "ways": {}}
    for way, function in ways.items():
        case["ways"][way] = measured(tests, function)
        shown = {key: float(f"{value:.4g}") for key, value in case["ways"][way]["mean"].items()}
        print(f"{name}, gridsize {gridsize}, {way}: {json.dumps(shown)}", flush=True)
    return case


def table(cases: list[dict[str, Any]]) -> list[str]:
    """Lines of the table of the page: what is published, and our ways below it."""
    lines = []
    for case in cases:
        name = (case["probe"], case["gridsize"])
        published = [
            f"{value:.{digits}f}" for value, digits in zip(PUBLISHED[name], SHOWN.values(), strict=False)
        ]
        lines.append(
            f"| {name[0]}, {name[1]} | **published**, 60 epochs | " + " | ".join([*published, ""]) + "|"
        )
        for way, found in case["ways"].items():
            told = [f"{found['mean'][key]:.{digits}f}" for key, digits in SHOWN.items()]
            lines.append(f"| | {way} | " + " | ".join(told) + " |")
    return lines


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--epochs", type=int, default=3, help="of training, 0 for none; theirs are 60")
    parser.add_argument(
        "--groups",
        type=int,
        help="groups that an epoch shows; all frames once if left out",
    )
    parser.add_argument("--refine-epochs", type=int, default=60)
    parser.add_argument("--probes", nargs="+", choices=PROBES, default=list(PROBES))
    parser.add_argument("--gridsizes", type=int, nargs="+", choices=(1, 2), default=[1, 2])
    parser.add_argument(
        "--quick",
        action="store_true",
        help="a small object, to see that everything runs",
    )
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=UserWarning)
    work = Work(392, 400, arguments.epochs, arguments.refine_epochs, 2, arguments.groups)
    probes = arguments.probes
    if arguments.quick:
        work, probes = (
            replace(work, size=96, n_lines=40, epochs=1, refine_epochs=10, n_objects=1),
            probes[:1],
        )
    cases: list[dict[str, Any]] = []
    if arguments.output.exists():
        cases = json.loads(arguments.output.read_text())["cases"]
    for name, gridsize in itertools.product(probes, arguments.gridsizes):
        if any((case["probe"], case["gridsize"]) == (name, gridsize) for case in cases):
            continue
        cases.append(one_case(work, name, gridsize))
        write_record(arguments.output, {"cases": cases})


if __name__ == "__main__":
    main()
