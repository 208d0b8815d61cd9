"""Train, save, load, reconstruct, each in an interpreter of its own, as a beamline program would."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

TRAIN = """
import numpy as np
from ptycho_config import ModelConfig, PyTorchExecutionConfig, TrainingConfig
from ptycho_torch.workflows import run_cdi_example_torch, save_outputs

with np.load("scan.npz") as arrays:
    amplitude, phase, results = run_cdi_example_torch(
        arrays,
        arrays,
        TrainingConfig(model=ModelConfig(n_filters_scale=1), nepochs=6, batch_size=6, output_dir="run"),
        do_stitching=True,
        execution_config=PyTorchExecutionConfig(accelerator="cpu", learning_rate=3e-3),
    )
save_outputs(amplitude, phase, results, "run")
assert results["backend"] == "pytorch"
"""

LOAD = """
import numpy as np
from ptycho_torch.workflows import load_inference_bundle_torch, reconstruct

models, config = load_inference_bundle_torch("run")
assert config["N"] == 32
with np.load("scan.npz") as arrays:
    stitched = reconstruct(models["diffraction_to_obj"], arrays, batch_size=6)
np.savez("again.npz", object=stitched.object, origin=stitched.origin)
"""


@pytest.fixture(scope="module")
def folder(scan_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("end-to-end")
    (place / "scan.npz").write_bytes(scan_file.read_bytes())
    for source in (TRAIN, LOAD):
        done = subprocess.run(
            [sys.executable, "-W", "error::UserWarning", "-c", source],
            cwd=place, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    return place


def test_files_are_where_they_were_asked_for_and_nowhere_else(folder: Path) -> None:
    assert {path.name for path in folder.iterdir()} == {"scan.npz", "run", "again.npz"}
    assert {"wts.h5.zip", "reconstruction.npz", "amplitude.png"} <= {
        p.name for p in (folder / "run").iterdir()
    }


def test_the_loaded_model_gives_the_object_of_the_trained_one(folder: Path) -> None:
    with np.load(folder / "run" / "reconstruction.npz") as first, np.load(folder / "again.npz") as again:
        np.testing.assert_allclose(again["object"], first["object"], rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(again["origin"], first["origin"])


def test_the_object_resembles_the_truth(folder: Path) -> None:
    from ptycho_torch.workflows import evaluate

    report = evaluate(folder / "run" / "reconstruction.npz", folder / "scan.npz").report
    assert report.scores.complex_nrmse < 0.9 * report.flat.complex_nrmse
