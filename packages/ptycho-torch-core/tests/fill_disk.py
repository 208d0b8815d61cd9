"""Let every writer of the package write into a folder that has room for so many bytes; started by a test.

Each line of the output is a JSON list: writer, room, and what came of it: ``written``, or number and text of
the ``OSError``, then what is left in the folder.
"""

from __future__ import annotations

import json
import resource
import shutil
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from ptycho_config import ModelConfig, to_dict
from ptycho_torch.atomic import atomic_write
from ptycho_torch.bundle import save_bundle
from ptycho_torch.data.convert import write_scan
from ptycho_torch.data.format_registry import writable_formats
from ptycho_torch.data.hdf5.product import save_product
from ptycho_torch.data.scan.contract import Scan
from ptycho_torch.data.scan.example import example_scan
from ptycho_torch.data.simulation.simulate import simulate_scene
from ptycho_torch.html_report import write_html_report
from ptycho_torch.lightning.checkpoint_io import AtomicCheckpointIO
from ptycho_torch.models import build_patch_model
from ptycho_torch.physics import calibrate
from ptycho_torch.plotting import save_object_figures
from ptycho_torch.reassembly import StitchedObject
from ptycho_torch.results import save_reconstruction

ROOMS = (0, 300, 2_500, 9_000, 40_000, 150_000)


def writers(elsewhere: Path) -> dict[str, Callable[[Path], object]]:
    scan = simulate_scene(N=32, grid=(12, 12), photons=1e4)
    scan = replace(scan, metadata={**scan.metadata, **example_scan().metadata})
    found: dict[str, Callable[[Path], object]] = {
        f"scan {format.name}": lambda folder, f=format: write_scan(
            folder / f"scan{f.targets[0]}", scan, format=f.name
        )
        for format in writable_formats()
    }
    return found | results(scan, elsewhere)


def results(scan: Scan, elsewhere: Path) -> dict[str, Callable[[Path], object]]:
    noise = np.random.default_rng(0).normal(size=(2, 150, 150))
    image = StitchedObject(
        object=(noise[0] + 1j * noise[1]).astype(np.complex64),
        weight=noise[0].astype(np.float32) ** 2,
        origin=np.zeros(2),
    )
    given = {"positions": scan.positions, "probe": scan.probe}
    model = build_patch_model(ModelConfig(N=32), calibrate(torch.from_numpy(scan.probe), 1e4))
    record = {"command": [], "provenance": {}, "notes": ["word " * 40_000], "versions": {}}
    (elsewhere / "resolved_config.json").write_text(json.dumps(record))

    def report(folder: Path) -> None:
        page = elsewhere / "report.html"
        page.unlink(missing_ok=True)
        page.symlink_to(folder / "report.html")
        write_html_report(elsewhere, title="run", facts=[], pictures=[])

    def table(folder: Path) -> None:
        with atomic_write(folder / "metrics.json", "w") as stream:
            json.dump(list(range(40_000)), stream)

    return {
        "bundle": lambda folder: save_bundle(
            folder / "w.zip", model, {"model": to_dict(ModelConfig(N=32))}, {}
        ),
        "checkpoint": lambda folder: AtomicCheckpointIO().save_checkpoint(
            {"state_dict": model.state_dict()}, folder / "last.ckpt"
        ),
        "reconstruction": lambda folder: save_reconstruction(
            folder / "r.npz", image, configuration={}, **given
        ),
        "product": lambda folder: save_product(folder / "r.h5", image, metadata=scan.metadata, **given),
        "pictures": lambda folder: save_object_figures(folder, image.object, image.weight, image.origin),
        "page": report,
        "table": table,
    }


def attempt(write: Callable[[Path], object], folder: Path) -> list[object]:
    try:
        write(folder)
    except OSError as error:
        return [error.errno, str(error)]
    return ["written"]


def main(place: Path, elsewhere: Path, *, by_limit: bool) -> None:
    warnings.simplefilter("ignore")
    for name, write in writers(elsewhere).items():
        write(elsewhere)  # loads what is loaded late, which may write caches
        for room in ROOMS if by_limit else (None,):
            shutil.rmtree(place / "out", ignore_errors=True)
            (place / "out").mkdir()
            if room is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))
            outcome = attempt(write, place / "out")
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            left = sorted(path.name for path in (place / "out").rglob("*"))
            print(json.dumps([name, room, outcome, left]), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), by_limit=sys.argv[3] == "limit")
