"""Kill a short training at random moments, resume it after each, and compare with a run that was not killed.

A process that has imported everything and computed nothing forks one child per attempt, so an attempt costs
what it trains. Every child dies by SIGKILL after a random time, up to the length of a whole run; the next one
resumes what it left. When a run is complete, its weights, history, log and files are compared with those of
the reference, and a new run begins.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import tempfile
import time
import zipfile
from functools import partial
from pathlib import Path

from bench_record import write_record

from ptycho_config import PyTorchExecutionConfig
from ptycho_torch.bundle import load_bundle
from ptycho_torch.config_factory import create_training_payload
from ptycho_torch.data.formats.npz import save_scan
from ptycho_torch.data.simulation.simulate import simulate_scene
from ptycho_torch.lightning.checkpoint_io import read_checkpoint
from ptycho_torch.workflows import train
from ptycho_torch.workflows.runs.directory import find_run

EPOCHS = 6
SETTINGS = {"nepochs": EPOCHS, "batch_size": 8, "n_filters_scale": 1, "n_groups": 40}
EXECUTION = {"accelerator": "cpu", "val_fraction": 0.2, "learning_rate": 3e-3, "scheduler": "WarmupCosine"}


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results/kill_and_resume.json")
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    try:
        record = _measure(folder, args.kills, random.Random(args.seed))
    finally:
        shutil.rmtree(folder)
    write_record(args.output, {"kills_asked": args.kills, "seed": args.seed, **record})
    print(json.dumps({name: value for name, value in record.items() if name != "moments"}, indent=2))


def _measure(folder: Path, n_kills: int, dice: random.Random) -> dict:
    scan = folder / "scan.npz"
    _in_child(lambda: save_scan(scan, simulate_scene("lines", N=32, grid=(7, 7), step_px=4.0, seed=3)))
    seconds = time.perf_counter()
    _in_child(lambda: _train(scan, folder / "reference", resume=False))
    seconds = time.perf_counter() - seconds
    expected = _in_child(lambda: _fingerprint(folder / "reference"))
    moments: list[dict] = []
    complete = identical = lost = corrupt = attempts = 0
    while len(moments) < n_kills:
        run, before = folder / f"run{complete}", 0
        while True:
            attempts += 1
            resume = find_run(run) is not None
            delay = dice.uniform(0.0, 1.1 * seconds)
            started = time.perf_counter()
            killed, _ = _run_child(partial(_train, scan, run, resume=resume), delay)
            state = _in_child(partial(_look, run))
            corrupt += state["corrupt"]
            lost += state["epochs"] < before
            before = state["epochs"]
            if killed:
                moments.append({"after_s": round(delay, 3), "complete_epochs": state["epochs"]})
            else:
                # On a busy machine the reference may have been slow; a kill after the end is none.
                seconds = min(seconds, time.perf_counter() - started) if not resume else seconds
                break
        complete += 1
        identical += _in_child(partial(_fingerprint, run)) == expected
        shutil.rmtree(run)
    return {
        "epochs": EPOCHS,
        "reference_s": round(seconds, 2),
        "kills": len(moments),
        "attempts": attempts,
        "complete_runs": complete,
        "identical_runs": identical,
        "corrupt_files": corrupt,
        "kills_that_lost_a_complete_epoch": lost,
        "moments": moments,
    }


def _train(scan: Path, output: Path, *, resume: bool) -> None:
    execution = PyTorchExecutionConfig(**EXECUTION)
    train(create_training_payload(scan, output, SETTINGS, execution), resume=resume)


def _look(run: Path) -> dict:
    """Complete epochs, and files that cannot be read."""
    epochs = corrupt = 0
    for path in run.rglob("*.ckpt"):
        try:
            epoch = read_checkpoint(path)["epoch"]
        except Exception:  # noqa: BLE001  whatever it is, it counts
            corrupt += 1
        else:
            epochs = epoch if path.name == "last.ckpt" else epochs
    for path in run.rglob("*.json"):
        corrupt += not _is_json(path)
    for path in run.rglob("wts.h5.zip"):
        corrupt += not zipfile.is_zipfile(path)
    return {"epochs": epochs, "corrupt": corrupt}


def _is_json(path: Path) -> bool:
    try:
        json.loads(path.read_text())
    except ValueError:
        return False
    return True


def _fingerprint(run: Path) -> dict:
    """What must not depend on kills: weights, history, log, names of files."""
    weights = hashlib.sha256()
    for name, value in load_bundle(run)[0].state_dict().items():
        weights.update(name.encode() + value.contiguous().numpy().tobytes())
    last = read_checkpoint(run / "checkpoints" / "last.ckpt")
    return {
        "weights": weights.hexdigest(),
        "history": last["callbacks"]["History"]["rows"],
        "log": (run / "logs" / "metrics.csv").read_text(),
        "files": sorted(str(path.relative_to(run)) for path in run.rglob("*")),
    }


def _in_child(work) -> dict | None:
    killed, answer = _run_child(work, None)
    assert not killed
    return answer


def _run_child(work, delay: float | None) -> tuple[bool, dict | None]:
    """Do something in a fork of this process and kill it after a time; returns whether that came first."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        code = 1
        try:
            with os.fdopen(writer, "w") as stream:
                json.dump(work(), stream)
            code = 0
        finally:
            os._exit(code)
    os.close(writer)
    if delay is not None:
        end = time.perf_counter() + delay
        while time.perf_counter() < end:
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                os.close(reader)
                _require_success(status)
                return False, None
            time.sleep(0.005)
        os.kill(child, signal.SIGKILL)
    with os.fdopen(reader) as stream:
        text = stream.read()
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return True, None
    _require_success(status)
    return False, json.loads(text)


def _require_success(status: int) -> None:
    if os.waitstatus_to_exitcode(status) != 0:
        raise SystemExit(f"a training failed with status {os.waitstatus_to_exitcode(status)}")


if __name__ == "__main__":
    main()
