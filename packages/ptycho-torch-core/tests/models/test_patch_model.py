"""A generator with its physics: gauge, support, what is trained and what is saved."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
import torch

from ptycho_torch.errors import ConfigError, ShapeError
from ptycho_torch.models import GeneratorSpec, PatchModel, generator_names
from ptycho_torch.physics import (
    calibrate,
    illumination,
    poisson_deviance,
    predicted_counts,
    probe_power,
    soft_disk,
)

SPEC = GeneratorSpec(n_pixels=32, width=1)
POWER = (32 / 2) ** 2


def _trained_a_little(model, counts, steps=3, lr=1e-2):
    optimiser = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=lr)
    for _ in range(steps):
        optimiser.zero_grad()
        predicted = model.predict_counts(model(counts))
        poisson_deviance(predicted, counts, mean_counts=float(model.mean_counts)).backward()
        optimiser.step()
    return model


def test_counts_are_those_of_the_forward_model(model_of):
    model = model_of(gaussian_smoothing_sigma=0.7, modes=2)
    generator = torch.Generator().manual_seed(0)
    patches = torch.randn(3, 1, 32, 32, dtype=torch.complex64, generator=generator)
    expected = predicted_counts(patches, model.probe, 1e5 / POWER, smoothing_sigma=0.7)
    torch.testing.assert_close(model.predict_counts(patches), expected)
    assert model.predict_counts(patches).shape == (3, 1, 32, 32)


def test_smoothing_changes_the_counts(model_of):
    patches = torch.ones(1, 1, 32, 32, dtype=torch.complex64)
    sharp, smooth = (model_of(gaussian_smoothing_sigma=s).predict_counts(patches) for s in (0.0, 1.0))
    assert smooth[..., 16, 16] == pytest.approx(float(sharp[..., 16, 16]), rel=1e-3)
    assert smooth.sum() < 0.99 * sharp.sum()


@pytest.mark.rule("PHY-016")
@pytest.mark.parametrize(("diameter", "expected"), [(None, 16.0), (10.0, 10.0)])
def test_probe_mask_limits_the_probe_and_keeps_its_power(diameter, expected, model_of):
    free, limited = model_of(), model_of(probe_mask=True, probe_mask_diameter=diameter, probe_mask_sigma=1.0)
    disk = soft_disk(32, diameter=expected, sigma=1.0)
    shape = free.probe * disk
    torch.testing.assert_close(limited.probe, shape * (16 / probe_power(shape).sqrt()))
    assert float(probe_power(limited.probe).detach()) == pytest.approx(POWER, rel=1e-6)
    assert limited.patch_weight()[0, 0] < 1e-12


@pytest.mark.rule("STI-003")
def test_weight_of_a_patch_is_its_illumination(model_of):
    model = model_of(modes=2)
    torch.testing.assert_close(model.patch_weight(), illumination(model.probe))
    assert not model.patch_weight().requires_grad


@pytest.mark.parametrize("modes", [1, 2])
def test_trained_probe_moves_and_keeps_its_power(modes, model_of, frames):
    model = model_of(modes=modes, trainable_probe=True, probe_mask=True)
    before = model.probe.detach().clone()
    _trained_a_little(model, frames(modes=modes))
    assert (model.probe - before).abs().max() > 1e-3
    assert float(probe_power(model.probe).detach()) == pytest.approx(POWER, rel=1e-5)
    assert (model.probe.detach() * (model.physics.support == 0)).abs().max() == 0


def test_probe_is_fixed_unless_asked(model_of, frames):
    model = model_of()
    before = model.probe.clone()
    assert "scans.0.probe_modes" not in dict(model.named_parameters())
    _trained_a_little(model, frames())
    assert torch.equal(model.probe, before)


def test_scale_is_trained_only_when_asked(model_of, frames):
    free = _trained_a_little(model_of(trainable_scale=True), frames())
    fixed = _trained_a_little(model_of(trainable_scale=False), frames())
    assert float(free.log_gain.detach()) != 0
    assert float(fixed.log_gain) == 0
    assert "log_gain" not in dict(fixed.named_parameters())


@pytest.mark.rule("PHY-015")
def test_scale_multiplies_the_amplitude_and_not_the_gauge(model_of, frames):
    model = model_of()
    with torch.no_grad():
        before = model(frames())
        model.log_gain.fill_(0.5)
        torch.testing.assert_close(model(frames()), before * torch.exp(torch.tensor(0.5)))
    assert float(model.intensity_scale) == pytest.approx(1e5 / POWER)


@pytest.mark.parametrize("architecture", generator_names())
@pytest.mark.parametrize("trainable", [False, True])
def test_saved_state_gives_the_same_model(architecture, trainable, model_of, frames):
    settings = {"trainable_probe": trainable, "trainable_scale": trainable, "modes": 2}
    measured = torch.ones(32, 32, dtype=torch.bool)
    measured[3, 4] = False
    model = model_of(architecture, measured=measured, **settings)
    _trained_a_little(model, frames(modes=2))
    model.intensity_scale.mul_(3)
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    other = model_of(architecture, seed=9, **settings)
    other.load_state_dict(torch.load(file, weights_only=True))
    with torch.no_grad():
        assert torch.equal(other(frames()), model(frames()))
        patches = torch.ones(1, 32, 32, dtype=torch.complex64)
        assert torch.equal(other.predict_counts(patches), model.predict_counts(patches))
    assert torch.equal(other.measured, measured)
    assert torch.equal(other.patch_weight(), model.patch_weight())


def test_model_does_not_write_into_what_it_was_given(frames):
    probe = torch.ones(1, 32, 32, dtype=torch.complex64)
    calibration = calibrate(probe, 1e5)
    kept, measured = calibration.probe.clone(), torch.ones(32, 32, dtype=torch.bool)
    model = PatchModel("unrolled", SPEC, calibration, measured=measured, trainable_probe=True)
    _trained_a_little(model, frames())
    model.measured.zero_()
    assert torch.equal(calibration.probe, kept)
    assert measured.all()


def test_arrays_of_another_size_are_refused():
    calibration = calibrate(torch.ones(1, 48, 48, dtype=torch.complex64), 1e5)
    with pytest.raises(ShapeError, check=lambda error: error.name == "probe"):
        PatchModel("unrolled", SPEC, calibration)
    calibration = calibrate(torch.ones(1, 32, 32, dtype=torch.complex64), 1e5)
    with pytest.raises(ShapeError, check=lambda error: error.name == "probe"):
        PatchModel("unrolled", SPEC, replace(calibration, probe=calibration.probe[0]))
    with pytest.raises(ShapeError, check=lambda error: error.name == "measured"):
        PatchModel("unrolled", SPEC, calibration, measured=torch.ones(32, dtype=torch.bool))
    with pytest.raises(ShapeError, check=lambda error: error.name == "measured"):
        PatchModel("unrolled", SPEC, calibration, measured=torch.ones(32, 32))


def test_unknown_names_are_refused():
    calibration = calibrate(torch.ones(1, 32, 32, dtype=torch.complex64), 1e5)
    with pytest.raises(ConfigError, check=lambda error: error.fields == ("architecture",)):
        PatchModel("resnet", SPEC, calibration)
    for architecture in generator_names():
        with pytest.raises(ConfigError, check=lambda error: error.fields == ("amp_activation",)):
            PatchModel(architecture, replace(SPEC, amp_activation="tanh"), calibration)


@pytest.mark.rule("STI-015")
def test_steps_bring_the_patches_to_the_frames(model_of, frames):
    model, counts = model_of(), frames()

    def misfit(patches):
        with torch.no_grad():
            return float((model.predict_counts(patches).sqrt() - counts.sqrt()).square().sum())

    drawn = torch.ones(3, 1, 32, 32, dtype=torch.complex64)
    held = [model.held_to(counts, drawn, n_steps=n) for n in (0, 1, 4, 12)]
    assert held[0] is drawn
    misfits = [misfit(patches) for patches in held]
    assert misfits == sorted(misfits, reverse=True)
    assert misfits[-1] < 0.2 * misfits[0]


def test_steps_leave_patches_alone_that_explain_their_frames(model_of):
    model = model_of(gaussian_smoothing_sigma=0.7, modes=2)
    generator = torch.Generator().manual_seed(0)
    patches = torch.randn(3, 1, 32, 32, dtype=torch.complex64, generator=generator)
    with torch.no_grad():
        counts = model.predict_counts(patches)
        torch.testing.assert_close(model.held_to(counts, patches, n_steps=5), patches, rtol=0, atol=2e-3)


def test_steps_of_a_group_make_its_patches_agree(model_of, frames):
    model = model_of(gridsize=2)
    counts = frames(n_frames=4).reshape(1, 4, 32, 32)
    offsets = torch.tensor([[[0.0, -6.0], [0.0, -2.0], [0.0, 2.0], [0.0, 6.0]]])
    patches = model.held_to(counts, torch.ones(1, 4, 32, 32, dtype=torch.complex64), offsets, n_steps=5)
    gap = patches[0, 0, :, 4:] - patches[0, 1, :, :-4]
    light = model.patch_weight()[:, 4:]
    assert patches[0, 0].std() > 1e-2
    assert (gap.abs() * light).max() < 1e-4 * light.max()


def test_steps_draw_no_border_that_is_not_decoded(model_of, frames):
    model = model_of(probe_big=False)
    patches = model.held_to(frames(), torch.ones(3, 1, 32, 32, dtype=torch.complex64), n_steps=2)
    assert (patches[..., model.decoded == 0] == 0).all()
