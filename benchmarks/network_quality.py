"""Error against truth from random weights, over scenes, doses, frame sizes, group sizes, losses and seeds.

    python benchmarks/network_quality.py --study grid --frame-size 64 --output grid_64.json
    python benchmarks/network_quality.py --study seeds --frame-size 64 --output seeds_64.json
    python benchmarks/network_quality.py --study transfer --output transfer.json
    python benchmarks/network_quality.py --study time --output time.json
    python benchmarks/network_quality.py --study probe --output probe.json

On a GPU: `--accelerator cuda`. Several processes share a study with `--share 0/4`, `--share 1/4` and so on.

Beside each error stand that of the network alone (`network_complex_nrmse`, no steps after it) and that of the
steps alone, after a network that has learned nothing (`untrained_complex_nrmse`).

Every run goes through the factories and workflows that users call, on a scan simulated for it, with the
probe known. Scores are those of `ptycho_torch.metrics.compare`, a flat object's beside them.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import tempfile
import time
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from bench_record import write_record
from scipy.ndimage import gaussian_filter

from ptycho_torch.bundle import load_bundle
from ptycho_torch.config_factory import create_inference_payload, create_training_payload
from ptycho_torch.data.formats.npz import load_scan, save_scan
from ptycho_torch.data.simulation.simulate import simulate_scene
from ptycho_torch.workflows import infer, reconstruct, train
from ptycho_torch.workflows.jobs.preparation import prepare_training
from ptycho_torch.workflows.runs.saving import compare_with_truth

SCENES = ("lines", "natural", "random_field")
STEP_PX = {64: 6.0, 128: 12.0}
# A frame of 128 x 128 costs four times as much: fewer of them keep a study within an hour of one processor.
SIDE = {64: 20, 128: 14}
Rows = Iterator[dict[str, Any]]
Case = TypeVar("Case")


@dataclass(frozen=True, kw_only=True)
class Run:
    """How a study is run: how long each training, at what frame size, where, and which share of the cases."""

    epochs: int
    n_pixels: int
    accelerator: str
    share: tuple[int, int]
    side: int

    def own(self, cases: Iterable[Case]) -> Iterator[Case]:
        """The cases of this share."""
        number, of = self.share
        return itertools.islice(cases, number, None, of)


def share(text: str) -> tuple[int, int]:
    """Read ``1/4`` as the second of four shares."""
    number, of = map(int, text.split("/"))
    if not 0 <= number < of:
        raise argparse.ArgumentTypeError(f"{text}: expected 0/{of} to {of - 1}/{of}")
    return number, of


def simulate(
    folder: Path, scene: str, n_pixels: int, photons: float, seed: int, side: int | None = None
) -> Path:
    """Scan file of one case."""
    step = STEP_PX[n_pixels]
    side = side or SIDE[n_pixels]
    scan = simulate_scene(
        scene,
        N=n_pixels,
        grid=(side, side),
        step_px=step,
        jitter_px=step / 4,
        photons=photons,
        seed=seed,
    )
    path = folder / f"{scene}-{n_pixels}-{photons:g}-{seed}.npz"
    save_scan(path, scan)
    return path


def on_device(accelerator: str, gridsize: int) -> dict[str, Any]:
    """Settings of a training and of a reconstruction."""
    # A group of nine needs eight neighbours.
    return {"accelerator": accelerator, "neighbor_count": max(4, gridsize**2 - 1)}


def learn(
    folder: Path, scan: Path | list[Path], accelerator: str, *, gridsize: int = 1, **settings: Any
) -> tuple[Path, float, float]:
    """Train; returns the bundle and the processor and wall time it took, in s."""
    stated = {"scheduler": "WarmupCosine", "n_groups": None, "logger_backend": None, "gridsize": gridsize}
    stated |= on_device(accelerator, gridsize)
    # Steps of single groups would be noisy.
    stated["batch_size"] = max(4, 16 // gridsize**2)
    payload = create_training_payload(scan, folder / "run", overrides={**stated, **settings})
    cpu, wall = time.process_time(), time.perf_counter()
    outcome = train(payload, overwrite=True)
    return outcome.bundle, time.process_time() - cpu, time.perf_counter() - wall


def untrained(folder: Path, scan: Path, accelerator: str, gridsize: int) -> float:
    """Error of a reconstruction by a network that has learned nothing."""
    settings = {"gridsize": gridsize, **on_device(accelerator, gridsize)}
    payload = create_training_payload(scan, folder / "untrained", overrides=settings)
    model, loaded = prepare_training(payload.task).model.to(accelerator), load_scan(scan)
    report = compare_with_truth(reconstruct(model, loaded), loaded, model.probe.detach().cpu().numpy())
    if report is None:
        raise RuntimeError(f"{scan}: nothing to compare with")
    return report.scores.complex_nrmse


def score(folder: Path, bundle: Path, scan: Path, accelerator: str, gridsize: int = 1) -> dict[str, float]:
    """Scores of the reconstruction of a scan."""
    outcomes = []
    for steps in (0, None):
        settings = {**on_device(accelerator, gridsize), "physics_steps": steps}
        payload = create_inference_payload(bundle, scan, folder / "result", overrides=settings)
        outcomes.append(infer(payload, overwrite=True))
    alone, outcome = outcomes
    report = outcome.report
    if report is None or alone.report is None:
        raise RuntimeError(f"{scan}: nothing to compare with")
    names = (
        "complex_nrmse",
        "amplitude_correlation",
        "phase_correlation",
        "amplitude_std_ratio",
        "phase_std_ratio",
    )
    return {name: getattr(report.scores, name) for name in names} | {
        "flat_complex_nrmse": report.flat.complex_nrmse,
        "network_complex_nrmse": alone.report.scores.complex_nrmse,
        "untrained_complex_nrmse": untrained(folder, scan, accelerator, gridsize),
        "patterns_per_s": outcome.patterns_per_second,
    }


def one_case(case: dict[str, Any], run: Run, epochs: int) -> dict[str, Any]:
    """Simulate, train, reconstruct and score one case."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scan = simulate(folder, case["scene"], case["N"], case["photons"], 1, run.side)
        bundle, cpu, wall = learn(
            folder,
            scan,
            run.accelerator,
            nepochs=epochs,
            gridsize=case["gridsize"],
            torch_loss_mode=case["loss"],
            seed=case["seed"],
        )
        row = {**case, "frames": run.side**2, "epochs": epochs, "cpu_s": cpu, "wall_s": wall}
        row |= score(folder, bundle, scan, run.accelerator, case["gridsize"])
    shown = {key: f"{value:.4g}" if isinstance(value, float) else value for key, value in row.items()}
    print("  ".join(f"{key}={value}" for key, value in shown.items()), flush=True)
    return row


def grid_study(run: Run) -> Rows:
    """Scenes, doses, group sizes and losses, each from random weights."""
    for photons, scene, gridsize, loss in run.own(
        itertools.product((1e6, 1e4, 1e9), SCENES, (1, 2), ("poisson", "mae"))
    ):
        case = {
            "scene": scene,
            "N": run.n_pixels,
            "photons": photons,
            "gridsize": gridsize,
            "loss": loss,
            "seed": 0,
        }
        # Every frame is the seed of a group, so an epoch of groups of four shows each frame four times.
        yield one_case(case, run, max(2, run.epochs // gridsize**2))


def seed_study(run: Run) -> Rows:
    """Ten seeds: none may end flat."""
    base = {"scene": "lines", "photons": 1e6, "gridsize": 1, "loss": "poisson", "N": run.n_pixels}
    for seed in run.own(range(10)):
        yield one_case({**base, "seed": seed}, run, run.epochs)


def transfer_study(run: Run) -> Rows:
    """Train on four scans of one kind, reconstruct new scans without further training.

    Single frames are tried on all kinds of objects, groups on their own kind.
    """
    for kind, gridsize in run.own(itertools.product(SCENES, (1, 2, 3))):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            scans = [simulate(folder, kind, run.n_pixels, 1e6, seed) for seed in (1, 2, 3, 4)]
            epochs = max(2, run.epochs // gridsize**2)
            bundle, cpu, _ = learn(folder, scans, run.accelerator, nepochs=epochs, gridsize=gridsize)
            for scene, seed in itertools.product(SCENES if gridsize == 1 else (kind,), (11, 12, 13)):
                row = {"trained_on": kind, "gridsize": gridsize, "scene": scene, "scan_seed": seed}
                row |= {"epochs": epochs, "cpu_s": cpu}
                new = simulate(folder, scene, run.n_pixels, 1e6, seed)
                row |= score(folder, bundle, new, run.accelerator, gridsize)
                print(kind, gridsize, scene, seed, f"{row['complex_nrmse']:.4f}", flush=True)
                yield row


def time_study(run: Run) -> Rows:
    """Error against training time for a scan of 784 frames."""
    counts = (max(1, run.epochs // 8), max(1, run.epochs // 2), run.epochs, 3 * run.epochs)
    for loss, count in run.own(itertools.product(("poisson", "mae"), counts)):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            scan = simulate(folder, "lines", run.n_pixels, 1e6, 1, side=28)
            bundle, cpu, wall = learn(folder, scan, run.accelerator, nepochs=count, torch_loss_mode=loss)
            row = {"loss": loss, "epochs": count, "cpu_s": cpu, "wall_s": wall}
            row |= score(folder, bundle, scan, run.accelerator)
            print(loss, count, f"{cpu:.0f} s", f"{row['complex_nrmse']:.4f}", flush=True)
            yield row


def probe_study(run: Run) -> Rows:
    """A probe that is known, one that is blurred by 2 px, and the blurred one while it is learned."""
    for gridsize, name in run.own(itertools.product((2, 1), ("known", "blurred", "learned"))):
        with tempfile.TemporaryDirectory() as folder_name:
            folder = Path(folder_name)
            path = simulate(folder, "lines", run.n_pixels, 1e6, 1, side=14)
            scan = load_scan(path)
            if name != "known":
                wrong = gaussian_filter(scan.probe, (0, 2, 2), mode="constant").astype(np.complex64)
                path = folder / "blurred.npz"
                save_scan(path, replace(scan, probe=wrong))
            epochs = run.epochs // gridsize**2
            learned = name == "learned"
            bundle, cpu, _ = learn(
                folder, path, run.accelerator, nepochs=epochs, gridsize=gridsize, probe_trainable=learned
            )
            found = load_bundle(bundle)[0].probe.detach().numpy()
            row = {"probe": name, "gridsize": gridsize, "epochs": epochs, "cpu_s": cpu}
            row |= {"probe_error": misfit(found, scan.probe)}
            row |= score(folder, bundle, path, run.accelerator, gridsize)
            print(name, gridsize, f"{row['complex_nrmse']:.4f} probe {row['probe_error']:.3f}", flush=True)
            yield row


def misfit(found: np.ndarray, truth: np.ndarray) -> float:
    """Normalised RMSE after the best complex factor."""
    scaled = found * np.vdot(found, truth) / np.vdot(found, found)
    return float(np.linalg.norm(scaled - truth) / np.linalg.norm(truth))


STUDIES = {
    "probe": (probe_study, 96),
    "grid": (grid_study, 12),
    "seeds": (seed_study, 16),
    "transfer": (transfer_study, 10),
    "time": (time_study, 16),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--study", choices=STUDIES, required=True)
    parser.add_argument("--frame-size", type=int, choices=tuple(STEP_PX), default=64)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--side", type=int, help="frames along the side of the scan of a grid or of seeds")
    parser.add_argument("--accelerator", default="cpu")
    parser.add_argument("--share", type=share, default=(0, 1), metavar="I/N", help="every Nth case from I on")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=UserWarning, module="lightning")
    study, epochs = STUDIES[arguments.study]
    rows = []
    run = Run(
        epochs=arguments.epochs or epochs,
        n_pixels=arguments.frame_size,
        accelerator=arguments.accelerator,
        share=arguments.share,
        side=arguments.side or SIDE[arguments.frame_size],
    )
    for row in study(run):
        rows.append(row)
        # After every case: an hour of cases is not to be lost with the last one.
        write_record(
            arguments.output, {"study": arguments.study, "threads": torch.get_num_threads(), "rows": rows}
        )


if __name__ == "__main__":
    main()
