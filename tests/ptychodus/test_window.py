"""ptychodus' window, used by its buttons: export, train, infer, save, and load again."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from driving import environment, make_world, write_frames_for_the_window

from ptycho_torch.bundle import best_checkpoint

PROGRAM = Path(__file__).with_name("use_window.py")
PX = 0.25
pytestmark = pytest.mark.long


def _use(job, folder):
    done = subprocess.run(
        [sys.executable, str(PROGRAM), job, str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=900,
        env=environment(folder.parent),
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return json.loads((folder / f"seen-{job}.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """What a user saw who trained, reconstructed and saved; and the scan."""
    world = make_world(tmp_path_factory.mktemp("window") / "scan", masked=True, dtype="uint16")
    write_frames_for_the_window(world)
    return SimpleNamespace(world=world, **_use("train", world.folder))


def _object(path):
    with h5py.File(path) as file:
        return file["object"][()]


def test_a_training_is_followed_in_the_pane(trained):
    assert "ptychopinn-torch: training on exported.npz" in trained.training
    for number in (1, 2):
        assert f"ptychopinn-torch: epoch {number} of 2: " in trained.training


def test_a_refusal_is_read_in_the_pane(trained):
    assert "[ERROR] ptychopinn-torch: " in trained.refused
    assert "no training data" in trained.refused


def test_the_button_wakes_when_the_algorithm_is_chosen_again(trained):
    assert (trained.before, trained.again) == (False, True)


def test_the_saved_product_is_the_object_where_it_lies(trained, compared):
    moved, error, flat = compared(trained.world, trained.world.folder / "trained.h5")
    assert trained.product == "simulated_ptychopinn-torch_unsupervised"
    assert np.abs(moved).max() <= PX
    assert error < 0.6 * flat


def test_a_checkpoint_that_is_loaded_in_another_window_gives_the_same_object(trained):
    folder = trained.world.folder
    (run,) = (folder / "training").glob("run_*")
    shutil.copy(best_checkpoint(run), folder / "model.ckpt")
    assert _use("load", folder)["again"] is True
    np.testing.assert_allclose(_object(folder / "loaded.h5"), _object(folder / "trained.h5"), atol=1e-4)
