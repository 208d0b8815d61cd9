"""The classical update inside the networks, and what it shows them."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from ptycho_torch.errors import ShapeError
from ptycho_torch.models.one_frame import N_FEATURES, OneFrame
from ptycho_torch.physics import DiffractionOperator, extract_patches, incoherent_intensity
from ptycho_torch.testing import assert_close, random_probe, tiny_scene

N = 8


@pytest.fixture
def problem():
    """Probe, patches ``(2, 1, N, N)`` and amplitudes they do not explain, in double precision."""

    def make(modes=1):
        generator = torch.Generator().manual_seed(2)
        probe = random_probe(modes, N, generator)
        patches = random_probe(2, N, generator)[:, None]
        amplitude = 4 * torch.rand(2, 1, N, N, dtype=torch.float64, generator=generator)
        return probe, patches, amplitude

    return make


def _amplitude(probe, patches):
    """On the detector as the contract has it, with the zero frequency in the middle."""
    return incoherent_intensity(DiffractionOperator(probe)(patches)).sqrt()


def _misfit(probe, patches, amplitude, measured=None):
    difference = _amplitude(probe, patches) - amplitude
    if measured is not None:
        difference = difference[..., measured]
    return difference.square().sum()


@pytest.mark.parametrize("modes", [1, 3])
@pytest.mark.parametrize("masked", [False, True])
def test_direction_is_minus_half_the_gradient_of_the_misfit(modes, masked, problem):
    probe, patches, amplitude = problem(modes)
    measured = None
    if masked:
        measured = torch.ones(N, N, dtype=torch.bool)
        measured[2:5, 3] = False
    leaf = patches.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(_misfit(probe, leaf, amplitude, measured), leaf)
    assert_close(OneFrame(amplitude, probe, measured).gradient(patches), -gradient / 2)


def test_direction_can_be_differentiated(problem):
    probe, patches, amplitude = problem(2)

    def direction(patches, amplitude):
        return OneFrame(amplitude, probe).gradient(patches)

    assert torch.autograd.gradcheck(direction, (patches.requires_grad_(), amplitude.requires_grad_()))


def test_truth_is_a_fixed_point(problem):
    probe, patches, _ = problem(2)
    assert_close(OneFrame(_amplitude(probe, patches), probe).advanced(patches, 3), patches)


def test_values_where_nothing_was_measured_have_no_influence(problem):
    probe, patches, amplitude = problem()
    measured = torch.ones(N, N, dtype=torch.bool)
    measured[1, 1] = False
    other = amplitude.clone()
    other[..., 1, 1] += 100
    seen = [OneFrame(values, probe, measured) for values in (other, amplitude)]
    assert_close(seen[0].advanced(patches, 2), seen[1].advanced(patches, 2))
    assert_close(seen[0].features(patches), seen[1].features(patches))
    gap = OneFrame(other, probe).advanced(patches, 2) - OneFrame(amplitude, probe).advanced(patches, 2)
    assert gap.abs().max() > 1e-2


def test_each_step_explains_the_measurement_better():
    scan = tiny_scene("random_field", grid=(2, 2))
    probe = torch.from_numpy(scan.probe)
    truth = extract_patches(torch.from_numpy(scan.object_truth), torch.from_numpy(scan.positions), scan.N)
    amplitude = _amplitude(probe, truth[:, None])
    frames = OneFrame(amplitude, probe)
    patches, misfits = frames.transmitting(), []
    for _ in range(6):
        misfits.append(float(_misfit(probe, patches, amplitude)))
        patches = frames.advanced(patches, 1)
    assert all(later < earlier for earlier, later in pairwise(misfits))
    assert misfits[-1] < 0.5 * misfits[0]


def test_vanishing_field_has_finite_steps_and_gradients():
    probe = torch.ones(1, N, N, dtype=torch.complex64)
    # A flat object under a flat probe lights one pixel; the field of all others is zero.
    patches = torch.ones(1, 1, N, N, dtype=torch.complex64, requires_grad=True)
    stepped = OneFrame(torch.ones(1, 1, N, N), probe).advanced(patches, 2)
    stepped.abs().square().sum().backward()
    assert torch.isfinite(torch.view_as_real(stepped)).all()
    assert torch.isfinite(torch.view_as_real(patches.grad)).all()


def test_features_are_the_estimate_its_direction_the_light_and_the_amplitude(problem):
    probe, patches, amplitude = problem(2)
    frames, light = OneFrame(amplitude, probe), probe.abs().square().sum(dim=0)
    direction = frames.gradient(patches) / (light + 0.05 * light.max())
    shown = frames.features(patches)
    assert shown.shape == (2, N_FEATURES, N, N)
    expected = (
        patches.real - 1,
        patches.imag,
        direction.real,
        direction.imag,
        (light / light.max()).expand(2, 1, N, N),
        # As the detector has it: a network must not see another order of pixels than its user.
        amplitude.log1p(),
    )
    assert_close(shown, torch.cat(expected, dim=1))


def test_frames_of_a_group_are_taken_apart(problem):
    probe, _, amplitude = problem()
    together = OneFrame(amplitude.reshape(1, 2, N, N), probe)
    apart = OneFrame(amplitude, probe)
    assert_close(together.advanced(together.transmitting(), 2), apart.advanced(apart.transmitting(), 2))


def test_arrays_that_do_not_fit_are_refused():
    probe = torch.ones(1, N, N, dtype=torch.complex64)
    with pytest.raises(ShapeError, match=r"probe: expected \(modes, N, N\), got \(8, 8\)"):
        OneFrame(torch.ones(2, 1, N, N), probe[0])
    with pytest.raises(ShapeError, match=r"amplitude: expected \(batch, channel, 8, 8\), got \(2, 8, 8\)"):
        OneFrame(torch.ones(2, N, N), probe)
