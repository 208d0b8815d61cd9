"""Batches cover the scan evenly."""

import numpy as np
import pytest

from ptycho_torch.refine.subsets import deal, subset_counts, z_order


@pytest.mark.parametrize("n_subsets", [1, 3, 7, 50])
def test_every_frame_is_dealt_once(rng, n_subsets):
    order = z_order(rng.uniform(0, 100, (50, 2)))
    subsets = deal(order, n_subsets, rng)
    np.testing.assert_array_equal(np.sort(np.concatenate(subsets)), np.arange(50))
    assert all((np.diff(subset) > 0).all() for subset in subsets)


def test_subsets_spread_over_the_field(rng):
    grid = np.mgrid[:16, :16].reshape(2, -1).T.astype(float)
    for subset in deal(z_order(grid), 16, rng):
        quadrant = (grid[subset] >= 8) @ [2, 1]
        # Runs begin anywhere on the curve, so that one of them may straddle two quadrants.
        np.testing.assert_allclose(np.bincount(quadrant, minlength=4), 4, atol=1)


def test_batches_grow_to_the_whole_scan():
    counts = subset_counts(320, 10, 60)
    assert counts[0] == 32
    assert counts[-1] == 1
    assert counts == sorted(counts, reverse=True)
    assert subset_counts(320, 320, 5) == [1] * 5


def test_equal_positions_have_an_order():
    np.testing.assert_array_equal(z_order(np.zeros((4, 2))), np.arange(4))
