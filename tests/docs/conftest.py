"""Where the documents lie, and small data for the examples in them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from provoking import Bench

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two scans of 32 px, `scan.npz` and `next.npz`, and a model in `run`."""
    from ptycho_torch.config_factory import create_training_payload
    from ptycho_torch.data import save_scan
    from ptycho_torch.data.simulate import simulate_scene
    from ptycho_torch.workflows import train

    folder = tmp_path_factory.mktemp("workshop")
    for seed, name in enumerate(("scan.npz", "next.npz")):
        save_scan(folder / name, simulate_scene("lines", N=32, grid=(6, 6), seed=seed))
    overrides = {"nepochs": 1, "accelerator": "cpu"}
    train(create_training_payload(folder / "scan.npz", folder / "run", overrides=overrides))
    return folder


@pytest.fixture
def desk(workshop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory; `bring` of the test module copies things of the workshop into it."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def bring(workshop: Path, desk: Path):
    """Copy a file or folder of the workshop to the working directory."""

    def copy(name: str) -> None:
        source = workshop / name
        if source.is_dir():
            shutil.copytree(source, desk / name)
        else:
            shutil.copy(source, desk / name)

    return copy


@pytest.fixture
def bench(
    workshop: Path, desk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Bench:
    """A working directory with a scan and a model, where things are made to go wrong."""
    made = Bench(desk, monkeypatch, lambda: "".join(capsys.readouterr()))
    made.take(workshop)
    return made
