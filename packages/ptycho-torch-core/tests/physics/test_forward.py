"""The forward model: operator, gradients, and how modes add up."""

from __future__ import annotations

import pytest
import torch

from ptycho_torch.errors import ShapeError
from ptycho_torch.physics import (
    DiffractionOperator,
    far_field,
    illumination,
    incoherent_intensity,
    poisson_deviance,
    predicted_counts,
)
from ptycho_torch.testing import assert_adjoint, assert_close, random_probe


@pytest.mark.rule("PHY-003")
@pytest.mark.parametrize("modes", [1, 3])
@pytest.mark.parametrize("sigma", [0.0, 1.3])
@pytest.mark.parametrize("lead", [(), (2,), (2, 4)])
def test_adjoint(modes, sigma, lead, generator):
    operator = DiffractionOperator(random_probe(modes, 8, generator), smoothing_sigma=sigma)
    assert_adjoint(
        operator, operator.adjoint, torch.empty(*lead, 8, 8), torch.empty(*lead, modes, 8, 8), generator
    )


@pytest.mark.parametrize("sigma", [0.0, 0.8])
def test_gradients_of_counts(sigma, complex_noise):
    patches = complex_noise(2, 4, 4).requires_grad_()
    probe = complex_noise(2, 4, 4).requires_grad_()
    scale = torch.tensor(1.7, dtype=torch.float64, requires_grad=True)

    def counts(patches, probe, scale):
        return predicted_counts(patches, probe, scale, smoothing_sigma=sigma)

    assert torch.autograd.gradcheck(counts, (patches, probe, scale))


def test_gradients_through_the_likelihood(complex_noise, real_noise):
    patches, probe = complex_noise(2, 4, 4).requires_grad_(), complex_noise(2, 4, 4)
    measured = 3 * real_noise(2, 4, 4)

    def loss(patches):
        return poisson_deviance(predicted_counts(patches, probe, 1.0), measured, mean_counts=20.0)

    assert torch.autograd.gradcheck(loss, (patches,))


def test_power_is_that_of_the_exit_waves(complex_noise):
    patches, probe = complex_noise(3, 8, 8), complex_noise(2, 8, 8)
    waves = patches[:, None] * probe
    power = 2.5 * waves.abs().square().sum(dim=(-3, -2, -1))
    assert_close(predicted_counts(patches, probe, 2.5).sum(dim=(-2, -1)), power)


def test_flat_object_and_flat_probe_light_one_pixel():
    n = 8
    counts = predicted_counts(
        torch.ones(1, n, n, dtype=torch.complex128), torch.full((1, n, n), 0.5j, dtype=torch.complex128), 3.0
    )
    expected = torch.zeros(1, n, n, dtype=torch.float64)
    expected[0, n // 2, n // 2] = 3.0 * 0.25 * n * n
    assert_close(counts, expected)


@pytest.mark.rule("PHY-001")
def test_modes_add_as_intensities_and_not_as_fields(complex_noise):
    patches, probe = complex_noise(2, 8, 8), complex_noise(3, 8, 8)
    counts = predicted_counts(patches, probe, 1.0)
    one_by_one = sum(predicted_counts(patches, mode[None], 1.0) for mode in probe)
    assert_close(counts, one_by_one)
    coherent = far_field(patches * probe.sum(dim=0)).abs().square()
    assert (counts - coherent).abs().max() > 0.1 * counts.max()


def test_one_mode_in_two_halves_predicts_the_same(complex_noise):
    patches, mode = complex_noise(2, 8, 8), complex_noise(1, 8, 8)
    halves = torch.cat([0.6 * mode, 0.8j * mode])
    assert_close(predicted_counts(patches, halves, 1.0), predicted_counts(patches, mode, 1.0))


def test_each_patch_is_predicted_alone(complex_noise):
    patches, probe = complex_noise(4, 8, 8), complex_noise(3, 8, 8)
    together = predicted_counts(patches, probe, 1.0)
    for patch, frame in zip(patches, together, strict=True):
        assert_close(predicted_counts(patch, probe, 1.0), frame)


@pytest.mark.rule("PHY-006")
def test_smoothing_is_a_periodic_gaussian_blur():
    n, sigma = 32, 1.5
    spot = torch.zeros(1, n, n, dtype=torch.complex128)
    spot[0, 10, 20] = 1
    operator = DiffractionOperator(torch.ones(1, n, n, dtype=torch.complex128), smoothing_sigma=sigma)
    blurred = torch.fft.ifft2(torch.fft.ifftshift(operator(spot), dim=(-2, -1)), norm="ortho")[0, 0]
    axis = torch.arange(n, dtype=torch.float64)
    squared = (axis - 10).square()[:, None] + (axis - 20).square()[None, :]
    expected = torch.exp(-squared / (2 * sigma**2)) / (2 * torch.pi * sigma**2)
    # The sampled Gaussian is the periodic one up to its aliases, exp(-(pi sigma)**2 / 2) of the peak.
    assert (blurred.real - expected).abs().max() < 1e-4 * expected.max()
    assert blurred.imag.abs().max() < 1e-15


@pytest.mark.parametrize("modes", [1, 3])
def test_intensity_and_illumination_sum_over_modes(modes, complex_noise):
    field = complex_noise(2, modes, 4, 4)
    assert_close(incoherent_intensity(field), field.abs().square().sum(dim=1))
    assert_close(illumination(field[0]), field[0].abs().square().sum(dim=0))


def test_probe_without_mode_axis_is_refused_in_words():
    probe, patches = torch.ones(64, 64, dtype=torch.complex64), torch.ones(5, 64, 64, dtype=torch.complex64)
    with pytest.raises(ShapeError, check=lambda error: error.name == "probe"):
        predicted_counts(patches, probe, 1.0)
    with pytest.raises(ShapeError, check=lambda error: error.name == "probe"):
        illumination(probe)


@pytest.mark.rule("PHY-007")
def test_mode_axis_never_meets_the_batch_axis():
    # As many modes as patches: plain broadcasting would pair them and nothing would fail.
    patches, probe = torch.ones(4, 8, 8, dtype=torch.complex64), torch.ones(4, 8, 8, dtype=torch.complex64)
    operator = DiffractionOperator(probe)
    assert operator(patches).shape == (4, 4, 8, 8)
    assert_close(predicted_counts(patches, probe, 1.0).sum(dim=(-2, -1)), torch.full((4,), 4.0 * 64))
    with pytest.raises(ShapeError, check=lambda error: error.name == "field"):
        operator.adjoint(patches[0])
    with pytest.raises(ShapeError, check=lambda error: error.name == "field"):
        DiffractionOperator(probe[:1]).adjoint(patches)


@pytest.mark.parametrize(
    ("patches", "actual"),
    [
        (torch.ones(2, 8, 9, dtype=torch.complex64), (2, 8, 9)),
        (torch.ones(8, dtype=torch.complex64), (8,)),
        (torch.ones(2, 8, 8), torch.float32),
    ],
)
def test_patches_that_do_not_fit_are_refused(patches, actual):
    with pytest.raises(ShapeError, check=lambda error: (error.name, error.actual) == ("patches", actual)):
        predicted_counts(patches, torch.ones(1, 8, 8, dtype=torch.complex64), 1.0)


def test_probe_is_a_parameter_only_if_given_as_one():
    probe = torch.ones(1, 8, 8, dtype=torch.complex64)
    assert not list(DiffractionOperator(probe).parameters())
    assert len(list(DiffractionOperator(torch.nn.Parameter(probe)).parameters())) == 1
    moved = DiffractionOperator(probe, smoothing_sigma=1.0).to("meta")
    assert moved.probe.device.type == moved.transfer.device.type == "meta"
