"""Cutting patches out and placing them: one operator and its adjoint."""

from __future__ import annotations

import pytest
import torch

from ptycho_torch.errors import ShapeError
from ptycho_torch.physics import extract_patches, place_patches
from ptycho_torch.physics.patches import patch_corners
from ptycho_torch.testing import assert_adjoint, assert_close

SHAPE = (18, 21)
POSITIONS = {
    "whole": [[4.0, 5.0], [9.0, 12.0], [4.0, 5.0]],
    "sub-pixel": [[4.25, 5.5], [9.7, 12.1], [6.3, 8.9]],
    "mixed": [[4.0, 5.0], [9.5, 12.0], [4.0, 6.25], [7.75, 9.125]],
    "at the edge": [[4.0, 4.0], [14.0, 17.0], [10.0, 16.5]],
}


@pytest.mark.rule("PHY-003", "PHY-004")
@pytest.mark.parametrize("n", [8, 7])
@pytest.mark.parametrize("origin", [(0.0, 0.0), (-2.5, 3.25)])
@pytest.mark.parametrize("kind", list(POSITIONS))
def test_adjoint(kind, origin, n, generator):
    where = torch.tensor(origin, dtype=torch.float64)
    positions = torch.tensor(POSITIONS[kind], dtype=torch.float64) - where
    assert_adjoint(
        lambda image: extract_patches(image, positions, n, origin=where),
        lambda patches: place_patches(patches, positions, SHAPE, origin=where),
        torch.empty(SHAPE),
        torch.empty(len(positions), n, n),
        generator,
    )


def test_gradients_of_patches_with_respect_to_the_object(complex_noise):
    positions = torch.tensor([[2.0, 2.25], [3.5, 2.0]], dtype=torch.float64)
    image = complex_noise(6, 6).requires_grad_()
    assert torch.autograd.gradcheck(lambda image: extract_patches(image, positions, 4), (image,))


def test_gradients_with_respect_to_positions(complex_noise):
    image = complex_noise(8, 8)
    positions = torch.tensor([[3.3, 3.6], [4.2, 3.7]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda positions: extract_patches(image, positions, 4), (positions,))


@pytest.mark.rule("DATA-010")
@pytest.mark.parametrize("n", [6, 7])
def test_patch_pixel_lies_where_the_convention_says(n):
    rows, columns = torch.meshgrid(
        torch.arange(20, dtype=torch.float64), torch.arange(24, dtype=torch.float64), indexing="ij"
    )
    origin, y, x = torch.tensor([2.0, -1.0], dtype=torch.float64), 7.5, 12.25
    position = torch.tensor([[y, x]], dtype=torch.float64)
    step = torch.arange(n, dtype=torch.float64)
    # A linear ramp is interpolated without error, so that each pixel tells its own coordinate.
    for ramp, expected in (
        (rows, (y - n // 2 + step + 2.0)[:, None].expand(n, n)),
        (columns, (x - n // 2 + step - 1.0)[None, :].expand(n, n)),
    ):
        assert_close(extract_patches(ramp, position, n, origin=origin)[0], expected)


@pytest.mark.rule("PHY-004")
def test_whole_pixel_patches_are_copies(complex_noise):
    image = complex_noise(*SHAPE)
    patches = extract_patches(image, torch.tensor(POSITIONS["whole"], dtype=torch.float64), 8)
    assert torch.equal(patches[1], image[5:13, 8:16])


def test_moving_the_position_is_moving_along_the_object(complex_noise):
    image = complex_noise(*SHAPE)
    near, far = (torch.tensor([p], dtype=torch.float64) for p in ([5.25, 6.5], [8.25, 10.5]))
    moved = extract_patches(image.roll((3, 4), (0, 1)), far, 8)
    assert_close(moved, extract_patches(image, near, 8))


@pytest.mark.parametrize("kind", list(POSITIONS))
def test_placed_patches_keep_their_sum(kind, complex_noise):
    positions = torch.tensor(POSITIONS[kind], dtype=torch.float64)
    patches = complex_noise(len(positions), 8, 8)
    assert_close(place_patches(patches, positions, SHAPE).sum(), patches.sum())


def test_overlapping_patches_add_up():
    positions = torch.tensor([[4.0, 4.0], [4.0, 4.0], [4.0, 5.0]], dtype=torch.float64)
    total = place_patches(torch.ones(3, 4, 4), positions, (8, 9))
    assert total[3, 2:7].tolist() == [2, 3, 3, 3, 1]
    assert total.sum() == 48


def test_real_single_precision_patches_stay_so():
    positions = torch.tensor([[4.25, 4.0]], dtype=torch.float64)
    assert place_patches(torch.ones(1, 4, 4), positions, (8, 8)).dtype == torch.float32
    assert extract_patches(torch.ones(8, 8), positions, 4).dtype == torch.float32


def test_double_precision_positions_survive_far_from_the_origin(complex_noise):
    image = complex_noise(12, 12)
    near, far = (torch.tensor([[p + 5.125, 5.0]], dtype=torch.float64) for p in (0.0, 1e7))
    origin = torch.tensor([-1e7, 0.0], dtype=torch.float64)
    assert_close(extract_patches(image, far, 4, origin=origin), extract_patches(image, near, 4))


def test_corner_is_rounded_down_on_both_sides_of_zero():
    corner, remainder = patch_corners(
        torch.tensor([[3.75, -3.25]], dtype=torch.float64), 4, torch.zeros(2, dtype=torch.float64)
    )
    assert corner.tolist() == [[1, -6]]
    assert remainder.tolist() == [[0.75, 0.75]]


@pytest.mark.parametrize("position", [[3.0, 8.0], [8.0, 3.9], [14.25, 8.0], [8.0, 17.5]])
def test_patch_beyond_the_object_is_refused(position, complex_noise):
    positions = torch.tensor([[8.0, 8.0], position], dtype=torch.float64)
    with pytest.raises(ShapeError, match=r"object: expected room for rows .* got shape \(18, 21\)"):
        extract_patches(complex_noise(*SHAPE), positions, 8)
    with pytest.raises(ShapeError, match="origin"):
        place_patches(complex_noise(2, 8, 8), positions, SHAPE)


def test_arrays_of_wrong_rank_are_refused(complex_noise):
    good = torch.tensor([[5.0, 5.0]], dtype=torch.float64)
    with pytest.raises(ShapeError, match="object"):
        extract_patches(complex_noise(1, 12, 12), good, 4)
    with pytest.raises(ShapeError, match=r"positions: expected \(1, 2\) in the order \[y, x\]"):
        extract_patches(complex_noise(12, 12), good[:, :1], 4)
    with pytest.raises(ShapeError, match="patches"):
        place_patches(complex_noise(1, 1, 4, 4), good, (12, 12))
    with pytest.raises(ShapeError, match="positions"):
        place_patches(complex_noise(2, 4, 4), good, (12, 12))
