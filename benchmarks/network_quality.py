"""Error against truth from random weights, over scenes, doses, frame sizes, group sizes, losses and seeds.

    python benchmarks/network_quality.py --study grid --frame-size 64 --output grid_64.json
    python benchmarks/network_quality.py --study seeds --frame-size 64 --output seeds_64.json
    python benchmarks/network_quality.py --study transfer --output transfer.json
    python benchmarks/network_quality.py --study time --output time.json
    python benchmarks/network_quality.py --study probe --output probe.json

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
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench_record import write_record
from scipy.ndimage import gaussian_filter

from ptycho_torch.bundle import load_bundle
from ptycho_torch.config_factory import create_inference_payload, create_training_payload
from ptycho_torch.data.npz import load_scan, save_scan
from ptycho_torch.data.simulate import simulate_scene
from ptycho_torch.workflows import infer, train

SCENES = ("lines", "natural", "random_field")
STEP_PX = {64: 6.0, 128: 12.0}
# A frame of 128 x 128 costs four times as much: fewer of them keep a study within an hour of one processor.
SIDE = {64: 20, 128: 14}
Rows = Iterator[dict[str, Any]]


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


def learn(folder: Path, scan: Path | list[Path], **settings: Any) -> tuple[Path, float, float]:
    """Train; returns the bundle and the processor and wall time it took, in s."""
    stated = {"accelerator": "cpu", "scheduler": "WarmupCosine", "n_groups": None, "logger_backend": None}
    payload = create_training_payload(scan, folder / "run", overrides={**stated, **settings})
    cpu, wall = time.process_time(), time.perf_counter()
    outcome = train(payload, overwrite=True)
    return outcome.bundle, time.process_time() - cpu, time.perf_counter() - wall


def score(folder: Path, bundle: Path, scan: Path) -> dict[str, float]:
    """Scores of the reconstruction of a scan."""
    payload = create_inference_payload(bundle, scan, folder / "result", overrides={"accelerator": "cpu"})
    outcome = infer(payload, overwrite=True)
    report = outcome.report
    if report is None:
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
        "patterns_per_s": outcome.patterns_per_second,
    }


def one_case(case: dict[str, Any], epochs: int) -> dict[str, Any]:
    """Simulate, train, reconstruct and score one case."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scan = simulate(folder, case["scene"], case["N"], case["photons"], case.get("scan_seed", 1))
        bundle, cpu, wall = learn(
            folder,
            scan,
            nepochs=epochs,
            gridsize=case["gridsize"],
            torch_loss_mode=case["loss"],
            seed=case["seed"],
            # The same number of frames per step, whatever the size of a group.
            batch_size=max(1, 16 // case["gridsize"] ** 2),
        )
        row = {**case, "epochs": epochs, "cpu_s": cpu, "wall_s": wall, **score(folder, bundle, scan)}
    shown = {key: f"{value:.4g}" if isinstance(value, float) else value for key, value in row.items()}
    print("  ".join(f"{key}={value}" for key, value in shown.items()), flush=True)
    return row


def grid_study(epochs: int, n_pixels: int) -> Rows:
    """Scenes, doses, group sizes and losses, each from random weights."""
    for photons, scene, gridsize, loss in itertools.product(
        (1e6, 1e4, 1e9), SCENES, (1, 2), ("poisson", "mae")
    ):
        case = {
            "scene": scene,
            "N": n_pixels,
            "photons": photons,
            "gridsize": gridsize,
            "loss": loss,
            "seed": 0,
        }
        # Every frame is the seed of a group, so an epoch of groups of four shows each frame four times.
        yield one_case(case, max(2, epochs // gridsize**2))


def seed_study(epochs: int, n_pixels: int) -> Rows:
    """Ten seeds: none may end flat."""
    base = {"scene": "lines", "photons": 1e6, "gridsize": 1, "loss": "poisson", "N": n_pixels}
    for seed in range(10):
        yield one_case({**base, "seed": seed}, epochs)


def transfer_study(epochs: int, n_pixels: int) -> Rows:
    """Train on four scans of one kind, reconstruct new scans of that and of other kinds without training."""
    for kind in SCENES:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            scans = [simulate(folder, kind, n_pixels, 1e6, seed) for seed in (1, 2, 3, 4)]
            bundle, cpu, _ = learn(folder, scans, nepochs=epochs)
            for scene, seed in itertools.product(SCENES, (11, 12, 13)):
                row = {"trained_on": kind, "scene": scene, "scan_seed": seed, "epochs": epochs, "cpu_s": cpu}
                row |= score(folder, bundle, simulate(folder, scene, n_pixels, 1e6, seed))
                print(kind, scene, seed, f"{row['complex_nrmse']:.4f}", flush=True)
                yield row


def time_study(epochs: int, n_pixels: int) -> Rows:
    """Error against training time for a scan of 784 frames."""
    counts = (max(1, epochs // 8), max(1, epochs // 2), epochs, 3 * epochs)
    for loss, count in itertools.product(("poisson", "mae"), counts):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            scan = simulate(folder, "lines", n_pixels, 1e6, 1, side=28)
            bundle, cpu, wall = learn(folder, scan, nepochs=count, torch_loss_mode=loss)
            row = {"loss": loss, "epochs": count, "cpu_s": cpu, "wall_s": wall}
            row |= score(folder, bundle, scan)
            print(loss, count, f"{cpu:.0f} s", f"{row['complex_nrmse']:.4f}", flush=True)
            yield row


def probe_study(epochs: int, n_pixels: int) -> Rows:
    """A probe that is known, one that is blurred by 2 px, and the blurred one while it is learned."""
    blurred = {"known": False, "blurred": True, "learned": True}
    for gridsize, (name, blur) in itertools.product((2, 1), blurred.items()):
        with tempfile.TemporaryDirectory() as folder_name:
            folder = Path(folder_name)
            path = simulate(folder, "lines", n_pixels, 1e6, 1, side=14)
            scan = load_scan(path)
            if blur:
                wrong = gaussian_filter(scan.probe, (0, 2, 2), mode="constant").astype(np.complex64)
                path = folder / "blurred.npz"
                save_scan(path, replace(scan, probe=wrong))
            bundle, cpu, _ = learn(
                folder,
                path,
                nepochs=epochs // gridsize**2,
                gridsize=gridsize,
                batch_size=16 // gridsize**2,
                probe_trainable=name == "learned",
            )
            found = load_bundle(bundle)[0].probe.detach().numpy()
            row = {"probe": name, "gridsize": gridsize, "epochs": epochs // gridsize**2, "cpu_s": cpu}
            row |= {"probe_error": misfit(found, scan.probe), **score(folder, bundle, path)}
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
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=UserWarning, module="lightning")
    study, epochs = STUDIES[arguments.study]
    rows = []
    for row in study(arguments.epochs or epochs, arguments.frame_size):
        rows.append(row)
        # After every case: an hour of cases is not to be lost with the last one.
        write_record(
            arguments.output, {"study": arguments.study, "threads": torch.get_num_threads(), "rows": rows}
        )


if __name__ == "__main__":
    main()
