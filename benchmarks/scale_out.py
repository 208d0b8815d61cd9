"""Training and reconstruction in one process and in two, side by side: how far apart, and how much faster.

Each candidate is one process tree of its own, started in turn. Efficiency is the time of one process over
that of two, divided by two. Processes share the processors of one machine, with one thread each.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from bench_record import spread, write_record

from ptycho_config import PyTorchExecutionConfig
from ptycho_torch.bundle import load_bundle
from ptycho_torch.config_factory import create_inference_payload, create_training_payload
from ptycho_torch.data.npz import save_scan
from ptycho_torch.data.simulate import simulate_scene
from ptycho_torch.workflows import infer, train
from ptycho_torch.workflows.distributed import is_first_process

CANDIDATES = {"one": (1, "auto"), "ddp": (2, "ddp"), "ddp_spawn": (2, "ddp_spawn")}


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=16, help="frames along a side of the scan")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results/scale_out.json")
    parser.add_argument("--worker", nargs=4, metavar=("SCAN", "FOLDER", "DEVICES", "STRATEGY"))
    args = parser.parse_args()
    if args.worker:
        scan, folder, devices, strategy = args.worker
        _work(scan, Path(folder), int(devices), strategy, args.epochs)
        return
    folder = Path(tempfile.mkdtemp())
    try:
        record = _compare(folder, args)
    finally:
        shutil.rmtree(folder)
    settings = {"frames": args.side**2, "epochs": args.epochs, "rounds": args.rounds, "load": os.getloadavg()}
    write_record(args.output, {**settings, **record})
    print(json.dumps(record, indent=2))


def _compare(folder: Path, args: argparse.Namespace) -> dict:
    scan = folder / "scan.npz"
    save_scan(scan, simulate_scene("lines", N=64, grid=(args.side, args.side), step_px=6.0, seed=1))
    seconds: dict[str, dict[str, list[float]]] = {name: {"train": [], "infer": []} for name in CANDIDATES}
    for number in range(args.rounds):
        for name, (devices, strategy) in CANDIDATES.items():
            place = folder / f"{name}{number}"
            command = [
                sys.executable,
                __file__,
                "--epochs",
                str(args.epochs),
                "--worker",
                str(scan),
                str(place),
            ]
            environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
            subprocess.run([*command, str(devices), strategy], check=True, env=environment)
            for what, value in json.loads((place / "seconds.json").read_text()).items():
                seconds[name][what].append(value)
    record: dict = {}
    for name in CANDIDATES:
        record[name] = {what: spread(values) for what, values in seconds[name].items()}
        if name != "one":
            record[name]["efficiency"] = {
                what: record["one"][what]["median"] / record[name][what]["median"] / 2
                for what in ("train", "infer")
            }
            record[name]["difference"] = _difference(folder / f"{name}0", folder / "one0")
    return record


def _work(scan: str, folder: Path, devices: int, strategy: str, epochs: int) -> None:
    """Train and reconstruct; what takes long before and after the epochs counts, starting Python does not."""
    settings = {"nepochs": epochs, "batch_size": 32, "optimizer": "sgd", "momentum": 0.9}
    execution = PyTorchExecutionConfig(
        accelerator="cpu", devices=devices, strategy=strategy, learning_rate=0.02, logger_backend=None
    )
    started = time.perf_counter()
    outcome = train(create_training_payload(scan, folder / "run", settings, execution))
    trained = time.perf_counter()
    execution = PyTorchExecutionConfig(accelerator="cpu", devices=devices, strategy=strategy)
    result = infer(
        create_inference_payload(outcome.output_dir, scan, folder / "result", execution_config=execution)
    )
    if is_first_process():
        frames_per_second = result.patterns_per_second
        n_frames = len(np.load(folder / "result" / "reconstruction.npz")["positions"])
        (folder / "seconds.json").write_text(
            json.dumps({"train": trained - started, "infer": n_frames / frames_per_second})
        )
        (folder / "history.json").write_text(json.dumps(outcome.history))


def _difference(ours: Path, theirs: Path) -> dict[str, float]:
    """Largest differences: losses relative, weights and object absolute."""
    rows = [json.loads((place / "history.json").read_text())[-1] for place in (ours, theirs)]
    states = [load_bundle(place / "run")[0].state_dict() for place in (ours, theirs)]
    objects = [np.load(place / "result" / "reconstruction.npz")["object"] for place in (ours, theirs)]
    return {
        "val_loss_relative": abs(rows[0]["val_loss"] / rows[1]["val_loss"] - 1),
        "weights": max(float((states[0][name] - value).abs().max()) for name, value in states[1].items()
                       if value.is_floating_point()),
        "object": float(np.abs(objects[0] - objects[1]).max()),
    }  # fmt: skip


if __name__ == "__main__":
    main()
