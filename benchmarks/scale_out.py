"""Training and reconstruction in one process and in two, side by side: how far apart, and how much faster.

Each candidate is one process tree of its own, started in turn, with one thread per process. Efficiency is the
time of one process over that of two, divided by two. An epoch is timed from the end of the first to the end
of the last; starting processes and drawing pictures, which a long run hardly notices, are part of `whole_s`.
`processor_s` adds up what all processes of a candidate computed per epoch, whoever else used the machine.
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
from typing import Any

import lightning.pytorch as pl
import numpy as np
from bench_record import spread, write_record

from ptycho_config import PyTorchExecutionConfig
from ptycho_torch.bundle import load_bundle
from ptycho_torch.config_factory import create_inference_payload, create_training_payload
from ptycho_torch.data.formats.npz import save_scan
from ptycho_torch.data.simulation.simulate import simulate_scene
from ptycho_torch.workflows import infer, train
from ptycho_torch.workflows.processes.distributed import is_first_process

CANDIDATES = {"one": (1, "auto"), "ddp": (2, "ddp"), "ddp_spawn": (2, "ddp_spawn")}
TIMED = ("epoch_s", "reconstruction_s")
LONGEST_S = 900


class Clock(pl.Callback):
    """Notes time and processor time at the end of every epoch, in every process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows: list[tuple[float, float]] = []

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note."""
        self.rows.append((time.time(), time.process_time()))

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leave the notes in a file."""
        (self.folder / f"clock{trainer.global_rank}.json").write_text(json.dumps(self.rows))


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=16, help="frames along a side of the scan")
    parser.add_argument("--epochs", type=int, default=3, help="at least 2")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results/scale_out.json")
    parser.add_argument("--worker", nargs=4, metavar=("SCAN", "FOLDER", "DEVICES", "STRATEGY"))
    args = parser.parse_args()
    if args.epochs < 2:
        parser.error("--epochs: at least 2, because the first one is not timed")
    if args.worker:
        scan, folder, devices, strategy = args.worker
        _work(scan, Path(folder), int(devices), strategy, args.epochs)
        return
    folder = Path(tempfile.mkdtemp())
    try:
        record = _compare(folder, args)
    finally:
        shutil.rmtree(folder)
    settings = {"frames": args.side**2, "epochs": args.epochs, "rounds": args.rounds, "cores": os.cpu_count()}
    write_record(args.output, {**settings, **record})
    print(json.dumps(record, indent=2))


def _compare(folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    scan = folder / "scan.npz"
    save_scan(scan, simulate_scene("lines", N=64, grid=(args.side, args.side), step_px=6.0, seed=1))
    load = []
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in CANDIDATES}
    for number in range(args.rounds):
        load.append(os.getloadavg()[0])
        for name in CANDIDATES:
            rows[name].append(_start(name, scan, folder / f"{name}{number}", args.epochs))
    record: dict[str, Any] = {"load_at_the_start_of_each_round": load}
    for name in CANDIDATES:
        record[name] = {what: spread([row[what] for row in rows[name]]) for what in rows[name][0]}
        if name != "one":
            pairs = list(zip(rows["one"], rows[name], strict=True))
            record[name]["efficiency"] = {
                what: spread([one[what] / two[what] / 2 for one, two in pairs]) for what in TIMED
            }
            record[name]["difference"] = _difference(folder / f"{name}0", folder / "one0")
    return record


def _start(name: str, scan: Path, place: Path, epochs: int) -> dict[str, float]:
    """Run one candidate in processes of its own; returns its seconds."""
    devices, strategy = CANDIDATES[name]
    place.mkdir()
    command = [sys.executable, __file__, "--epochs", str(epochs)]
    command += ["--worker", str(scan), str(place), str(devices), strategy]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    run = subprocess.run(
        command, check=False, env=environment, capture_output=True, text=True, timeout=LONGEST_S
    )
    if run.returncode:
        sys.exit(f"{name} failed:\n{run.stderr}")
    seconds: dict[str, float] = json.loads((place / "seconds.json").read_text())
    clocks = [np.array(json.loads(path.read_text())) for path in sorted(place.glob("clock*.json"))]
    assert len(clocks) == devices
    per_epoch = [(clock[-1] - clock[0]) / (len(clock) - 1) for clock in clocks]
    seconds["epoch_s"] = float(per_epoch[0][0])
    seconds["processor_s"] = float(sum(clock[1] for clock in per_epoch))
    print(f"{name}: {seconds}", file=sys.stderr, flush=True)
    return seconds


def _work(scan: str, folder: Path, devices: int, strategy: str, epochs: int) -> None:
    """Train and reconstruct, in every process."""
    settings = {"nepochs": epochs, "batch_size": 32, "optimizer": "sgd", "momentum": 0.9}
    spread_over = {"accelerator": "cpu", "devices": devices, "strategy": strategy}
    execution = PyTorchExecutionConfig(**spread_over, learning_rate=0.02, logger_backend=None)
    started = time.perf_counter()
    outcome = train(
        create_training_payload(scan, folder / "run", settings, execution), callbacks=[Clock(folder)]
    )
    trained = time.perf_counter()
    made = create_inference_payload(
        outcome.output_dir, scan, folder / "result", execution_config=PyTorchExecutionConfig(**spread_over)
    )
    result = infer(made)
    if is_first_process():
        n_frames = len(np.load(folder / "result" / "reconstruction.npz")["positions"])
        seconds = {
            "reconstruction_s": n_frames / result.patterns_per_second,
            "whole_s": time.perf_counter() - started,
            "whole_training_s": trained - started,
        }
        (folder / "seconds.json").write_text(json.dumps(seconds))
        (folder / "history.json").write_text(json.dumps(outcome.history))


def _difference(ours: Path, theirs: Path) -> dict[str, float]:
    """Largest differences: losses of all epochs relative, weights and object absolute."""
    histories = [json.loads((place / "history.json").read_text()) for place in (ours, theirs)]
    states = [load_bundle(place / "run")[0].state_dict() for place in (ours, theirs)]
    objects = [np.load(place / "result" / "reconstruction.npz")["object"] for place in (ours, theirs)]
    return {
        "losses_relative": max(
            abs(mine[name] / its[name] - 1)
            for mine, its in zip(*histories, strict=True)
            for name in ("train_loss", "val_loss")
        ),
        "weights": max(
            float((states[0][name] - value).abs().max())
            for name, value in states[1].items()
            if value.is_floating_point()
        ),
        "largest_weight": max(
            float(value.abs().max()) for name, value in states[1].items() if name.startswith("generator")
        ),
        "object": float(np.abs(objects[0] - objects[1]).max()),
    }


if __name__ == "__main__":
    main()
