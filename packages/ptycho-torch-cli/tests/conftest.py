"""A tiny simulated scan and a model trained on it for one epoch, made once."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ptycho_torch_cli import inference, train

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def scan_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from ptycho_torch.data import save_scan
    from ptycho_torch.data.simulation.simulate import simulate_scene

    path = tmp_path_factory.mktemp("data") / "scan.npz"
    save_scan(path, simulate_scene("lines", N=32, grid=(6, 5), photons=1e5, seed=5))
    return path


@pytest.fixture(scope="session")
def model_dir(scan_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained") / "model"
    argv = ["--train-data-file", str(scan_file), "--output-dir", str(folder), "--nepochs", "1"]
    assert train.main([*argv, "--accelerator", "cpu", "--quiet"]) == 0
    return folder


@pytest.fixture(scope="session")
def result_dir(scan_file: Path, model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inferred") / "result"
    argv = ["--model-path", str(model_dir), "--test-data", str(scan_file), "--output-dir", str(folder)]
    assert inference.main([*argv, "--accelerator", "cpu", "--quiet"]) == 0
    return folder


@pytest.fixture
def edited_scan(scan_file: Path, tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes the scan again with arrays replaced, or left out when None."""

    def edit(**changes: np.ndarray | None) -> Path:
        with np.load(scan_file) as archive:
            arrays = {key: archive[key] for key in archive.files}
        arrays.update({key: value for key, value in changes.items() if value is not None})
        path = tmp_path / "edited.npz"
        np.savez(path, **{key: a for key, a in arrays.items() if changes.get(key, a) is not None})
        return path

    return edit


@pytest.fixture
def diffraction(scan_file: Path) -> np.ndarray:
    with np.load(scan_file) as archive:
        return archive["diff3d"]


@pytest.fixture
def ptycho_torch() -> Command:
    """Return a function that runs ``python -m MODULE ARGUMENTS`` in a fresh process."""

    def run(*arguments: str, module: str = "ptycho_torch_cli", **options: object) -> object:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
        return subprocess.run(
            [sys.executable, "-m", module, *arguments],
            capture_output=True, text=True, check=False, env=environment, timeout=120, **options,
        )  # fmt: skip

    return run
