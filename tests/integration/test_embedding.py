"""What a program that embeds core does, each step in an interpreter of its own.

Nothing but files passes from one step to the next, so what a step forgets to save is missed here.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

SIMULATE = """
from ptycho_torch.data.formats.npz import save_scan
from ptycho_torch.data.simulation.simulate import simulate_scene

scan = simulate_scene("lines", N=32, grid=(6, 6), step_px=4.0, jitter_px=1.0, photons=1e5, seed=1)
save_scan("scan.npz", scan)
"""

TRAIN = """
import numpy as np
from ptycho_config import PyTorchExecutionConfig
from ptycho_config.params import cfg
from ptycho_torch.config_factory import create_training_payload
from ptycho_torch.data import load_scan
from ptycho_torch.workflows import reconstruct, train

payload = create_training_payload(
    "scan.npz",
    "model",
    overrides={"nepochs": 8, "batch_size": 6, "n_filters_scale": 1},
    execution_config=PyTorchExecutionConfig(accelerator="cpu", learning_rate=3e-3, val_fraction=0.1),
)
assert (cfg["N"], cfg["nepochs"], cfg["output_prefix"]) == (32, 8, "model")
outcome = train(payload)
direct = reconstruct(outcome.model, load_scan("scan.npz"), batch_size=6)
np.savez("direct.npz", object=direct.object)
"""

LOAD = """
import sys
from ptycho_torch.bundle import load_bundle, read_manifest

assert read_manifest("model").backend == "pytorch"
assert "torch" not in sys.modules
model, manifest = load_bundle("model")
assert model.n_pixels == manifest.configuration["model"]["N"] == 32
assert "lightning" not in sys.modules
"""

INFER = """
from ptycho_config import PyTorchExecutionConfig
from ptycho_torch.config_factory import create_inference_payload
from ptycho_torch.workflows import infer

payload = create_inference_payload(
    "model", "scan.npz", "result", execution_config=PyTorchExecutionConfig(accelerator="cpu")
)
outcome = infer(payload)
assert outcome.report is not None
"""

EVALUATE = """
from ptycho_torch.workflows import evaluate

evaluate("result/reconstruction.npz", "scan.npz", output_dir="scores")
"""

REPEAT = """
import numpy as np
from ptycho_torch.config_factory import create_training_payload
from ptycho_torch.data import load_scan
from ptycho_torch.workflows import reconstruct, train

outcome = train(create_training_payload(None, "again", config_file="model/resolved_config.json"))
result = reconstruct(outcome.model, load_scan("scan.npz"), batch_size=6)
np.savez("again.npz", object=result.object)
"""


def _run(source: str, folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", source],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Working directory in which every step has run."""
    place = tmp_path_factory.mktemp("embedding")
    for step in (SIMULATE, TRAIN, LOAD, INFER, EVALUATE, REPEAT):
        _run(step, place)
    return place


def test_the_steps_write_where_they_were_told_and_nowhere_else(folder: Path) -> None:
    assert {path.name for path in folder.iterdir()} == {
        "scan.npz",
        "model",
        "direct.npz",
        "result",
        "scores",
        "again",
        "again.npz",
    }


def test_the_loaded_model_reconstructs_what_the_trained_one_did(folder: Path) -> None:
    with (
        np.load(folder / "direct.npz") as direct,
        np.load(folder / "result" / "reconstruction.npz") as result,
    ):
        np.testing.assert_array_equal(result["object"], direct["object"])


def test_all_frames_are_reconstructed(folder: Path) -> None:
    with np.load(folder / "result" / "reconstruction.npz") as result:
        assert len(result["positions"]) == 36


def test_the_reconstruction_is_better_than_a_flat_object(folder: Path) -> None:
    scores = json.loads((folder / "result" / "metrics.json").read_text())
    assert scores["scores"]["complex_nrmse"] < 0.8 * scores["flat"]["complex_nrmse"]
    assert scores["scores"]["phase_correlation"] > 0.3


def test_one_record_ties_training_and_inference_together(folder: Path) -> None:
    trained, inferred = (
        json.loads((folder / name / "resolved_config.json").read_text()) for name in ("model", "result")
    )
    assert trained["values"]["model"] == inferred["values"]["model"]
    assert trained["versions"] == inferred["versions"]


def test_a_recorded_configuration_repeats_the_training(folder: Path) -> None:
    with np.load(folder / "result" / "reconstruction.npz") as first, np.load(folder / "again.npz") as again:
        np.testing.assert_array_equal(first["object"], again["object"])
