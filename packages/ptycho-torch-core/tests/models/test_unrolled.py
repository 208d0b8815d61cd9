"""The physics inside the unrolled generator."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from ptycho_torch.errors import ShapeError
from ptycho_torch.models.registry import GeneratorSpec
from ptycho_torch.models.unrolled import UnrolledGenerator, amplitude_gradient, physics_steps
from ptycho_torch.physics import DiffractionOperator, extract_patches, incoherent_intensity
from ptycho_torch.testing import assert_close, random_probe, tiny_scene

N = 8


@pytest.fixture
def problem():
    """Operator, patches ``(2, N, N)`` and amplitudes they do not explain, in double precision."""

    def make(modes=1, sigma=0.0):
        generator = torch.Generator().manual_seed(2)
        operator = DiffractionOperator(random_probe(modes, N, generator), smoothing_sigma=sigma)
        patches = random_probe(2, N, generator)
        amplitude = 4 * torch.rand(2, N, N, dtype=torch.float64, generator=generator)
        return operator, patches, amplitude

    return make


def _misfit(operator, patches, amplitude, measured=None):
    difference = incoherent_intensity(operator(patches)).sqrt() - amplitude
    if measured is not None:
        difference = difference[..., measured]
    return difference.square().sum()


@pytest.mark.parametrize("modes", [1, 3])
@pytest.mark.parametrize("sigma", [0.0, 1.0])
@pytest.mark.parametrize("masked", [False, True])
def test_direction_is_minus_half_the_gradient_of_the_misfit(modes, sigma, masked, problem):
    operator, patches, amplitude = problem(modes, sigma)
    measured = None
    if masked:
        measured = torch.ones(N, N, dtype=torch.bool)
        measured[2:5, 3] = False
    leaf = patches.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(_misfit(operator, leaf, amplitude, measured), leaf)
    assert_close(amplitude_gradient(operator, patches, amplitude, measured), -gradient / 2)


def test_direction_can_be_differentiated(problem):
    operator, patches, amplitude = problem(2)

    def direction(patches, amplitude):
        return amplitude_gradient(operator, patches, amplitude)

    assert torch.autograd.gradcheck(direction, (patches.requires_grad_(), amplitude.requires_grad_()))


def test_truth_is_a_fixed_point(problem):
    operator, patches, _ = problem(2)
    amplitude = incoherent_intensity(operator(patches)).sqrt()
    assert_close(physics_steps(operator, patches, amplitude, 3), patches)


def test_values_where_nothing_was_measured_have_no_influence(problem):
    operator, patches, amplitude = problem()
    measured = torch.ones(N, N, dtype=torch.bool)
    measured[1, 1] = False
    other = amplitude.clone()
    other[..., 1, 1] += 100
    assert_close(
        physics_steps(operator, patches, other, 2, measured),
        physics_steps(operator, patches, amplitude, 2, measured),
    )
    gap = physics_steps(operator, patches, other, 2) - physics_steps(operator, patches, amplitude, 2)
    assert gap.abs().max() > 1e-2


def test_each_step_explains_the_measurement_better():
    scan = tiny_scene("random_field", grid=(2, 2))
    probe = torch.from_numpy(scan.probe)
    truth = extract_patches(torch.from_numpy(scan.object_truth), torch.from_numpy(scan.positions), scan.N)
    operator = DiffractionOperator(probe)
    amplitude = incoherent_intensity(operator(truth)).sqrt()
    patches, misfits = torch.ones_like(truth), []
    for _ in range(6):
        misfits.append(float(_misfit(operator, patches, amplitude)))
        patches = physics_steps(operator, patches, amplitude, 1)
    assert all(later < earlier for earlier, later in pairwise(misfits))
    assert misfits[-1] < 0.5 * misfits[0]


def test_vanishing_field_has_finite_steps_and_gradients():
    operator = DiffractionOperator(torch.ones(1, N, N, dtype=torch.complex64))
    # A flat object under a flat probe lights one pixel; the field of all others is zero.
    patches = torch.ones(1, N, N, dtype=torch.complex64, requires_grad=True)
    stepped = physics_steps(operator, patches, torch.ones(1, N, N), 2)
    stepped.abs().square().sum().backward()
    assert torch.isfinite(torch.view_as_real(stepped)).all()
    assert torch.isfinite(torch.view_as_real(patches.grad)).all()


def test_probe_of_wrong_rank_is_refused():
    generator = UnrolledGenerator(GeneratorSpec(n_pixels=32, width=1))
    with pytest.raises(ShapeError, match=r"probe: expected \(modes, N, N\), got \(32, 32\)"):
        generator(torch.ones(2, 1, 32, 32), torch.ones(32, 32, dtype=torch.complex64))
    with pytest.raises(ShapeError, match="amplitude"):
        generator(torch.ones(2, 32, 32), torch.ones(1, 32, 32, dtype=torch.complex64))


def test_patches_of_a_group_keep_their_channel():
    generator = UnrolledGenerator(GeneratorSpec(n_pixels=32, width=1, n_channels=4))
    patches = generator(torch.ones(2, 4, 32, 32), torch.ones(1, 32, 32, dtype=torch.complex64))
    assert patches.shape == (2, 4, 32, 32)
