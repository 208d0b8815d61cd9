"""Matrix and numbers of an affine map say the same."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ptycho_torch.data.scan.affine import AffineMap


def test_numbers_come_back_from_the_matrix():
    stated = AffineMap(scale_y=1.03, scale_x=0.97, rotation_deg=-2.0, shear=0.04)
    found = AffineMap.of(stated.matrix)
    for name in ("scale_y", "scale_x", "rotation_deg", "shear"):
        assert getattr(found, name) == pytest.approx(getattr(stated, name))
    np.testing.assert_array_equal(AffineMap().matrix, np.eye(2))


def test_steps_along_x_are_scaled_and_turned_towards_y():
    y, x = AffineMap(scale_x=2.0, rotation_deg=30.0).matrix @ [0.0, 1.0]
    assert (y, x) == pytest.approx((1.0, math.sqrt(3)))


def test_y_leans_towards_x():
    np.testing.assert_allclose(AffineMap(scale_y=2.0, shear=0.1).matrix @ [1.0, 0.0], [2.0, 0.2])
