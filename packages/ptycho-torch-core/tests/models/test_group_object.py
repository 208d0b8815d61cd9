"""The classical update inside the networks, and what it shows them."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from ptycho_torch.errors import ShapeError
from ptycho_torch.models.group_object import N_FEATURES, GroupObject
from ptycho_torch.physics import Bilinear, DiffractionOperator, Fourier, WholePixel, incoherent_intensity
from ptycho_torch.physics.optics import Optics
from ptycho_torch.physics.placement_groups import GroupCanvases
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


@pytest.mark.rule("PHY-034")
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
    assert_close(GroupObject(amplitude, Optics(probe, measured)).gradient(patches), -gradient / 2)


def test_direction_can_be_differentiated(problem):
    probe, patches, amplitude = problem(2)

    def direction(patches, amplitude):
        return GroupObject(amplitude, Optics(probe)).gradient(patches)

    assert torch.autograd.gradcheck(direction, (patches.requires_grad_(), amplitude.requires_grad_()))


def test_truth_is_a_fixed_point(problem):
    probe, patches, _ = problem(2)
    assert_close(GroupObject(_amplitude(probe, patches), Optics(probe)).advanced(patches, 3), patches)


def test_values_where_nothing_was_measured_have_no_influence(problem):
    probe, patches, amplitude = problem()
    measured = torch.ones(N, N, dtype=torch.bool)
    measured[1, 1] = False
    other = amplitude.clone()
    other[..., 1, 1] += 100
    seen = [GroupObject(values, Optics(probe, measured)) for values in (other, amplitude)]
    assert_close(seen[0].advanced(patches, 2), seen[1].advanced(patches, 2))
    assert_close(seen[0].features(patches), seen[1].features(patches))
    gap = GroupObject(other, Optics(probe)).advanced(patches, 2) - GroupObject(
        amplitude, Optics(probe)
    ).advanced(patches, 2)
    assert gap.abs().max() > 1e-2


def test_each_step_explains_the_measurement_better():
    scan = tiny_scene("random_field", grid=(2, 2))
    probe = torch.from_numpy(scan.probe)
    image = torch.from_numpy(scan.object_truth)
    truth = Bilinear(torch.from_numpy(scan.positions), scan.N, image.shape).cut(image)
    amplitude = _amplitude(probe, truth[:, None])
    frames = GroupObject(amplitude, Optics(probe))
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
    stepped = GroupObject(torch.ones(1, 1, N, N), Optics(probe)).advanced(patches, 2)
    stepped.abs().square().sum().backward()
    assert torch.isfinite(torch.view_as_real(stepped)).all()
    assert torch.isfinite(torch.view_as_real(patches.grad)).all()


def test_features_are_the_estimate_its_direction_the_light_and_the_amplitude(problem):
    probe, patches, amplitude = problem(2)
    frames, light = GroupObject(amplitude, Optics(probe)), probe.abs().square().sum(dim=0)
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


def test_frames_without_places_are_taken_apart(problem):
    probe, _, amplitude = problem()
    together = GroupObject(amplitude.reshape(1, 2, N, N), Optics(probe))
    apart = GroupObject(amplitude, Optics(probe))
    assert_close(together.advanced(together.transmitting(), 2), apart.advanced(apart.transmitting(), 2))


def test_arrays_that_do_not_fit_are_refused():
    probe = torch.ones(1, N, N, dtype=torch.complex64)
    with pytest.raises(ShapeError, check=lambda error: error.name == "probe"):
        GroupObject(torch.ones(2, 1, N, N), Optics(probe[0]))
    with pytest.raises(ShapeError, check=lambda error: error.name == "amplitude"):
        GroupObject(torch.ones(2, N, N), Optics(probe))


OFFSETS = torch.tensor([[[-2.0, 1.0], [2.0, -1.0]], [[0.0, -3.0], [0.0, 3.0]]], dtype=torch.float64)


@pytest.fixture
def groups():
    """Two groups of two frames of one wide object each: probe, canvases and the places of the frames."""
    generator = torch.Generator().manual_seed(4)
    probe = random_probe(2, N, generator)
    objects = torch.randn(2, 1, 12, 14, 2, dtype=torch.float64, generator=generator)
    return probe, torch.view_as_complex(objects), 4 * torch.rand(2, 2, N, N, dtype=torch.float64)


def _seen(objects, offsets):
    """Patches of canvases at whole pixels, with the operators of the contract."""
    # The canvas begins where the patch that lies farthest up and left does.
    corner = offsets.new_tensor([N // 2 + 2, N // 2 + 3])
    return torch.stack(
        [
            Bilinear(places + corner, N, image[0].shape).cut(image[0])
            for image, places in zip(objects, offsets, strict=True)
        ]
    )


@pytest.mark.rule("PHY-043")
def test_direction_of_a_group_is_minus_half_the_gradient_of_its_misfit(groups):
    probe, objects, amplitude = groups
    leaf = objects.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(_misfit(probe, _seen(leaf, OFFSETS), amplitude), leaf)
    assert_close(GroupObject(amplitude, Optics(probe), OFFSETS).gradient(objects), -gradient / 2)


def test_frames_see_the_object_at_their_places(groups):
    probe, objects, amplitude = groups
    seen = GroupObject(amplitude, Optics(probe), OFFSETS).patches(objects)
    assert_close(seen, _seen(objects, OFFSETS).reshape(-1, N, N))


def test_canvases_hold_every_frame(groups):
    probe, _, amplitude = groups
    start = GroupObject(amplitude, Optics(probe), OFFSETS).transmitting()
    assert start.shape == (2, 1, 12, 14)
    assert (start == 1).all()


@pytest.mark.rule("PHY-043")
def test_other_groups_of_a_batch_change_nothing(groups):
    probe, _, amplitude = groups
    both = GroupObject(amplitude, Optics(probe), OFFSETS)
    alone = GroupObject(amplitude[:1], Optics(probe), OFFSETS[:1])
    found = [group.advanced(group.transmitting(), 5) for group in (both, alone)]
    assert_close(both.patches(found[0])[:2], alone.patches(found[1]))
    assert_close(both.features(found[0])[:2], alone.features(found[1]))


def _overlapping(offsets, N=32):
    """Frames of a known object around its middle, with the probe of the scene: amplitudes and patches."""
    scan = tiny_scene("random_field", N=N, grid=(9, 9))
    image = torch.from_numpy(scan.object_truth).to(torch.complex128)
    probe = torch.from_numpy(scan.probe).to(torch.complex128)
    middle = torch.tensor(image.shape, dtype=torch.float64) // 2
    # Cut wider than a frame: where a patch ends, shifting it would wrap round.
    inner = slice(8, 8 + N)
    wide = Fourier((offsets + middle).reshape(-1, 2), N + 16, image.shape).cut(image)[:, inner, inner]
    patches = wide.reshape(*offsets.shape[:2], N, N)
    return probe, _amplitude(probe, patches), patches, image, middle


@pytest.mark.rule("PHY-043")
def test_an_object_between_whole_pixels_is_a_fixed_point_of_its_frames():
    offsets = torch.tensor([[[-2.3, 1.4], [2.1, -1.6], [0.2, 0.2]]], dtype=torch.float64)
    probe, amplitude, _, image, middle = _overlapping(offsets)
    group = GroupObject(amplitude, Optics(probe), offsets)
    height, width = group.transmitting().shape[-2:]
    top, left = (int(m) - 16 + low for m, low in zip(middle, (-3, -2), strict=True))
    truth = image[None, None, top : top + height, left : left + width]
    error = torch.linalg.vector_norm(group.advanced(truth, 5) - truth) / torch.linalg.vector_norm(truth)
    # What is left is what the probe has at the rim, where moving it wraps round.
    assert error < 2e-3, error


@pytest.mark.rule("PHY-043")
def test_frames_that_overlap_settle_what_one_leaves_open():
    places = torch.tensor([(y, x) for y in (-4.2, 0.1, 4.1) for x in (-3.9, 0.0, 3.9)], dtype=torch.float64)
    offsets = (places - places.mean(dim=0))[None]
    probe, amplitude, truth, *_ = _overlapping(offsets)
    light = probe.abs().square().sum(dim=0)

    def error(given):
        group = GroupObject(amplitude, Optics(probe), given)
        found = group.patches(group.advanced(group.transmitting(), 60)).reshape(truth.shape)
        factor = (light * found.conj() * truth).sum() / (light * found.abs().square()).sum()
        return float(
            (
                (light * (factor * found - truth).abs().square()).sum() / (light * truth.abs() ** 2).sum()
            ).sqrt()
        )

    alone, together = error(None), error(offsets)
    assert together < 0.25 * alone, (alone, together)


def test_places_that_do_not_fit_are_refused(groups):
    probe, _, amplitude = groups
    with pytest.raises(ShapeError, check=lambda error: error.name == "offsets"):
        GroupObject(amplitude, Optics(probe), OFFSETS[0])


def test_patches_of_one_object_join_to_it_where_there_is_light(groups):
    probe, objects, amplitude = groups
    group = GroupObject(amplitude, Optics(probe), OFFSETS)
    joined = group.joined(group.patches(objects))
    lit = (
        GroupCanvases(OFFSETS, N).placement(WholePixel).add(torch.ones(4, N, N, dtype=torch.float64))
    ).reshape(objects.shape) > 0
    assert_close(joined[lit], objects[lit])
    assert (joined[~lit] == 1).all()


@pytest.mark.rule("PHY-039")
@pytest.mark.parametrize("offsets", [None, OFFSETS])
def test_a_blurred_field_has_the_gradient_of_its_own_misfit(offsets, groups):
    probe, objects, amplitude = groups
    objects = torch.randn_like(objects[:1, :, :N, :N].expand(4, -1, -1, -1)) if offsets is None else objects
    group = GroupObject(amplitude, Optics(probe, smoothing_sigma=0.7), offsets)
    leaf = objects.clone().requires_grad_()
    seen = leaf[:, 0].reshape(2, 2, N, N) if offsets is None else _seen(leaf, offsets)
    field = DiffractionOperator(probe, smoothing_sigma=0.7)(seen)
    misfit = (incoherent_intensity(field).sqrt() - amplitude).square().sum()
    (gradient,) = torch.autograd.grad(misfit, leaf)
    assert_close(group.gradient(objects), -gradient / 2)
