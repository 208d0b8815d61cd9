"""The fast cutting and placing of patches is the pair of operators of the physics."""

import pytest
import torch

from ptycho_torch.errors import ShapeError
from ptycho_torch.physics import extract_patches, place_patches
from ptycho_torch.refine.placement import Placement

N, SHAPE = 8, (24, 27)


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(3)


@pytest.fixture
def positions(generator):
    return 6 + 9 * torch.rand(7, 2, dtype=torch.float64, generator=generator)


@pytest.fixture
def origin():
    return torch.tensor([1.0, 2.0], dtype=torch.float64)


@pytest.fixture
def placement(positions, origin):
    return Placement(positions, origin, N, SHAPE, torch.float64)


def test_cut_is_the_cutting_of_the_forward_model(placement, positions, origin, generator):
    image = torch.randn(SHAPE, dtype=torch.complex128, generator=generator)
    expected = extract_patches(image, positions, N, origin=origin)
    torch.testing.assert_close(placement.cut(image), expected)
    torch.testing.assert_close(placement.cut_with_slopes(image)[0], expected)


@pytest.mark.rule("REF-002")
@pytest.mark.parametrize("dtype", [torch.complex128, torch.float64])
def test_add_to_is_the_placing_of_the_forward_model(placement, positions, origin, generator, dtype):
    patches = torch.randn(7, N, N, dtype=dtype, generator=generator)
    image = torch.zeros(SHAPE, dtype=dtype)
    placement.add_to(image, patches)
    torch.testing.assert_close(image, place_patches(patches, positions, SHAPE, origin=origin))


def test_slopes_are_derivatives_in_the_position(placement, positions, origin, generator):
    image = torch.randn(SHAPE, dtype=torch.complex128, generator=generator)
    step = 1e-6
    for axis, slope in enumerate(placement.cut_with_slopes(image)[1:]):
        moved = positions.clone()
        moved[:, axis] += step
        other = Placement(moved, origin, N, SHAPE, torch.float64).cut(image)
        torch.testing.assert_close((other - placement.cut(image)) / step, slope, rtol=1e-4, atol=1e-6)


def test_patch_beyond_the_canvas_is_refused(origin):
    with pytest.raises(ShapeError, match="enlarge the canvas"):
        Placement(torch.full((1, 2), 30.0, dtype=torch.float64), origin, N, SHAPE, torch.float64)
