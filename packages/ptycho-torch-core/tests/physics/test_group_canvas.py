"""Canvases of groups: where patches lie, and that placing is the adjoint of cutting."""

from __future__ import annotations

import pytest
import torch

from ptycho_torch.errors import ShapeError
from ptycho_torch.physics.group_canvas import GroupCanvas
from ptycho_torch.physics.patches import place_patches
from ptycho_torch.testing import assert_close

N = 8
OFFSETS = torch.tensor([[[-2.3, 1.0], [2.3, -1.0]], [[0.0, -3.4], [0.0, 3.4]]], dtype=torch.float64)


def _random(*shape):
    values = torch.randn(*shape, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(len(shape)))
    return torch.view_as_complex(values)


def test_placing_is_the_adjoint_of_cutting():
    canvas = GroupCanvas(OFFSETS, N)
    patches, objects = _random(4, N, N), _random(*canvas.shape)
    here = torch.vdot(patches.reshape(-1), canvas.cut(objects).reshape(-1))
    there = torch.vdot(canvas.place(patches).reshape(-1), objects.reshape(-1))
    assert_close(here, there)


def test_patches_lie_at_the_nearest_pixel_and_groups_do_not_touch():
    canvas, patches = GroupCanvas(OFFSETS, N), _random(4, N, N)
    # From the farthest corner on: rows from -3 and columns from -4, whichever group reaches there.
    corner = torch.tensor([N // 2 + 3, N // 2 + 4])
    for group in (0, 1):
        whole = torch.floor(OFFSETS[group] + 0.5)
        expected = place_patches(patches[2 * group : 2 * group + 2], whole + corner, canvas.shape[1:])
        assert_close(canvas.place(patches)[group], expected)
    assert_close(canvas.rest, (OFFSETS - torch.floor(OFFSETS + 0.5)).reshape(-1, 2))


def test_a_canvas_reaches_as_far_as_the_patches():
    assert GroupCanvas(OFFSETS, N).shape == (2, 14, 16)


def test_one_patch_needs_a_canvas_of_its_size():
    assert GroupCanvas(torch.zeros(3, 1, 2), N).shape == (3, N, N)


def test_offsets_of_another_rank_are_refused():
    with pytest.raises(ShapeError, match=r"offsets: expected \(batch, channel, 2\)"):
        GroupCanvas(OFFSETS[0], N)
