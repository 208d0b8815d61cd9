"""Cutting and placing with Fourier interpolation: one operator and its adjoint."""

from __future__ import annotations

import math

import pytest
import torch

from ptycho_torch.errors import ShapeError
from ptycho_torch.physics.patches import extract_patches, place_patches
from ptycho_torch.physics.patches_fourier import (
    extract_patches_fourier,
    nearest_pixels,
    place_patches_fourier,
)
from ptycho_torch.testing import assert_adjoint, assert_close

SHAPE = (18, 21)
POSITIONS = {
    "whole": [[4.0, 5.0], [9.0, 12.0], [4.0, 5.0]],
    "sub-pixel": [[4.25, 5.5], [9.7, 12.1], [6.3, 8.9]],
    "mixed": [[4.0, 5.0], [9.5, 12.0], [4.0, 6.25], [7.75, 9.125]],
    "at the edge": [[4.0, 4.0], [14.0, 17.0], [3.5, 17.4]],
}


def positions_of(kind):
    return torch.tensor(POSITIONS[kind], dtype=torch.float64)


@pytest.mark.parametrize("n", [8, 7])
@pytest.mark.parametrize("origin", [(0.0, 0.0), (-2.5, 3.25)])
@pytest.mark.parametrize("kind", list(POSITIONS))
def test_adjoint(kind, origin, n, generator):
    where = torch.tensor(origin, dtype=torch.float64)
    positions = positions_of(kind) - where
    assert_adjoint(
        lambda image: extract_patches_fourier(image, positions, n, origin=where),
        lambda patches: place_patches_fourier(patches, positions, SHAPE, origin=where),
        torch.empty(SHAPE),
        torch.empty(len(positions), n, n),
        generator,
    )


@pytest.mark.parametrize("n", [8, 7])
def test_agrees_with_bilinear_at_whole_pixels(n, complex_noise):
    image, positions = complex_noise(*SHAPE), positions_of("whole")
    patches = extract_patches(image, positions, n)
    assert_close(extract_patches_fourier(image, positions, n), patches)
    placed = place_patches(patches, positions, SHAPE)
    assert_close(place_patches_fourier(patches, positions, SHAPE), placed)


def test_rest_is_half_a_pixel_at_most():
    positions = torch.tensor([[4.5, -3.25], [4.49, -3.75], [4.0, 7.0]], dtype=torch.float64)
    corner, rest = nearest_pixels(positions, 4, torch.tensor([1.0, 0.0], dtype=torch.float64))
    assert corner.tolist() == [[4, -5], [3, -6], [3, 5]]
    assert_close(rest, torch.tensor([[-0.5, -0.25], [0.49, 0.25], [0.0, 0.0]], dtype=torch.float64))


def bump(y, x):
    """Gaussian with a phase that tells left from right and up from down; resolved by a pixel."""
    return torch.exp(-(y**2 + x**2) / 10 + 0.5j * y - 0.3j * x)


@pytest.mark.parametrize("n", [32, 31])
@pytest.mark.parametrize("by", [(0.3, -0.2), (0.5, 0.5), (-0.49, 0.75)])
def test_cut_of_a_known_object_is_where_the_convention_says(n, by):
    """A patch around ``centre + by`` sees an object at ``centre`` displaced by ``-by``."""
    centre = torch.tensor([24.0, 27.0], dtype=torch.float64)
    y, x = torch.meshgrid(torch.arange(50).double(), torch.arange(56).double(), indexing="ij")
    image = bump(y - centre[0], x - centre[1])
    step = torch.arange(n, dtype=torch.float64) - n // 2
    expected = bump((step + by[0])[:, None], (step + by[1])[None, :])
    position = (centre + torch.tensor(by, dtype=torch.float64))[None]
    assert (extract_patches_fourier(image, position, n)[0] - expected).abs().max() < 1e-6
    # Placed at the same position the patch is the object again.
    placed = place_patches_fourier(expected[None], position, (50, 56))
    assert (placed - image).abs().max() < 1e-6


def test_origin_moves_the_array(complex_noise):
    image, origin = complex_noise(*SHAPE), torch.tensor([-1e7, 2.5], dtype=torch.float64)
    positions = positions_of("sub-pixel")
    assert_close(
        extract_patches_fourier(image, positions - origin, 8, origin=origin),
        extract_patches_fourier(image, positions, 8),
        factor=1e5,  # positions of 1e7 px are rounded to 1e-9 px
    )


@pytest.mark.parametrize("kind", list(POSITIONS))
def test_placed_patches_keep_their_sum(kind, complex_noise):
    positions = positions_of(kind)
    patches = complex_noise(len(positions), 8, 8)
    assert_close(place_patches_fourier(patches, positions, SHAPE).sum(), patches.sum())


def test_gradients(complex_noise):
    positions = torch.tensor([[3.3, 3.6], [4.2, 3.7]], dtype=torch.float64, requires_grad=True)
    image, patches = complex_noise(8, 8).requires_grad_(), complex_noise(2, 4, 4).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda i, p: extract_patches_fourier(i, p, 4), (image, positions), fast_mode=True
    )
    assert torch.autograd.gradcheck(
        lambda o, p: place_patches_fourier(o, p, (8, 8)), (patches, positions), fast_mode=True
    )


def test_real_single_precision_stays_so():
    positions = torch.tensor([[4.25, 4.0]], dtype=torch.float64)
    assert place_patches_fourier(torch.ones(1, 4, 4), positions, (8, 8)).dtype == torch.float32
    assert extract_patches_fourier(torch.ones(8, 8), positions, 4).dtype == torch.float32


def test_frequencies_are_kept_that_bilinear_interpolation_blurs():
    stripes = torch.cos(2 * math.pi * 3 / 8 * torch.arange(16, dtype=torch.float64))[:, None].expand(16, 16)
    position = torch.tensor([[8.5, 8.0]], dtype=torch.float64)
    sharp = extract_patches_fourier(stripes, position, 8).abs().max()
    blurred = extract_patches(stripes, position, 8).abs().max()
    assert sharp > 0.9
    assert blurred < 0.4


@pytest.mark.parametrize("position", [[3.4, 8.0], [8.0, 3.4], [14.5, 8.0], [8.0, 17.6]])
def test_patch_beyond_the_object_is_refused(position, complex_noise):
    positions = torch.tensor([[8.0, 8.0], position], dtype=torch.float64)
    with pytest.raises(ShapeError, match=r"object: expected room for rows"):
        extract_patches_fourier(complex_noise(*SHAPE), positions, 8)
    with pytest.raises(ShapeError, match="object: expected room for rows"):
        place_patches_fourier(complex_noise(2, 8, 8), positions, SHAPE)


def test_arrays_of_wrong_shape_are_refused(complex_noise):
    good = torch.tensor([[5.0, 5.0]], dtype=torch.float64)
    with pytest.raises(ShapeError, match="positions"):
        extract_patches_fourier(complex_noise(12, 12), good[:, :1], 4)
    with pytest.raises(ShapeError, match="positions"):
        place_patches_fourier(complex_noise(2, 4, 4), good, (12, 12))
    with pytest.raises(ShapeError, match="object"):
        extract_patches_fourier(complex_noise(1, 12, 12), good, 4)
