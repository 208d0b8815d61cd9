"""Two processes do the work of one."""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from ptycho_config import ConfigError, PyTorchExecutionConfig
from ptycho_torch.bundle import load_bundle
from ptycho_torch.data.formats.npz import save_scan
from ptycho_torch.data.simulation.simulate import simulate_scan, simulate_scene
from ptycho_torch.reassembly import Team
from ptycho_torch.workflows import train
from ptycho_torch.workflows.processes import distributed
from ptycho_torch.workflows.processes.device import count_devices
from ptycho_torch.workflows.processes.distributed import resolve_strategy

SCRIPT = Path(__file__).with_name("two_processes.py")
NODES = Path(__file__).with_name("two_nodes.py")
# Sums in another order differ in the last digits, and a few steps of training multiply that.
TOLD = {"MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "29500", "NODE_RANK": "0"}
LOSS, WEIGHT, OBJECT = 1e-4, 1e-4, 1e-3


@pytest.fixture(scope="module")
def wide_scan():
    """Frames that make an object of more bytes than a pipe between processes takes at once, 64 KiB."""
    return simulate_scene("lines", N=32, grid=(5, 6), step_px=12.0, jitter_px=1.0, photons=1e5, seed=3)


@pytest.fixture(scope="module")
def wide_scan_file(tmp_path_factory, wide_scan):
    path = tmp_path_factory.mktemp("wide") / "scan.npz"
    save_scan(path, wide_scan)
    return path


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("two_processes", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def alone(script, tmp_path_factory, wide_scan_file):
    folder = tmp_path_factory.mktemp("alone")
    script.run(str(wide_scan_file), folder, 1, "ddp")
    return folder


@pytest.fixture(scope="module")
def folder_of_two(tmp_path_factory, wide_scan):
    """The wide scan, and its object seen with another probe."""
    folder = tmp_path_factory.mktemp("two")
    y, x = np.mgrid[-16:16, -16:16]
    probe = (wide_scan.probe * np.exp(1j * (0.25 * x + 0.02 * y**2))).astype(np.complex64)
    other = simulate_scan(wide_scan.object_truth, probe, wide_scan.positions, photons=1e5, seed=5)
    save_scan(folder / "a.npz", wide_scan)
    save_scan(folder / "b.npz", other)
    return folder


@pytest.fixture(scope="module")
def alone_on_two(script, tmp_path_factory, folder_of_two):
    folder = tmp_path_factory.mktemp("alone")
    script.run(str(folder_of_two), folder, 1, "auto")
    return folder


def run_script(*arguments, **shell):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", **shell}
    run = subprocess.run(
        [sys.executable, *map(str, arguments)],
        capture_output=True, text=True, env=environment, timeout=500, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    return run.stderr


def assert_same_results(folder, alone):
    ours, theirs = (json.loads((place / "summary.json").read_text()) for place in (folder, alone))
    assert len(ours["history"]) == len(theirs["history"]) == 2
    for row, expected in zip(ours["history"], theirs["history"], strict=True):
        assert row == pytest.approx(expected, rel=LOSS)
    assert ours["heard"]["train"][-1] == theirs["heard"]["train"][-1] == [8, 8]
    assert ours["heard"]["infer"][-1] == theirs["heard"]["infer"][-1] == [30, 30]
    assert ours["residual"] == pytest.approx(theirs["residual"], rel=LOSS)
    assert ours["verdicts"] == theirs["verdicts"]
    ours, theirs = (load_bundle(place / "run")[0].state_dict() for place in (folder, alone))
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, rtol=WEIGHT, atol=WEIGHT)
    ours, theirs = (np.load(place / "result" / "reconstruction.npz") for place in (folder, alone))
    assert theirs["object"].nbytes + theirs["weight"].nbytes > 64 * 1024
    np.testing.assert_allclose(ours["object"], theirs["object"], atol=OBJECT)
    np.testing.assert_allclose(ours["weight"], theirs["weight"], rtol=1e-5, atol=1e-6)
    assert _files(folder) == _files(alone)
    log = [(place / "run" / "logs" / "metrics.csv").read_text() for place in (folder, alone)]
    assert len(log[0].splitlines()) == len(log[1].splitlines())


def _files(folder):
    """Names of all results; what was cancelled has left none."""
    assert not (folder / "cancelled").exists()
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.suffix != ".txt")


def assert_both_were_cancelled(folder):
    """One process asked to stop, and both did."""
    said = {path.name: path.read_text() for path in folder.glob("*.txt")}
    assert said == {
        **{f"training{number}.txt": "last.ckpt" for number in (0, 1)},
        **{f"reconstruction{number}.txt": "nothing" for number in (0, 1)},
    }


@pytest.mark.rule("RUN-060", "RUN-061", "RUN-062", "RUN-063", "RUN-066", "RUN-067")
@pytest.mark.parametrize("strategy", ["ddp", "ddp_spawn"])
def test_two_processes_give_the_result_of_one(strategy, alone, wide_scan_file, tmp_path):
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        # Another run meets there, as it does where a port was put into the shell and both take it.
        port = str(taken.getsockname()[1])
        said = run_script(SCRIPT, wide_scan_file, tmp_path, 2, strategy, MASTER_PORT=port)
    assert "process 2 of 2 has joined" in said
    assert "GLOBAL_RANK" not in said, "Lightning's own words"
    assert_same_results(tmp_path, alone)
    if strategy == "ddp":
        assert_both_were_cancelled(tmp_path)


@pytest.mark.rule("RUN-065")
def test_two_nodes_give_the_result_of_one(alone, wide_scan_file, alone_on_two, folder_of_two, tmp_path):
    said = run_script(NODES, tmp_path, "torchrun", wide_scan_file, "slurm", folder_of_two)
    # Each launcher starts a script that trains twice.
    assert said.count("process 2 of 2 has joined") == 4
    assert_same_results(tmp_path / "torchrun", alone)
    # A batch is of one scan, and no process has a gradient for the probe of the other.
    assert_same_results(tmp_path / "slurm", alone_on_two)
    probes = [load_bundle(alone_on_two / "run")[0].on(number).physics for number in (0, 1)]
    assert all(not torch.equal(probe.probe_modes, probe.probe_given) for probe in probes)
    for launcher in ("torchrun", "slurm"):
        assert_both_were_cancelled(tmp_path / launcher)


@pytest.mark.rule("RUN-064")
@pytest.mark.parametrize(
    ("stated", "accelerator", "environment", "devices", "strategy"),
    [
        ({}, "cpu", {}, 1, "auto"),
        ({}, "cuda", {}, 1, "auto"),
        ({"devices": 3}, "cuda", {}, 3, "auto"),
        ({"devices": 1, "strategy": "ddp"}, "cpu", {}, 1, "auto"),
        ({"strategy": "ddp"}, "cpu", {}, 1, "auto"),
        ({"strategy": "ddp"}, "cuda", {}, 4, "ddp"),
        ({"num_nodes": 2}, "cuda", TOLD, 4, "auto"),
        ({"num_nodes": 2}, "cpu", TOLD, 1, "auto"),
        ({}, "cpu", {"LOCAL_WORLD_SIZE": "4"}, 4, "auto"),
    ],
)
def test_how_many_processes_a_run_has(stated, accelerator, environment, devices, strategy, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    execution = PyTorchExecutionConfig(**stated)
    assert count_devices(execution, accelerator) == devices
    assert resolve_strategy(execution, accelerator) == strategy


@pytest.mark.parametrize("joins", [True, False])
@pytest.mark.parametrize(("accelerator", "asked"), [("mps", 2), ("cuda", 5)])
def test_more_devices_than_there_are_are_refused(accelerator, asked, joins, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    with pytest.raises(ConfigError) as caught:
        count_devices(PyTorchExecutionConfig(devices=asked), accelerator, joins=joins)
    assert [(problem.field, problem.value) for problem in caught.value.problems] == [("devices", asked)]


def test_a_job_that_starts_its_own_processes_joins_no_others(monkeypatch):
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert count_devices(PyTorchExecutionConfig(strategy="ddp"), "cuda", joins=False) == 1
    assert count_devices(PyTorchExecutionConfig(devices=3), "cuda", joins=False) == 3


def test_parameters_without_a_gradient_are_looked_for_where_there_may_be_some():
    execution = PyTorchExecutionConfig(devices=2, strategy="ddp_spawn")
    assert resolve_strategy(execution, "cpu", partly_used=True) == "ddp_spawn_find_unused_parameters_true"


@pytest.mark.rule("RUN-064")
@pytest.mark.parametrize("strategy", ["fsdp", "ddq"])
def test_a_strategy_that_cannot_be_is_refused_before_anything_is_written(payload, tmp_path, strategy):
    with pytest.raises(
        ConfigError,
        check=lambda error: error.fields == ("strategy",) and error.problems[0].value == strategy,
    ):
        train(payload(execution={"devices": 2, "strategy": strategy}))
    assert not (tmp_path / "run").exists()


def test_one_process_is_the_first_and_waits_for_nobody():
    assert Team.joined() == Team()
    assert distributed.is_first_process()
    assert distributed.from_first_process(lambda: 5) == 5
