"""Cutting patches out and adding them, in every kind: one operator and its adjoint, one convention."""

from __future__ import annotations

import functools
import math

import pytest
import torch

from ptycho_torch.errors import ShapeError
from ptycho_torch.physics import Bilinear, Fourier, WholePixel
from ptycho_torch.physics.placement import nearest_pixels, patch_corners
from ptycho_torch.physics.placement_bilinear import BilinearRows
from ptycho_torch.physics.placement_groups import GroupCanvases
from ptycho_torch.physics.placement_moved_probe import MovedProbe
from ptycho_torch.testing import assert_adjoint, assert_close

SHAPE = (20, 23)
POSITIONS = {
    "whole": [[4.0, 5.0], [9.0, 12.0], [4.0, 5.0]],
    "sub-pixel": [[4.25, 5.5], [9.7, 12.1], [6.3, 8.9]],
    "mixed": [[4.0, 5.0], [9.5, 12.0], [4.0, 6.25], [7.75, 9.125]],
    "at the edge": [[4.0, 4.0], [14.0, 17.0], [10.0, 16.5]],
}
KINDS = {
    "whole pixel": WholePixel,
    "bilinear": Bilinear,
    "bilinear, rows": functools.partial(BilinearRows, dtype=torch.float64),
    "Fourier": Fourier,
    "moved probe": functools.partial(MovedProbe, dtype=torch.float64),
}
every_kind = pytest.mark.parametrize("kind", list(KINDS))
interpolating = pytest.mark.parametrize("kind", ["bilinear", "bilinear, rows", "Fourier"])


def at(kind, positions, n=8, origin=(0.0, 0.0), shape=SHAPE):
    chosen = POSITIONS[positions] if isinstance(positions, str) else positions
    positions = torch.tensor(chosen, dtype=torch.float64)
    where = torch.tensor(origin, dtype=torch.float64)
    return KINDS[kind](positions - where, n, shape, origin=where)


@pytest.mark.rule("PHY-003", "PHY-004", "REF-002")
@pytest.mark.parametrize("n", [8, 7])
@pytest.mark.parametrize("origin", [(0.0, 0.0), (-2.5, 3.25)])
@pytest.mark.parametrize("positions", list(POSITIONS))
@every_kind
def test_adding_is_the_adjoint_of_cutting(kind, positions, origin, n, generator):
    where = at(kind, positions, n, origin)
    assert_adjoint(where.cut, where.add, torch.empty(SHAPE), torch.empty(len(where), n, n), generator)


@pytest.mark.rule("REF-002")
@pytest.mark.parametrize("n", [8, 7])
@every_kind
def test_gathering_light_is_the_adjoint_of_lighting(kind, n, generator):
    where = at(kind, "sub-pixel", n)
    modes = torch.empty(2, n, n)

    def light(probe):
        return where.light(probe).expand(len(where), -1, -1, -1)

    assert_adjoint(light, where.gather_light, modes, torch.empty(len(where), 2, n, n), generator)


@every_kind
def test_a_part_is_those_patches(kind, complex_noise):
    where, image = at(kind, "mixed"), complex_noise(*SHAPE)
    where.cut(image)
    part = where.part(slice(1, 3))
    assert len(part) == 2
    assert torch.equal(part.cut(image), where.cut(image)[1:3])
    patches = torch.zeros(4, 8, 8, dtype=torch.complex128)
    patches[1:3] = complex_noise(2, 8, 8)
    assert_close(part.add(patches[1:3]), where.add(patches))


@every_kind
def test_patches_are_added_to_what_is_there(kind, complex_noise):
    where, image, patches = at(kind, "sub-pixel"), complex_noise(*SHAPE), complex_noise(3, 8, 8)
    expected = image + where.add(patches)
    assert where.add(patches, image) is image
    assert_close(image, expected)


@pytest.mark.rule("PHY-004")
@every_kind
def test_whole_pixel_patches_are_copies(kind, complex_noise):
    image = complex_noise(*SHAPE)
    assert_close(at(kind, "whole").cut(image)[1], image[5:13, 8:16])
    if kind != "Fourier":
        assert torch.equal(at(kind, "whole").cut(image)[1], image[5:13, 8:16])


@pytest.mark.rule("DATA-010")
@pytest.mark.parametrize("n", [6, 7])
@pytest.mark.parametrize("kind", ["bilinear", "bilinear, rows"])
def test_patch_pixel_lies_where_the_convention_says(kind, n):
    rows, columns = torch.meshgrid(
        torch.arange(20, dtype=torch.float64), torch.arange(24, dtype=torch.float64), indexing="ij"
    )
    y, x, step = 7.5, 12.25, torch.arange(n, dtype=torch.float64)
    where = at(kind, [[y + 2.0, x - 1.0]], n, (2.0, -1.0), (20, 24))
    # A linear ramp is interpolated without error, so that each pixel tells its own coordinate.
    for ramp, expected in (
        (rows, (y - n // 2 + step + 2.0)[:, None].expand(n, n)),
        (columns, (x - n // 2 + step - 1.0)[None, :].expand(n, n)),
    ):
        assert_close(where.cut(ramp.to(torch.complex128))[0].real, expected)


def bump(y, x):
    """Gaussian with a phase that tells left from right and up from down; resolved by a pixel."""
    return torch.exp(-(y**2 + x**2) / 10 + 0.5j * y - 0.3j * x)


@pytest.mark.parametrize("n", [32, 31])
@pytest.mark.parametrize("by", [(0.3, -0.2), (0.5, 0.5), (-0.49, 0.75)])
@pytest.mark.parametrize(("kind", "allowed"), [("Fourier", 1e-6), ("bilinear", 0.1), ("bilinear, rows", 0.1)])
def test_kinds_agree_about_fractions_of_a_pixel(kind, allowed, n, by):
    """A patch around ``centre + by`` sees an object at ``centre`` displaced by ``-by``."""
    centre = torch.tensor([24.0, 27.0], dtype=torch.float64)
    y, x = torch.meshgrid(torch.arange(50).double(), torch.arange(56).double(), indexing="ij")
    image = bump(y - centre[0], x - centre[1])
    step = torch.arange(n, dtype=torch.float64) - n // 2
    expected = bump((step + by[0])[:, None], (step + by[1])[None, :])
    where = at(kind, (centre + torch.tensor(by, dtype=torch.float64))[None].tolist(), n, shape=(50, 56))
    assert (where.cut(image)[0] - expected).abs().max() < allowed
    # Added at the same position the patch is the object again.
    assert (where.add(expected[None]) - image).abs().max() < allowed


@pytest.mark.parametrize("n", [32, 31])
@pytest.mark.parametrize("by", [(0.3, -0.2), (-0.49, 0.4)])
def test_the_light_of_whole_pixels_moves_to_where_the_position_is(n, by):
    where = at("whole pixel", [[24.0 + by[0], 27.0 + by[1]]], n, shape=(50, 56))
    step = torch.arange(n, dtype=torch.float64) - n // 2
    probe = bump(step[:, None], step[None, :])[None]
    expected = bump((step - by[0])[:, None], (step - by[1])[None, :])
    assert (where.light(probe)[0, 0] - expected).abs().max() < 1e-6


@every_kind
def test_moving_the_position_is_moving_along_the_object(kind, complex_noise):
    image = complex_noise(*SHAPE)
    near, far = at(kind, [[5.25, 6.5]]), at(kind, [[8.25, 10.5]])
    assert_close(far.cut(image.roll((3, 4), (0, 1))), near.cut(image))


@every_kind
def test_origin_moves_the_array(kind, complex_noise):
    image = complex_noise(*SHAPE)
    far = at(kind, "sub-pixel", origin=(-1e7, 2.5))
    # Positions of 1e7 px are rounded to 1e-9 px.
    assert_close(far.cut(image), at(kind, "sub-pixel").cut(image), factor=1e5)


@pytest.mark.parametrize("positions", list(POSITIONS))
@every_kind
def test_added_patches_keep_their_sum(kind, positions, complex_noise):
    where = at(kind, positions)
    patches = complex_noise(len(where), 8, 8)
    assert_close(where.add(patches).sum(), patches.sum())


@every_kind
def test_overlapping_patches_add_up(kind):
    total = at(kind, [[4.0, 4.0], [4.0, 4.0], [4.0, 5.0]], 4, shape=(9, 9)).add(torch.ones(3, 4, 4).double())
    assert_close(total[3, 2:7], torch.tensor([2, 3, 3, 3, 1], dtype=torch.float64))
    assert_close(total.sum(), torch.tensor(48.0, dtype=torch.float64))


@pytest.mark.parametrize("kind", ["bilinear", "Fourier"])
def test_gradients(kind, complex_noise):
    positions = torch.tensor([[3.3, 3.6], [4.2, 3.7]], dtype=torch.float64, requires_grad=True)
    image, patches = complex_noise(8, 8).requires_grad_(), complex_noise(2, 4, 4).requires_grad_()
    of = KINDS[kind]
    assert torch.autograd.gradcheck(lambda i, p: of(p, 4, (8, 8)).cut(i), (image, positions), fast_mode=True)
    assert torch.autograd.gradcheck(
        lambda o, p: of(p, 4, (8, 8)).add(o), (patches, positions), fast_mode=True
    )


@pytest.mark.parametrize("kind", [WholePixel, Bilinear, Fourier])
def test_real_single_precision_stays_so(kind):
    where = kind(torch.tensor([[4.25, 4.0]], dtype=torch.float64), 4, (8, 8))
    assert where.add(torch.ones(1, 4, 4)).dtype == torch.float32
    assert where.cut(torch.ones(8, 8)).dtype == torch.float32


def test_frequencies_are_kept_that_bilinear_interpolation_blurs():
    stripes = torch.cos(2 * math.pi * 3 / 8 * torch.arange(16, dtype=torch.float64))[:, None].expand(16, 16)
    sharp, blurred = (
        at(kind, [[8.5, 8.0]], shape=(16, 16)).cut(stripes).abs().max() for kind in ("Fourier", "bilinear")
    )
    assert sharp > 0.9
    assert blurred < 0.4


@pytest.mark.rule("REF-002")
def test_rows_are_the_bilinear_operator(complex_noise):
    image, patches = complex_noise(*SHAPE), complex_noise(3, 8, 8)
    fast, exact = at("bilinear, rows", "sub-pixel"), at("bilinear", "sub-pixel")
    assert_close(fast.cut(image), exact.cut(image))
    assert_close(fast.add(patches), exact.add(patches))
    assert_close(fast.add(patches.real), exact.add(patches.real))


def test_slopes_are_derivatives_in_the_position(complex_noise):
    image, step = complex_noise(*SHAPE), 1e-6
    where = at("bilinear, rows", "sub-pixel")
    for axis, slope in enumerate(where.slopes(image)):
        moved = torch.tensor(POSITIONS["sub-pixel"], dtype=torch.float64)
        moved[:, axis] += step
        other = at("bilinear", moved.tolist()).cut(image)
        torch.testing.assert_close((other - where.cut(image)) / step, slope, rtol=1e-4, atol=1e-6)


def test_corner_is_rounded_down_on_both_sides_of_zero():
    corner, remainder = patch_corners(
        torch.tensor([[3.75, -3.25]], dtype=torch.float64), 4, torch.zeros(2, dtype=torch.float64)
    )
    assert corner.tolist() == [[1, -6]]
    assert remainder.tolist() == [[0.75, 0.75]]


def test_rest_is_half_a_pixel_at_most():
    positions = torch.tensor([[4.5, -3.25], [4.49, -3.75], [4.0, 7.0]], dtype=torch.float64)
    corner, rest = nearest_pixels(positions, 4, torch.tensor([1.0, 0.0], dtype=torch.float64))
    assert corner.tolist() == [[4, -5], [3, -6], [3, 5]]
    assert_close(rest, torch.tensor([[-0.5, -0.25], [0.49, 0.25], [0.0, 0.0]], dtype=torch.float64))


@pytest.mark.parametrize("position", [[3.4, 8.0], [8.0, 3.4], [16.6, 8.0], [8.0, 19.6]])
@every_kind
def test_patch_beyond_the_object_is_refused(kind, position):
    with pytest.raises(ShapeError) as caught:
        at(kind, [[8.0, 8.0], position])
    assert caught.value.name == "object"
    assert str(SHAPE) in str(caught.value)


@every_kind
def test_arrays_that_do_not_fit_are_refused(kind, complex_noise):
    where = at(kind, "whole")
    for refused, name in (
        (lambda: where.cut(complex_noise(1, *SHAPE)), "object"),
        (lambda: where.cut(complex_noise(12, 12)), "object"),
        (lambda: where.add(complex_noise(3, 1, 8, 8)), "patches"),
        (lambda: where.add(complex_noise(2, 8, 8)), "patches"),
        (lambda: KINDS[kind](torch.zeros(3, 1), 8, SHAPE), "positions"),
        (lambda: KINDS[kind](torch.full((3, 2), 9.0), 8, (1, *SHAPE)), "object"),
    ):
        with pytest.raises(ShapeError) as caught:
            refused()
        assert caught.value.name == name


N = 8
OFFSETS = torch.tensor([[[-2.3, 1.0], [2.3, -1.0]], [[0.0, -3.4], [0.0, 3.4]]], dtype=torch.float64)


@pytest.mark.parametrize("kind", [WholePixel, Fourier])
def test_canvases_of_groups_pass_the_battery(kind, generator):
    canvases = GroupCanvases(OFFSETS, N)
    where = canvases.placement(kind)
    assert_adjoint(where.cut, where.add, torch.empty(canvases.tall), torch.empty(4, N, N), generator)


def test_patches_of_groups_lie_at_the_nearest_pixel_and_groups_do_not_touch(complex_noise):
    canvases, patches = GroupCanvases(OFFSETS, N), complex_noise(4, N, N)
    where = canvases.placement(WholePixel)
    # From the farthest corner on: rows from -3 and columns from -4, whichever group reaches there.
    corner = torch.tensor([N // 2 + 3, N // 2 + 4])
    for group in (0, 1):
        whole = torch.floor(OFFSETS[group] + 0.5)
        expected = Bilinear(whole + corner, N, canvases.shape[1:]).add(patches[2 * group : 2 * group + 2])
        assert_close(where.add(patches).reshape(canvases.shape)[group], expected)
    assert_close(where.rest, (OFFSETS - torch.floor(OFFSETS + 0.5)).reshape(-1, 2))


def test_a_canvas_of_a_group_reaches_as_far_as_the_patches():
    assert GroupCanvases(OFFSETS, N).shape == (2, 14, 16)
    assert GroupCanvases(torch.zeros(3, 1, 2), N).shape == (3, N, N)


def test_offsets_of_another_rank_are_refused():
    with pytest.raises(ShapeError) as caught:
        GroupCanvases(OFFSETS[0], N)
    assert caught.value.name == "offsets"
