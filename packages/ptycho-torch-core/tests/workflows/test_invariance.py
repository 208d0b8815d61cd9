"""What must not change an object: dose, batches, the order of frames, the device."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from ptycho_torch.bundle import load_bundle
from ptycho_torch.data.formats.npz import save_scan
from ptycho_torch.data.simulation.simulate import simulate_scan
from ptycho_torch.testing import tiny_scene
from ptycho_torch.workflows import reconstruct, train

pytestmark = pytest.mark.usefixtures("undrawn")

SETTINGS = {"nepochs": 6, "batch_size": 6, "n_groups": None}
EXECUTION = {"learning_rate": 5e-3, "enable_checkpointing": False, "logger_backend": None}


@pytest.fixture(scope="module")
def scene():
    """25 frames of 32 x 32 counts, Poisson noise at 1e5 photons."""
    return tiny_scene(grid=(5, 5), photons=1e5, noise=True, seed=4)


@pytest.fixture
def learned(payload, tmp_path):
    """Model of a short training on a scan: ``learned("name", scan, {execution}, **overrides)``."""

    def make(name, scan, execution=None, **overrides):
        save_scan(tmp_path / f"{name}.npz", scan)
        made = payload(
            name,
            {**EXECUTION, **(execution or {})},
            scan=tmp_path / f"{name}.npz",
            **{**SETTINGS, **overrides},
        )
        return train(made)

    return make


def _difference(first, second):
    """Root-mean-square difference of two objects on one canvas, by their weight."""
    np.testing.assert_array_equal(first.origin, second.origin)
    weight = first.weight / first.weight.sum()
    return float(np.sqrt((weight * np.abs(first.object - second.object) ** 2).sum()))


def _contrast(found):
    return _difference(found, replace(found, object=np.ones_like(found.object)))


# Times sixteen is exact in floating point. Times ten is not, and Adam makes steps out of rounding.
@pytest.mark.rule("PHY-012")
@pytest.mark.parametrize(
    ("factor", "descent", "loss", "shift"),
    [(16, {}, 1e-4, 1e-3), (10, {"optimizer": "sgd", "momentum": 0.9}, 1e-4, 1e-4)],
    ids=["16", "10"],
)
def test_more_counts_train_to_the_same_weights_and_object(learned, scene, factor, descent, loss, shift):
    bright = replace(scene, diffraction=scene.diffraction.astype(np.int32) * factor)
    one, more = (learned(name, scan, **descent) for name, scan in (("one", scene), ("more", bright)))
    assert float(more.model.intensity_scale / one.model.intensity_scale) == pytest.approx(factor, rel=1e-5)
    assert [row["train_loss"] for row in more.history] == pytest.approx(
        [row["train_loss"] for row in one.history], rel=loss
    )
    first, second = reconstruct(one.model, scene), reconstruct(more.model, bright)
    assert _difference(first, second) < shift * _contrast(first)
    assert _contrast(first) > 0.05


def test_another_exposure_at_ten_times_the_dose_is_the_same_object_up_to_noise(learned, scene):
    longer = simulate_scan(scene.object_truth, scene.probe, scene.positions, photons=1e6, seed=9)
    first, second = (
        reconstruct(learned(name, scan).model, scan) for name, scan in (("short", scene), ("long", longer))
    )
    assert _difference(first, second) < 0.2 * _contrast(first)


@pytest.mark.rule("PHY-012")
def test_a_bundle_reconstructs_a_longer_exposure_as_it_does_a_short_one(trained, tiny_scan):
    model, _ = load_bundle(trained.bundle)
    longer = simulate_scan(tiny_scan.object_truth, tiny_scan.probe, tiny_scan.positions, photons=1e6, seed=9)
    short = reconstruct(model, tiny_scan)
    with pytest.warns(UserWarning, match="the intensity scale is taken from this scan"):
        long = reconstruct(model, longer)
    assert 0 < _difference(short, long) < 0.2 * _contrast(short)


def test_order_of_frames_does_not_change_a_reconstruction(trained, tiny_scan):
    order = np.random.default_rng(0).permutation(tiny_scan.n_frames)
    first, second = (reconstruct(trained.model, scan) for scan in (tiny_scan, tiny_scan.take(order)))
    assert _difference(first, second) < 1e-4 * _contrast(first)


@pytest.mark.rule("PHY-023")
def test_order_of_frames_does_not_change_a_step_of_the_training(learned, scene):
    # All frames in one step of plain gradient descent: what is left of their order is rounding.
    settings = {"optimizer": "sgd", "momentum": 0.0, "batch_size": 25, "nepochs": 1}
    execution = {"val_fraction": 0.0, "learning_rate": 0.1}
    order = np.random.default_rng(0).permutation(scene.n_frames)
    one, other = (
        learned(name, scan, execution, **settings).model.state_dict()
        for name, scan in (("given", scene), ("shuffled", scene.take(order)))
    )
    start = learned("start", scene, {**execution, "learning_rate": 1e-12}, **settings).model.state_dict()
    moved = max(float((one[name] - start[name]).abs().max()) for name in one if one[name].is_floating_point())
    assert moved > 1e-4
    for name, value in one.items():
        torch.testing.assert_close(other[name], value, rtol=1e-4, atol=1e-6)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_a_gpu_trains_and_reconstructs_the_same_object(learned, scene, trained, tiny_scan):
    found = reconstruct(trained.model, tiny_scan)
    moved = reconstruct(trained.model.to("cuda"), tiny_scan)
    trained.model.to("cpu")
    # Convolutions of a GPU round to 10 bits unless told otherwise.
    assert _difference(found, moved) < 5e-3 * _contrast(found)
    on_cpu, on_gpu = learned("cpu", scene), learned("cuda", scene, {"accelerator": "cuda"})
    first, second = reconstruct(on_cpu.model, scene), reconstruct(on_gpu.model.to("cpu"), scene)
    assert _difference(first, second) < 0.05 * _contrast(first)
