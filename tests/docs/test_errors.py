"""The page of errors: every message in it is provoked, and no message is left out of the provocations."""

from __future__ import annotations

import errno
import importlib
import json
import os
import sys

import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from provoking import rows, sections

import ptycho_torch
from ptycho_config import ConfigError
from ptycho_torch import mainguard
from ptycho_torch.config_factory import create_inference_payload, create_training_payload
from ptycho_torch.control import RunCancelled
from ptycho_torch.data.convert import convert
from ptycho_torch.data.formats.npz import save_scan
from ptycho_torch.data.simulation.simulate import simulate_scene
from ptycho_torch.workflows import (
    ProcessDied,
    ResultsIncomplete,
    TrainingFailed,
    TrainingInterrupted,
    infer,
    train,
)
from ptycho_torch.workflows.processes import device
from ptycho_torch.workflows.processes.beside import beside
from ptycho_torch.workflows.runs.lock import held_lock

SETTINGS = {
    "a known setting": lambda b: b.train("--set nepoch=3"),
    "it belongs to …, which has no effect here": lambda b: b.infer("--set nepochs=3"),
    "keep one of them in …": lambda b: b.train(b.config("nepochs: 3\nmax_epochs: 4")),
    "which the profile … locks": lambda b: b.train("--profile reference_cnn --architecture unrolled"),
    ", which the data say": lambda b: b.infer("--set model.gridsize=2"),
    "frames can be cropped to a smaller N, never enlarged": lambda b: b.train("--N 64"),
    "state it with …": "ptycho-torch train --output-dir out",
    "at least one loss weight greater than 0": lambda b: b.train("--nll-weight 0 --mae-weight 0"),
    "False while num_workers = 0": lambda b: b.train("--persistent-workers --num-workers 0"),
    "a script that starts its work under": lambda b: (
        b.patch.setattr(mainguard, "_is_run_again", lambda main: True),
        b.patch.setattr(mainguard, "_is_guarded", lambda main: False),
        b.train("--num-workers 1"),
    ),
    "TPUs are not supported": "ptycho-torch train --accelerator tpu",
    "a device that is there": lambda b: (
        b.patch.setattr(torch.cuda, "is_available", lambda: False),
        b.train("--accelerator cuda"),
    ),
    "makes groups of … frames": lambda b: b.train("--gridsize 3 --neighbor-count 4"),
    "a group is … frames of one scan": lambda b: b.train("--gridsize 2", scan=_three_frames(b)),
    "distinct groups, one per frame": lambda b: b.train("--gridsize 2 --n-groups 36 --n-subsample 30"),
    "the directory of a run of train, with its resolved_config.json, to resume": lambda b: b.train(
        "--resume"
    ),
    "a logger that is installed": lambda b: (
        b.patch.setattr("ptycho_torch.lightning.loggers.mlflow._is_installed", lambda: False),
        b.train("--logger mlflow"),
    ),
    "this package runs on PyTorch": lambda b: b.train("--set backend=tensorflow"),
    "the frames in the scan": lambda b: b.train("--n-subsample 1000"),
    "a loss term is logged when its weight is above 0": lambda b: b.train("--checkpoint-monitor elsewhere"),
    "a file that is not an input": lambda b: convert("scan.npz", "scan.npz", overwrite=True),
    "a directory without the results of another run": lambda b: b.train("--output-dir run"),
    "replaces only what a run of … has recorded as its own": lambda b: (
        b.write("mine/checkpoints", "mine"),
        b.train("--output-dir mine --overwrite"),
    ),
    "holds nothing that no run of … recorded": lambda b: (
        b.write("mine/incomplete-train/thesis", "mine"),
        b.train("--output-dir mine"),
    ),
    "records that runs wrote": lambda b: (
        b.write("run/.run-train.json", "{}"),
        b.train("--output-dir run --overwrite"),
    ),
    "in it is a link": lambda b: (
        b.write("mine/notes", "mine"),
        (b.folder / "mine" / "incomplete-train").symlink_to(b.folder),
        b.train("--output-dir mine"),
    ),
    "is at work there": lambda b: _beside_another_run(b),
    "may be at work there": lambda b: (
        b.write("mine/.run.lock", '{"pid": 3, "host": "elsewhere.example", "command": "train"}'),
        b.train("--output-dir mine"),
    ),
    "this is a file; choose another": lambda b: b.train("--output-dir scan.npz"),
    "a writable place": lambda b: (
        b.patch.setattr(os, "access", lambda path, mode: False),
        b.train(),
    ),
    "the size of the model in": lambda b: b.infer("--set model.N=64"),
    "a value in one place": lambda b: create_training_payload(
        "scan.npz", "out", overrides={"output_dir": "elsewhere"}
    ),
    "bf16-mixed or 32-true on the CPU": lambda b: b.train("--precision 16-mixed"),
    "a working compiler for torch.compile": lambda b: (
        b.patch.setattr(device, "compiler_failure", lambda accelerator: "no C++ compiler"),
        b.train("--set compile=true"),
    ),
    ", as the run in … was started": lambda b: b.train("--output-dir run --resume --batch-size 5"),
    "the data that the run was started with": lambda b: b.train(
        "--output-dir run --resume", scan=b.edited(diff3d=2 * b.arrays()["diff3d"].astype(int))
    ),
    "a checkpoint that train wrote": lambda b: (
        b.write("run/checkpoints/last.ckpt", "torn"),
        b.train("--output-dir run --resume"),
    ),
    "optuna, which proposes trials": lambda b: (
        b.patch.setitem(sys.modules, "optuna", None),
        _tune(b),
    ),
    "the scan that the search was started with": lambda b: (
        _tune(b),
        _tune(b, "--resume", scan=b.edited(diff3d=b.arrays()["diff3d"][::-1])),
    ),
    "the record of a search": lambda b: (_tune(b), b.write("tuned/trials.json", "{}"), _tune(b, "--resume")),
    "something to choose that is not stated": lambda b: _tune(b, "--refine-dose"),
    "another scan to tune": lambda b: _tune(b, scan=_three_frames(b)),
    "did you mean": lambda b: b.train("--set learning_rat=1e-3"),
    "one frame size": lambda b: b.train(scan=f"scan.npz {_larger_frames(b)}"),
    "one for each scan": lambda b: b.train("--n-groups 1", scan=f"scan.npz {b.edited()}"),
    "is in the list twice": lambda b: b.train(scan="scan.npz scan.npz"),
    "auto, ddp or ddp_spawn on the CPU": lambda b: b.train("--strategy fsdp --devices 2"),
    "auto, ddp, ddp_spawn or another of Lightning": lambda b: b.train("--strategy sideways"),
    "off where several processes share the patches": lambda b: b.infer("--devices 2 --set debug=true"),
    "ask for it with --refine N": lambda b: b.infer("--refine-probe"),
    "a configuration file ending in": lambda b: b.train(b.config("nepochs = 3", ".ini")),
    "is given twice": lambda b: b.train(b.config("N: 32\nN: 64")),
    "one of the sections": lambda b: b.train(b.config("modell:\n  N: 32")),
}


def _with_a_gap(frames):
    wide = frames.astype(np.int32)
    wide[:, 3] = -1
    return wide


def _with_an_empty_frame(frames):
    dark = frames.copy()
    dark[2] = 0
    return dark


def _tune(bench, flags: str = "", scan: str = "scan.npz") -> None:
    few = "--choose dose --trials 1 --epochs 1 --refine-warm-up 0 --accelerator cpu --quiet"
    bench.cli(f"ptycho-torch tune --data {scan} --output-dir tuned {few} {flags}")


def _three_frames(bench) -> str:
    arrays = bench.arrays()
    n_frames = len(arrays["xcoords"])
    return bench.edited(
        **{name: array[:3] for name, array in arrays.items() if array.shape[:1] == (n_frames,)}
    )


FILES = {
    "no such file": "ptycho-torch inspect absent.npz",
    "is a directory, expected a file": lambda b: create_training_payload(
        "scan.npz", "out", config_file="run"
    ),
    "exists already; give another target or ask to overwrite": lambda b: b.cli(
        f"ptycho-torch convert scan.npz {b.write('there.npz', b'')}"
    ),
    "give the name of a file": lambda b: _save_over_a_directory(b),
}

USAGE = {
    "unknown command": "ptycho-torch trian",
    "a command is missing": "ptycho-torch --debug",
    "unknown flag": "ptycho-torch inspect scan.npz --fast",
    "FILE: missing": "ptycho-torch inspect",
    "expected one argument": "ptycho-torch train --output-dir",
    "there is no such file": "ptycho-torch evaluate absent.npz scan.npz",
    "it exists; --overwrite replaces it": lambda b: b.cli(
        f"ptycho-torch inspect scan.npz --plot {b.write('scan.png', 'drawn')}"
    ),
    "a file in a folder that exists": "ptycho-torch inspect scan.npz --plot absent/scan.png",
    "exists already; give another target": "ptycho-torch simulate --output scan.npz",
    "no such directory; create it": "ptycho-torch simulate --output absent/scan.npz",
    "rows and columns, such as 20,20": "ptycho-torch simulate --output out.npz --grid 20",
    "keep one of them": lambda b: b.train("--resume --overwrite"),
}

RUNS = {
    "lower the … learning rate or set a gradient clip value": lambda b: _train_with(_Poison()),
    "training ended before the first epoch was complete": lambda b: b.train("--max-time 00:00:00:00"),
    "training was interrupted": lambda b: _train_with(_Impatient()),
    "what was written before is whole: mend that and resume": lambda b: _train_with(_FullDisk()),
    "the training was cancelled": lambda b: train(
        create_training_payload("scan.npz", "out", overrides=_BRIEF), should_stop=lambda: True
    ),
    "the reconstruction was cancelled": lambda b: infer(
        create_inference_payload("run", "scan.npz", "out", overrides=_ON_THE_CPU), should_stop=lambda: True
    ),
    "not all results could be written": lambda b: infer(
        create_inference_payload("run", "scan.npz", "out", overrides=_ON_THE_CPU),
        progress=lambda done, total: done < total or _lead_nowhere(b.folder / "out"),
    ),
    "ended before the work was done": lambda b: _lose_a_process(),
}

_SMALL = "--n-groups 4 --n-filters-scale 1 --disable-checkpointing --logger none"
WARNINGS = {
    "the network predicts a nearly flat object": lambda b: b.train(
        f"{_SMALL} --nepochs 6 --learning-rate 1e-30"
    ),
    "expected a number": lambda b: _infer(b, scan=_steep(b)),
    "the metadata of the scan do not say": lambda b: _infer(b),
    "POLICY-001: no GPU found, running on the CPU": lambda b: (
        b.patch.setattr(torch.cuda, "is_available", lambda: False),
        b.patch.setattr(torch.backends.mps, "is_available", lambda: False),
        device.resolve_accelerator("auto"),
    ),
    "POLICY-001: ptycho_torch needs PyTorch": lambda b: (
        b.patch.setattr("importlib.util.find_spec", lambda name, package=None: None),
        importlib.reload(ptycho_torch),
    ),
    "frames and probe are cropped around the centre": lambda b: b.train(
        f"{_SMALL} --N 32", scan=_larger_frames(b)
    ),
    "the probe of this scan is not among those of the training": lambda b: _infer(
        b, b.edited(probeGuess=b.arrays()["probeGuess"] * np.exp(0.3j * np.arange(32)))
    ),
    "the intensity scale is taken from this scan": lambda b: _infer(
        b, b.edited(diff3d=4 * b.arrays()["diff3d"].astype(int))
    ),
    "which is a guess": lambda b: b.read_edited(
        diff3d=np.random.default_rng(0).random(b.arrays()["diff3d"].shape) + 1, _metadata=None
    ),
    "they count as not measured": lambda b: b.read_edited(diff3d=_with_a_gap(b.arrays()["diff3d"])),
    "they are left out": lambda b: b.read_edited(diff3d=_with_an_empty_frame(b.arrays()["diff3d"])),
    "not compared with the known object": lambda b: _infer(b, _three_frames(b)),
    "the bundle holds the weights of the last epoch": lambda b: b.train(_SMALL),
    "is deprecated, use": "ptycho-torch infer --model-path run --test-data scan.npz --device cpu --dry-run",
}


def _beside_another_run(b):
    with held_lock(b.folder / "run", "infer"):
        b.train("--output-dir run --overwrite")


_ON_THE_CPU = {"accelerator": "cpu"}
_BRIEF = {"nepochs": 1, **_ON_THE_CPU}


def _infer(bench, scan="scan.npz", **settings) -> None:
    infer(create_inference_payload("run", scan, "out", overrides={**_ON_THE_CPU, **settings}))


def _larger_frames(bench) -> str:
    save_scan("large.npz", simulate_scene("lines", N=64, grid=(4, 4), seed=0))
    return "large.npz"


def _save_over_a_directory(bench) -> None:
    (bench.folder / "taken.npz").mkdir()
    save_scan("taken.npz", simulate_scene("lines", N=32, grid=(2, 2), seed=0))


class _Impatient(Callback):
    def on_train_batch_end(self, *_) -> None:
        raise KeyboardInterrupt


class _Poison(Callback):
    def on_train_start(self, trainer, module) -> None:
        with torch.no_grad():
            next(iter(module.model.generator.parameters())).fill_(float("nan"))


class _FullDisk(Callback):
    def on_train_batch_end(self, *_) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class _DiesOnArrival:
    def __reduce__(self):
        return os._exit, (9,)


def _lead_nowhere(folder) -> None:
    [work] = [path for path in folder.iterdir() if path.is_dir()]
    (work / "phase.png").symlink_to(folder / "absent" / "phase.png")


def _lose_a_process() -> None:
    with beside(2, "cpu", print, (_DiesOnArrival(),)):
        pass


def _steep(bench) -> str:
    optics = {"photon_energy_eV": 8e3, "detector_object_distance_m": 2.0}
    pixels = {"detector_pixel_height_m": 75e-6, "detector_pixel_width_m": 75e-6}
    return bench.edited(_metadata=json.dumps({**optics, **pixels, "tilt_angle_deg": "steep"}))


def _train_with(callback: Callback) -> None:
    train(create_training_payload("scan.npz", "out", overrides=_BRIEF), callbacks=[callback])


_ENDS = (TrainingFailed, TrainingInterrupted, RunCancelled, ResultsIncomplete, ProcessDied, OSError)
TABLES = {
    "Settings: `ConfigError`": (SETTINGS, ConfigError, 2),
    "Usage": (USAGE, ConfigError, 2),
    "Files": (FILES, OSError, 2),
    "Runs": (RUNS, _ENDS, 1),
    "Warnings": (WARNINGS, RuntimeError, 0),
}


@pytest.mark.parametrize(
    ("section", "message"), [(name, message) for name, (table, *_) in TABLES.items() for message in table]
)
def test_message_is_said(bench, section, message):
    table, kinds, code = TABLES[section]
    heard = bench.provoke(table[message])
    assert heard.says(message), heard.text
    assert isinstance(heard.error, kinds | type(None) if isinstance(kinds, type) else (*kinds, type(None)))
    assert heard.code in (None, code)
    if section != "Warnings":
        assert not (bench.folder / "out" / "wts.h5.zip").exists()


@pytest.mark.parametrize("section", TABLES)
def test_page_and_provocations_agree(section):
    assert rows(section) == list(TABLES[section][0])


def test_every_table_of_the_page_is_provoked():
    assert sections() == [
        "Usage", "Settings: `ConfigError`", "Files", "Scans: `DataError`", "Arrays in memory: `ShapeError`",
        "Bundles: `BundleError`", "Runs", "Warnings",
    ]  # fmt: skip
