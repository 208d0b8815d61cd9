"""What the contract tests share: a tiny scan, and a model trained on it through the calls of embedders.

Everything here and in the tests comes from public names: these tests hold what programs outside rely on.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ptycho_config import ModelConfig, PyTorchExecutionConfig, TrainingConfig
from ptycho_config.params import cfg
from ptycho_torch.data import Scan, save_scan
from ptycho_torch.data.simulation.simulate import simulate_scene
from ptycho_torch.workflows import run_cdi_example_torch

Run = tuple[Any, Any, dict[str, Any]]


@pytest.fixture(autouse=True)
def _legacy_dictionary_put_back() -> Iterator[None]:
    before = dict(cfg)
    yield
    cfg.clear()
    cfg.update(before)


@pytest.fixture(scope="session")
def scan() -> Scan:
    """30 frames of 32 x 32 counts, with the truth."""
    return simulate_scene("lines", N=32, grid=(5, 6), step_px=4.0, jitter_px=1.0, photons=1e5, seed=3)


@pytest.fixture(scope="session")
def scan_file(scan: Scan, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scan") / "scan.npz"
    save_scan(path, scan)
    return path


@pytest.fixture
def config(tmp_path: Path):
    """Settings of a tiny training in its own directory: ``config("name", nepochs=2)``."""

    def make(name: str = "run", **settings: Any) -> TrainingConfig:
        model = ModelConfig(n_filters_scale=1, **settings.pop("model", {}))
        stated = {"nepochs": 1, "batch_size": 8, "output_dir": tmp_path / name, **settings}
        return TrainingConfig(model=model, **stated)

    return make


@pytest.fixture
def cpu():
    """Execution settings on the CPU: ``cpu(learning_rate=1e-4)``."""

    def make(**stated: Any) -> PyTorchExecutionConfig:
        return PyTorchExecutionConfig(accelerator="cpu", **stated)

    return make


@pytest.fixture(scope="session")
def trained(scan: Scan, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Amplitude, phase and results of a training and a reconstruction; its directory is not to be changed."""
    config = TrainingConfig(
        model=ModelConfig(n_filters_scale=1),
        nepochs=3,
        batch_size=8,
        output_dir=tmp_path_factory.mktemp("trained") / "run",
    )
    execution = PyTorchExecutionConfig(accelerator="cpu", learning_rate=3e-3, val_fraction=0.2)
    before = dict(cfg)
    try:
        return run_cdi_example_torch(scan, scan, config, do_stitching=True, execution_config=execution)
    finally:
        cfg.clear()
        cfg.update(before)


@pytest.fixture(scope="session")
def bundle_dir(trained: Run) -> Path:
    return trained[2]["output_dir"]
