"""ptychodus, unmodified, trains and reconstructs here; features lie where they are in the world."""

from __future__ import annotations

import numpy as np
import pytest
from driving import PX, reconstructed, trained

from ptycho_torch.bundle import best_checkpoint, load_bundle

CASES = {
    "default settings, from the pair": ({}, {"epochs": 3}),
    "three modes, uint16, masked pixels": (
        {"modes": 3, "dtype": "uint16", "masked": True},
        {"epochs": 3, "num_dataloader_workers": 0},
    ),
    "frames of 64 px": ({"n_pixels": 64, "step_px": 6.0}, {"epochs": 2, "model_size": 64}),
}


_SHORT = next(iter(CASES))


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name == _SHORT else pytest.mark.long) for name in CASES]
)
def test_train_and_reconstruct(name, world, ptychodus, compared, tmp_path):
    scan, settings = CASES[name]
    made = world(**scan)
    run, said = trained(ptychodus, made, tmp_path / "out", **settings)
    assert said.count("ptychopinn-torch: epoch ") == settings["epochs"]
    assert "keywords without effect here: " in said
    if scan.get("masked"):
        model, _ = load_bundle(best_checkpoint(run))
        assert not bool(model.measured[5:7].any())
        assert not bool(model.measured[:, 20].any())
    moved, error, flat = reconstructed(ptychodus, compared, made, tmp_path / "rec", run, **settings)
    assert np.abs(moved).max() <= PX
    assert error < 0.6 * flat
