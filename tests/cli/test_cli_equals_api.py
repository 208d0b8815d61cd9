"""The command line adds nothing to a run and takes nothing away: the same settings give the same numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from ptycho_config import PyTorchExecutionConfig
from ptycho_torch.bundle import load_bundle
from ptycho_torch.config_factory import create_inference_payload, create_training_payload
from ptycho_torch.data import save_scan
from ptycho_torch.data.simulation.simulate import simulate_scene
from ptycho_torch.workflows import infer, train
from ptycho_torch_cli.__main__ import main

CPU = PyTorchExecutionConfig(accelerator="cpu")


@pytest.fixture(scope="module")
def scan_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "scan.npz"
    save_scan(path, simulate_scene("natural", N=32, grid=(6, 5), photons=1e5, seed=9))
    return path


@pytest.fixture(scope="module")
def by_command(scan_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("command")
    data = str(scan_file)
    flags = ["--accelerator", "cpu", "--quiet"]
    model, result = str(folder / "model"), str(folder / "result")
    settings = ["--train-data-file", data, "--output-dir", model, "--nepochs", "2", "--seed", "3"]
    assert main(["train", *settings, *flags]) == 0
    assert main(["infer", "--model-path", model, "--test-data", data, "--output-dir", result, *flags]) == 0
    return folder


@pytest.fixture(scope="module")
def by_api(scan_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("api")
    wanted = {"nepochs": 2, "seed": 3}
    train(create_training_payload(scan_file, folder / "model", wanted, CPU))
    infer(create_inference_payload(folder / "model", scan_file, folder / "result", None, CPU))
    return folder


@pytest.mark.rule("CFG-040", "CLI-017")
def test_same_weights(by_command: Path, by_api: Path) -> None:
    ours, theirs = (load_bundle(folder / "model")[0].state_dict() for folder in (by_command, by_api))
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert torch.equal(value, theirs[name]), name


@pytest.mark.rule("CLI-017")
def test_same_object(by_command: Path, by_api: Path) -> None:
    files = [folder / "result" / "reconstruction.npz" for folder in (by_command, by_api)]
    with np.load(files[0]) as ours, np.load(files[1]) as theirs:
        for key in ("object", "weight", "origin"):
            np.testing.assert_array_equal(ours[key], theirs[key])


@pytest.mark.rule("RUN-001")
def test_same_files(by_command: Path, by_api: Path) -> None:
    def names(folder: Path) -> set[str]:
        return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}

    assert names(by_command) == names(by_api)
