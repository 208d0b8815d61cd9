"""Where the documents lie, and small data for the examples in them."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from pages import blocks
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
    from ptycho_torch.data.simulation.simulate import simulate_scene
    from ptycho_torch.workflows import train

    folder = tmp_path_factory.mktemp("workshop")
    for seed, name in enumerate(("scan.npz", "next.npz")):
        save_scan(folder / name, simulate_scene("lines", N=32, grid=(6, 6), seed=seed))
    overrides = {"nepochs": 1, "accelerator": "cpu"}
    train(create_training_payload(folder / "scan.npz", folder / "run", overrides=overrides))
    return folder


def _take_apart(folder: Path) -> None:
    """Frames, positions and probe of the scan in files of their own, with pixels of 57.4 nm."""
    with np.load(folder / "scan.npz") as scan:
        np.save(folder / "frames.npy", scan["diff3d"])
        np.save(folder / "probe.npy", scan["probeGuess"])
        micrometres = np.stack([scan["xcoords"], scan["ycoords"]], axis=1) * 5.74e-2
    np.savetxt(folder / "positions.csv", micrometres, delimiter=",", header="x_um,y_um", comments="")


@pytest.fixture(scope="session")
def shop(workshop: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The workshop, and every other file that a command line in the pages names as if it were there."""
    from ptycho_torch.data.convert import convert

    folder = tmp_path_factory.mktemp("shop") / "shop"
    shutil.copytree(workshop, folder)
    for copy in ("monday.npz", "tuesday.npz", "truth.npz", "scans/a.npz", "scans/b.npz"):
        (folder / copy).parent.mkdir(exist_ok=True)
        shutil.copy(folder / ("next.npz" if "b.npz" in copy else "scan.npz"), folder / copy)
    optics = {
        "photon_energy_eV": 9000.0, "detector_object_distance_m": 2.0,
        "detector_pixel_width_m": 75e-6, "detector_pixel_height_m": 75e-6,
    }  # fmt: skip
    for target in ("pair", "beamline", "scan.cxi", "scan.h5"):
        convert(folder / "scan.npz", folder / target, metadata=optics)
    _take_apart(folder)
    [reader] = [block for block in blocks("docs/formats.md", "python") if block.startswith("READER = ")]
    (folder / "instrument.py").write_text(reader.split("'''")[1], encoding="utf-8")
    (folder / "scan.raw").write_bytes(b"INSTRUMENT" + (folder / "scan.npz").read_bytes())
    (folder / "run.yaml").write_text(blocks("docs/configuration.md", "yaml")[0], encoding="utf-8")
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
