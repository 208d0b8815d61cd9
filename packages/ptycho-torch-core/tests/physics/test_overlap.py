"""The overlap constraint: agreement where patches overlap, their own values where nothing does."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from ptycho_torch.data.groups.grouping import make_groups
from ptycho_torch.errors import ShapeError
from ptycho_torch.physics import Fourier
from ptycho_torch.physics.overlap import merge_groups
from ptycho_torch.testing import assert_adjoint, assert_close, relative_error


def window(n, width=5.0):
    """Gaussian weight about the centre of a patch, off the axes so that nothing is symmetric."""
    step = torch.arange(n, dtype=torch.float64) - n // 2
    return torch.exp(-((step[:, None] - 0.5) ** 2 + (step + 0.3) ** 2) / (2 * width**2))


def hard_window(n):
    inside = (torch.arange(n) - n // 2).abs() < n // 4
    return (inside[:, None] & inside).double()


def offsets_of(b, c, reach, seed=0, whole=False):
    drawn = np.random.default_rng(seed).uniform(-reach, reach, (b, c, 2))
    return torch.from_numpy(np.round(drawn) if whole else drawn - drawn.mean(axis=1, keepdims=True))


def cuts(positions, n, highest, seed=1):
    """Patches of a sum of plane waves at exact sub-pixel coordinates: an object of known resolution."""
    rng = np.random.default_rng(seed)
    frequency = torch.from_numpy(rng.uniform(-highest, highest, (40, 2)))
    amplitude = torch.from_numpy(rng.normal(size=40) + 1j * rng.normal(size=40)) * 0.05
    step = torch.arange(n, dtype=torch.float64) - n // 2
    y = positions[..., 0, None, None, None] + step[:, None, None]
    x = positions[..., 1, None, None, None] + step[None, :, None]
    return 1 + (amplitude * torch.exp(2j * math.pi * (y * frequency[:, 0] + x * frequency[:, 1]))).sum(-1)


def error_inside(merged, patches, weight):
    inside = (weight > 0.1 * weight.max()).expand(patches.shape)
    return float((merged - patches).abs()[inside].square().mean().sqrt())


@pytest.mark.rule("PHY-040")
@pytest.mark.parametrize("n", [16, 15])
@pytest.mark.parametrize("weight", [window, hard_window, lambda n: torch.ones(n, n).double()])
def test_consistent_patches_are_untouched_at_whole_offsets(n, weight):
    offsets = offsets_of(3, 4, 4, whole=True)
    patches = cuts(offsets + 20, n, 0.5)
    assert_close(merge_groups(patches, offsets, weight(n)), patches, factor=10)


@pytest.mark.parametrize("highest", [0.1, 0.3])
def test_consistent_patches_change_by_the_error_of_interpolation(highest):
    n, offsets = 32, offsets_of(3, 4, 4)
    weight, patches = window(n, 4.0), cuts(offsets, n, highest)
    merged = merge_groups(patches, offsets, weight)
    assert error_inside(merged, patches, weight) < 1e-3


def test_the_other_sign_of_the_offsets_does_not_pass():
    n, offsets = 32, offsets_of(3, 4, 4)
    weight, patches = window(n, 4.0), cuts(offsets, n, 0.05)
    right, mirrored, swapped = (
        error_inside(merge_groups(patches, o, weight), patches, weight)
        for o in (offsets, -offsets, offsets.flip(-1))
    )
    assert right < 0.01
    assert mirrored > 0.1
    assert swapped > 0.1


@pytest.mark.rule("DATA-072")
def test_offsets_of_groups_of_a_scan_have_the_right_sign():
    positions = np.random.default_rng(3).uniform(0, 40, (60, 2))
    groups = make_groups(positions, gridsize=2, n_groups=5, neighbor_count=5, seed=0)
    n, weight = 32, window(32, 4.0)
    patches = cuts(torch.from_numpy(positions), n, 0.05)[torch.from_numpy(groups.frames)]
    offsets = torch.from_numpy(groups.offsets)
    assert error_inside(merge_groups(patches, offsets, weight), patches, weight) < 5e-3
    assert error_inside(merge_groups(patches, -offsets, weight), patches, weight) > 0.05


@pytest.mark.parametrize("weight", [window, hard_window])
def test_second_pass_changes_nothing_at_whole_offsets(weight, complex_noise):
    offsets, patches = offsets_of(3, 4, 4, whole=True), complex_noise(3, 4, 16, 16)
    once = merge_groups(patches, offsets, weight(16))
    assert relative_error(once, patches) > 0.1
    assert_close(merge_groups(once, offsets, weight(16)), once, factor=10)


def test_merged_patches_agree_where_they_overlap(complex_noise):
    n, by = 16, (3, -2)
    offsets = torch.tensor([[[0, 0], by]], dtype=torch.float64)
    merged = merge_groups(complex_noise(1, 2, n, n), offsets, window(n, 10.0))[0]
    assert_close(merged[0, by[0] :, : by[1]], merged[1, : -by[0], -by[1] :])


def test_average_is_weighted():
    n = 8
    patches = torch.stack([torch.full((n, n), value, dtype=torch.complex128) for value in (1, 3j)])[None]
    weight = torch.ones(n, n, dtype=torch.float64)
    weight[:, n // 2 :] = 3
    offsets = torch.tensor([[[0.0, 0.0], [0.0, 2.0]]], dtype=torch.float64)
    merged = merge_groups(patches, offsets, weight)
    # Column 4 of the first patch has weight 3 and lies on column 2 of the second, of weight 1.
    expected = [1, 1, (1 + 3j) / 2, (1 + 3j) / 2, (3 + 3j) / 4, (3 + 3j) / 4, (3 + 9j) / 6, (3 + 9j) / 6]
    assert_close(merged[0, 0], torch.tensor(expected).expand(n, n).to(torch.complex128))


@pytest.mark.rule("PHY-041")
@pytest.mark.parametrize("whole", [True, False])
def test_own_value_where_no_weight_is(whole, complex_noise):
    n, offsets = 32, offsets_of(2, 4, 3, whole=whole)
    patches = complex_noise(2, 4, n, n)
    merged = merge_groups(patches, offsets, hard_window(n))
    # Weights end 7 px from the centre, and two offsets differ by 6 px at most, rounded once.
    assert torch.equal(merged[..., : n // 2 - 15, :], patches[..., : n // 2 - 15, :])
    assert torch.equal(merged[..., -1], patches[..., -1])
    assert (merged - patches).abs()[..., n // 2 - 3 : n // 2 + 3, n // 2 - 3 : n // 2 + 3].min() > 0


def test_weight_that_is_zero_everywhere_leaves_every_patch_alone(complex_noise):
    patches = complex_noise(2, 4, 8, 8).requires_grad_()
    merged = merge_groups(patches, offsets_of(2, 4, 2), torch.zeros(8, 8))
    assert torch.equal(merged, patches)
    merged.abs().sum().backward()
    assert torch.isfinite(torch.view_as_real(patches.grad)).all()


def test_weight_with_hard_edges_does_not_ring_beyond_them():
    n, offsets = 32, offsets_of(3, 4, 4)
    patches = cuts(offsets, n, 0.3)
    merged = merge_groups(patches, offsets, hard_window(n))
    assert (merged - patches).abs().max() < 0.7 * (patches - 1).abs().max()


@pytest.mark.rule("PHY-042")
def test_one_channel_is_the_identity(complex_noise):
    patches = complex_noise(3, 1, 8, 8)
    offsets = torch.full((3, 1, 2), 0.37, dtype=torch.float64)
    assert torch.equal(merge_groups(patches, offsets, window(8)), patches)


def test_groups_do_not_touch_each_other(complex_noise):
    patches, offsets = complex_noise(5, 4, 12, 12), offsets_of(5, 4, 6)
    together = merge_groups(patches, offsets, window(12))
    for b in range(5):
        alone = merge_groups(patches[b : b + 1], offsets[b : b + 1], window(12))
        assert_close(together[b : b + 1], alone)


def test_order_of_channels_does_not_matter(complex_noise):
    patches, offsets, order = complex_noise(2, 4, 12, 12), offsets_of(2, 4, 3), [2, 0, 3, 1]
    merged = merge_groups(patches, offsets, window(12))
    other = merge_groups(patches[:, order], offsets[:, order], window(12))
    assert_close(other, merged[:, order])


def test_scale_of_the_weight_does_not_matter(complex_noise):
    patches, offsets = complex_noise(2, 4, 12, 12), offsets_of(2, 4, 3)
    merged = merge_groups(patches, offsets, window(12))
    # A power of two leaves the comparison with the floor the same to the last bit.
    scaled = merge_groups(patches, offsets, 2.0**-40 * window(12))
    assert_close(scaled, merged)


def test_linear_in_the_patches(generator):
    """The adjoint of merging is its vector-Jacobian product, and that is linear too."""
    offsets, like = offsets_of(2, 4, 2), torch.zeros(2, 4, 8, 8, dtype=torch.complex128)

    def merge(patches):
        return merge_groups(patches, offsets, window(8, 2.0))

    def adjoint(values):
        leaf = like.clone().requires_grad_()
        return torch.autograd.grad(merge(leaf), leaf, values, create_graph=True)[0]

    assert_adjoint(merge, adjoint, like, like, generator)


def test_fourier_sums_are_those_of_the_operators(complex_noise):
    patches, offsets, weight = complex_noise(2, 3, 8, 8), offsets_of(2, 3, 3), window(8, 1.5)
    merged = merge_groups(patches, offsets, weight)
    canvas, middle = (24, 24), 12.0
    for b in range(2):
        where = Fourier(offsets[b] + middle, 8, canvas)
        numerator, denominator = (
            where.cut(where.add(values)) for values in (weight * patches[b], weight.expand(3, 8, 8))
        )
        inside = (weight > 0.2 * weight.max()).expand(3, 8, 8)
        assert_close(merged[b][inside], (numerator / denominator)[inside])


def test_gradients(complex_noise):
    patches, offsets = complex_noise(1, 2, 6, 6).requires_grad_(), offsets_of(1, 2, 1.3)
    weight = window(6, 1.5)
    weight[:2] = 0
    weight.requires_grad_()
    offsets.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda p, o, w: merge_groups(p, o, w),
        (patches, offsets, weight),
        fast_mode=True,
    )


@pytest.mark.parametrize("weight", [window, hard_window])
def test_single_precision_agrees_and_its_gradients_are_bounded(weight, complex_noise):
    patches, offsets = complex_noise(2, 4, 16, 16), offsets_of(2, 4, 3)
    double = merge_groups(patches, offsets, weight(16))
    single = patches.to(torch.complex64).requires_grad_()
    merged = merge_groups(single, offsets, weight(16))
    assert merged.dtype == torch.complex64
    assert_close(merged, double, factor=20)  # divided by weights down to the floor, 0.05
    merged.real.sum().backward()
    assert single.grad.abs().max() < 100


@pytest.mark.parametrize("reach", [0.0, 40.0])
def test_canvas_follows_the_offsets(reach, complex_noise):
    offsets = torch.tensor([[[-reach, 0.0], [reach, 0.0]]], dtype=torch.float64)
    patches = complex_noise(1, 2, 8, 8)
    merged = merge_groups(patches, offsets, torch.ones(8, 8))
    expected = patches if reach else patches.mean(dim=1, keepdim=True).expand(patches.shape)
    assert_close(merged, expected)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("patches", lambda patches, offsets, weight: (patches[0], offsets, weight)),
        ("patches", lambda patches, offsets, weight: (patches.real, offsets, weight)),
        ("offsets", lambda patches, offsets, weight: (patches, offsets[:1], weight)),
        ("weight", lambda patches, offsets, weight: (patches, offsets, weight[:4])),
        ("weight", lambda patches, offsets, weight: (patches, offsets, weight.to(torch.complex64))),
    ],
)
def test_shapes_that_do_not_fit_are_refused(name, change, complex_noise):
    with pytest.raises(ShapeError) as caught:
        merge_groups(*change(complex_noise(2, 4, 8, 8), torch.zeros(2, 4, 2), torch.ones(8, 8)))
    assert caught.value.name == name
