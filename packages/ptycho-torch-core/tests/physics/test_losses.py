"""Losses against SciPy references, and at the extremes that detectors deliver."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import xlogy

from ptycho_torch.physics import amplitude_mae, poisson_deviance, predicted_counts, total_variation
from ptycho_torch.testing import assert_close

N = 8
MEASUREMENT_LOSSES = pytest.mark.parametrize("loss", [poisson_deviance, amplitude_mae])


@pytest.fixture
def frames():
    """Predicted and measured counts, float64 ``(5, N, N)``, with dark pixels among them."""
    rng = np.random.default_rng(3)
    predicted = rng.uniform(0.2, 30.0, size=(5, N, N))
    return torch.from_numpy(predicted), torch.from_numpy(rng.poisson(predicted).astype(float))


@pytest.fixture
def mask():
    measured = torch.ones(N, N, dtype=torch.bool)
    measured[2:4, 5] = False
    return measured


def _reference_deviance(predicted, measured):
    predicted, measured = predicted.numpy(), measured.numpy()
    per_pixel = predicted - measured - xlogy(measured, predicted) + xlogy(measured, measured)
    return per_pixel.sum(axis=(-2, -1)).mean()


def _gradient(loss, predicted, counts, **settings):
    leaf = predicted.clone().requires_grad_()
    loss(leaf, counts, **settings).backward()
    return leaf.grad


@pytest.mark.rule("PHY-020")
def test_deviance_agrees_with_scipy_up_to_its_floor(frames):
    predicted, measured = frames
    got = float(poisson_deviance(predicted, measured, mean_counts=50.0))
    floor = 1e-6 * float((predicted - measured).abs().mul(1 + measured / predicted).sum()) / 5 / 50
    assert got == pytest.approx(_reference_deviance(predicted, measured) / 50, abs=floor)
    assert got > 100 * floor


def test_deviance_differs_from_the_likelihood_by_a_term_of_the_data(frames):
    predicted, measured = frames
    other = predicted.flip(0)
    likelihood = [(p - torch.xlogy(measured, p)).sum(dim=(-2, -1)).mean() / 50 for p in (predicted, other)]
    deviance = [poisson_deviance(p, measured, mean_counts=50.0) for p in (predicted, other)]
    assert float(deviance[0] - deviance[1]) == pytest.approx(float(likelihood[0] - likelihood[1]), rel=1e-5)


@pytest.mark.rule("PHY-020")
def test_gradient_is_that_of_the_poisson_likelihood(frames):
    predicted, measured = frames
    got = _gradient(poisson_deviance, predicted, measured, mean_counts=50.0)
    expected = (1 - measured / predicted) / (5 * 50)
    assert (got - expected).abs().max() < 3e-6 * (1 + (measured / predicted).square().max()) / 250


def test_perfect_prediction_costs_nothing(frames):
    _, measured = frames
    assert float(poisson_deviance(measured, measured, mean_counts=50.0)) < 1e-10
    assert float(amplitude_mae(measured + 1e-6, measured, mean_counts=50.0)) < 1e-3
    assert float(poisson_deviance(measured + 1.0, measured, mean_counts=50.0)) > 0.01


@pytest.mark.rule("PHY-021")
def test_amplitude_mae_agrees_with_numpy(frames):
    predicted, measured = frames
    got = float(amplitude_mae(predicted, measured, mean_counts=50.0))
    expected = np.abs(np.sqrt(predicted.numpy()) - np.sqrt(measured.numpy())).sum(axis=(1, 2)).mean()
    assert got == pytest.approx(expected / (N * np.sqrt(50.0)), rel=1e-12)


def test_amplitude_mae_has_the_right_gradient(frames):
    predicted, measured = frames
    predicted = predicted.requires_grad_()
    assert torch.autograd.gradcheck(lambda p: amplitude_mae(p, measured, mean_counts=50.0), (predicted,))


@pytest.mark.rule("PHY-022")
def test_total_variation_agrees_with_numpy():
    rng = np.random.default_rng(1)
    patches = rng.normal(size=(3, N, N)) + 1j * rng.normal(size=(3, N, N))
    expected = np.abs(np.diff(patches, axis=1)).mean() + np.abs(np.diff(patches, axis=2)).mean()
    assert_close(total_variation(torch.from_numpy(patches)), expected)


def test_total_variation_of_a_flat_patch_is_zero_with_a_finite_gradient():
    patches = torch.full((2, N, N), 0.3 + 0.4j, dtype=torch.complex64, requires_grad=True)
    value = total_variation(patches)
    value.backward()
    assert float(value.detach()) == 0
    assert torch.isfinite(torch.view_as_real(patches.grad)).all()


@pytest.mark.rule("PHY-023")
@MEASUREMENT_LOSSES
def test_does_not_depend_on_how_frames_are_batched(loss, frames):
    predicted, measured = frames
    whole = loss(predicted, measured, mean_counts=50.0)
    parts = [loss(p[None], m[None], mean_counts=50.0) for p, m in zip(predicted, measured, strict=True)]
    assert_close(torch.stack(parts).mean(), whole)
    channels = loss(predicted[:, None], measured[:, None], mean_counts=50.0)
    assert_close(channels, whole)


@pytest.mark.rule("PHY-012")
@MEASUREMENT_LOSSES
@pytest.mark.parametrize("factor", [10.0, 1e4])
def test_does_not_depend_on_dose(loss, factor, frames):
    predicted, measured = frames
    low = float(loss(predicted, measured, mean_counts=50.0))
    assert float(loss(factor * predicted, factor * measured, mean_counts=factor * 50)) == pytest.approx(
        low, rel=1e-6
    )


@pytest.mark.rule("PHY-024")
@MEASUREMENT_LOSSES
@pytest.mark.parametrize("junk", [0.0, 1e30, float("nan"), float("inf")])
def test_bad_pixels_carry_neither_loss_nor_gradient(loss, junk, frames, mask):
    predicted, measured = frames
    spoiled = torch.where(mask, measured, torch.full_like(measured, junk))
    got = loss(predicted, spoiled, mean_counts=50.0, measured=mask)
    elsewhere = loss(
        torch.where(mask, predicted, 1e-3), torch.where(mask, measured, 1e-3), mean_counts=50.0, measured=mask
    )
    assert_close(got, elsewhere)
    gradient = _gradient(loss, predicted, spoiled, mean_counts=50.0, measured=mask)
    assert torch.equal(gradient[:, ~mask], torch.zeros_like(gradient[:, ~mask]))
    assert (gradient[:, mask] != 0).all()
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("excess", [1e-1, 1e-2, 1e-3, 1e-4])
def test_deviance_keeps_its_value_and_slope_at_a_billion_counts_in_single_precision(excess):
    rng = np.random.default_rng(0)
    measured = rng.uniform(0.5, 1.5, size=(1, 64, 64)) * 1e9 / 64**2
    predicted = measured * (1 + excess * rng.choice([-1.0, 1.0], size=measured.shape))
    single = [torch.from_numpy(a).to(torch.float32) for a in (predicted, measured)]
    got = float(poisson_deviance(*single, mean_counts=1e9))
    assert got == pytest.approx(
        _reference_deviance(*map(torch.from_numpy, (predicted, measured))) / 1e9, rel=1e-2
    )
    slope = 1e9 * _gradient(poisson_deviance, *single, mean_counts=1e9)
    assert np.abs(slope.numpy() - (1 - measured / predicted)).max() < 5e-3 * excess + 2e-6


@pytest.mark.rule("PHY-025")
@MEASUREMENT_LOSSES
def test_a_billion_counts_in_one_pixel_stay_finite(loss):
    measured = torch.zeros(1, 64, 64)
    measured[0, 32, 32] = 1e9
    for predicted in (
        torch.full_like(measured, 1e-3),
        torch.full_like(measured, 1e9),
        torch.zeros_like(measured),
    ):
        value = loss(predicted, measured, mean_counts=1e9)
        gradient = _gradient(loss, predicted, measured, mean_counts=1e9)
        assert torch.isfinite(value)
        assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("tiny", [1e-44, 1e-38, 1e-30, 1e-12])
def test_vanishing_counts_of_a_noiseless_simulation_stay_finite(tiny):
    measured = torch.full((1, N, N), tiny)
    predicted = torch.full((1, N, N), 1e4)
    value = poisson_deviance(predicted, measured, mean_counts=1e6)
    assert float(value) == pytest.approx(1e4 * N * N / 1e6, rel=1e-4)
    slope = 1e6 * _gradient(poisson_deviance, predicted, measured, mean_counts=1e6)
    assert_close(slope, torch.ones(1, N, N), factor=10)


def test_no_counts_cost_what_is_predicted():
    predicted = torch.full((1, N, N), 2.0)
    assert float(poisson_deviance(predicted, torch.zeros(1, N, N), mean_counts=4.0)) == pytest.approx(32.0)


@pytest.mark.rule("PHY-025")
@MEASUREMENT_LOSSES
def test_field_of_zero_has_a_finite_loss_and_gradient(loss):
    patches = torch.zeros(1, N, N, dtype=torch.complex64, requires_grad=True)
    counts = predicted_counts(patches, torch.ones(1, N, N, dtype=torch.complex64), 1.0)
    value = loss(counts, torch.full((1, N, N), 9.0), mean_counts=9.0 * N * N)
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(torch.view_as_real(patches.grad)).all()


@MEASUREMENT_LOSSES
@pytest.mark.parametrize("size", [1e-2, 1e-1])
def test_nearly_dark_prediction_is_driven_towards_the_light(loss, size):
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(1, N, N, dtype=torch.complex64, generator=generator)
    patches = (size * noise).requires_grad_()
    counts = predicted_counts(patches, torch.ones(1, N, N, dtype=torch.complex64), 1.0)
    loss(counts, torch.full((1, N, N), 9.0), mean_counts=9.0 * N * N).backward()
    towards_more = torch.sum((patches.grad.conj() * noise).real)
    assert float(towards_more) < -1e-3


def test_slope_of_the_likelihood_at_zero_is_bounded_by_its_floor():
    gradient = _gradient(
        poisson_deviance,
        torch.zeros(1, 1, 1, dtype=torch.float64),
        torch.full((1, 1, 1), 5.0),
        mean_counts=1.0,
    )
    assert float(gradient.squeeze()) == pytest.approx(-1e6, rel=1e-3)
