"""Which pixels are compared."""

import numpy as np
import pytest
from scipy import ndimage

from ptycho_torch.errors import ShapeError
from ptycho_torch.metrics import common_region, coverage_region


@pytest.mark.rule("MET-001")
@pytest.mark.parametrize(
    ("origin", "other_origin"),
    [((0, 0), (0, 0)), ((5, -3), (0, 0)), ((-40, 2), (7, 11)), ((2.3, 0.5), (0, -1.4))],
)
def test_pieces_hold_the_same_coordinates(origin, other_origin):
    """An array of its own coordinates shows what the cut did."""

    def coordinates(shape, start):
        return np.stack(
            np.meshgrid(*(np.arange(n) - s for n, s in zip(shape, start, strict=True)), indexing="ij")
        )

    shape, other = (70, 90), (80, 60)
    window, other_window, offset = common_region(shape, origin, other, other_origin)
    first = coordinates(shape, origin)[:, window[0], window[1]]
    second = coordinates(other, other_origin)[:, other_window[0], other_window[1]]
    assert first.shape == second.shape
    assert np.all(np.abs(offset) <= 0.5)
    # Pixel r of the second piece lies at r + offset of the first.
    np.testing.assert_allclose(first + offset[:, None, None], second, atol=1e-12)


def test_common_region_is_as_large_as_it_can_be():
    window, other_window, _ = common_region((50, 50), (10, 0), (50, 50), (0, 0))
    assert window == (slice(10, 50), slice(0, 50))
    assert other_window == (slice(0, 40), slice(0, 50))


def test_fields_that_do_not_meet_are_refused():
    with pytest.raises(ShapeError, check=lambda error: error.name == "reconstruction and truth"):
        common_region((50, 50), (0, 0), (50, 50), (80, 0))


@pytest.mark.rule("MET-002")
def test_weights_below_the_share_of_the_median_are_left_out():
    weight = np.zeros((60, 70))
    weight[10:50, 10:60] = 2.0
    weight[10:50, 10:20] = 0.19
    region = coverage_region(weight, weight.shape, coverage_share=0.1)
    expected = np.zeros_like(region)
    expected[10:50, 20:60] = True
    np.testing.assert_array_equal(region, expected)
    lower = coverage_region(weight, weight.shape, coverage_share=0.09)
    assert lower.sum() == 40 * 50


@pytest.mark.rule("MET-002")
def test_inset_is_erosion_by_a_disk():
    rng = np.random.default_rng(3)
    weight = (ndimage.gaussian_filter(rng.normal(size=(80, 80)), 8) > -0.04).astype(float)
    region = coverage_region(weight, weight.shape, inset_px=4)
    y, x = np.mgrid[-4:5, -4:5]
    np.testing.assert_array_equal(
        region, ndimage.binary_erosion(weight > 0, y**2 + x**2 <= 16, border_value=0)
    )


def test_without_weights_the_inset_counts_from_the_border():
    region = coverage_region(None, (40, 50), inset_px=5)
    expected = np.zeros((40, 50), dtype=bool)
    expected[5:-5, 5:-5] = True
    np.testing.assert_array_equal(region, expected)


@pytest.mark.rule("MET-003")
@pytest.mark.parametrize("weight", [None, np.zeros((40, 40))])
def test_a_region_too_small_is_refused(weight):
    with pytest.raises(ShapeError, check=lambda error: error.name == "well-covered region"):
        coverage_region(weight, (40, 40), inset_px=14)
