"""Patches between pixels, brought to whole ones."""

from __future__ import annotations

import math

import pytest
import torch

from ptycho_torch.errors import ShapeError
from ptycho_torch.reassembly.resampling import Resampler

N = 24
ORIGIN = torch.zeros(2, dtype=torch.float64)


def _resampler(weight=None):
    return Resampler(torch.ones(N, N) if weight is None else weight, (64, 64), ORIGIN)


def _at(*rest):
    return torch.tensor([[20.0, 20.0]], dtype=torch.float64) + torch.tensor([rest], dtype=torch.float64)


def _wave(frequency, start=(0.0, 0.0), side=N):
    """A plane wave, ``(1, side, side)``, whose first pixel lies at ``start``."""
    rows, columns = (torch.arange(side, dtype=torch.float64) + first for first in start)
    angle = 2 * math.pi * (frequency[0] * rows[:, None] + frequency[1] * columns)
    return torch.polar(torch.ones_like(angle), angle)[None].to(torch.complex64)


@pytest.mark.parametrize("rest", [(0.5, 0.5), (0.25, 0.0), (0.1, 0.9)])
@pytest.mark.parametrize("frequency", [(0.0, 0.0), (0.1, -0.2), (0.25, 0.25), (0.3, 0.0)])
def test_fine_detail_passes_between_pixels(frequency, rest):
    resampled = _resampler().resample(_wave(frequency), _at(*rest))
    # Pixel (0, 0) of the result lies before that of the patch by the remainder.
    expected = _wave(frequency, start=(-rest[0], -rest[1]), side=N + 1)
    inner = (slice(None), slice(4, N - 3), slice(4, N - 3))
    assert (resampled.values[inner] - expected[inner]).abs().max() < 0.02


def test_patches_at_whole_pixels_are_copied_bit_by_bit():
    patches = 1e6 * torch.randn(3, N, N, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    resampled = _resampler().resample(patches, _at(0, 0) + torch.tensor([[0.0, 0], [3, 1], [0, 7]]))
    assert torch.equal(resampled.values[:, :N, :N], patches)
    assert resampled.corner.tolist() == [[8, 8], [11, 9], [8, 15]]
    assert not resampled.rest.any()


def test_a_constant_stays_what_it_is_up_to_the_rim():
    patches = torch.full((1, N, N), 0.4 - 0.7j, dtype=torch.complex64)
    values = _resampler().resample(patches, _at(0.37, 0.81)).values
    torch.testing.assert_close(values, torch.full_like(values, 0.4 - 0.7j))


@pytest.mark.rule("STI-001")
def test_what_is_drawn_at_the_rim_reaches_four_pixels():
    patches = torch.zeros(1, N, N, dtype=torch.complex64)
    patches[:, 0], patches[:, :, -1] = 1e3, 1e3
    values = _resampler().resample(patches, _at(0.5, 0.5)).values[0]
    assert not values[5:, : N - 4].any()
    assert values[:4].abs().max() > 1


def test_the_weight_moves_with_the_patch_and_is_never_negative():
    weight = torch.zeros(N, N)
    weight[3, 5] = 8.0
    resampler = _resampler(weight)
    resampled = resampler.resample(torch.ones(1, N, N, dtype=torch.complex64), _at(0.25, 0.5))
    weights = resampler.weights(resampled)[0]
    torch.testing.assert_close(weights[3:5, 5:7], torch.tensor([[3.0, 3.0], [1.0, 1.0]]))
    assert float(weights.sum()) == pytest.approx(8)
    assert (weights >= 0).all()


def test_what_lies_beyond_the_weight_leaves_no_trace():
    weight = torch.zeros(N, N)
    weight[4:20, 6:17] = 1
    resampler = _resampler(weight)
    patches = torch.full((1, N, N), 1e3, dtype=torch.complex64)
    patches[:, 4:20, 6:17] = 1
    resampled = resampler.resample(patches, _at(0.4, 0.6))
    weighted = resampler.weights(resampled) * resampled.values
    torch.testing.assert_close(weighted, resampler.weights(resampled).to(torch.complex64))


def test_a_middle_is_moved_with_what_surrounds_it():
    patches = torch.randn(2, N, N, dtype=torch.complex64, generator=torch.Generator().manual_seed(1))
    positions = torch.cat([_at(0.3, 0.8), _at(4.0, 1.5)])
    whole = _resampler().resample(patches, positions)
    middle = _resampler(torch.ones(9, 9)).resample(patches, positions)
    start = N // 2 - 9 // 2
    assert torch.equal(middle.corner, whole.corner + start)
    torch.testing.assert_close(middle.values, whole.values[:, start : start + 10, start : start + 10])


def test_index_says_where_each_pixel_goes():
    resampler = _resampler()
    resampled = resampler.resample(torch.ones(1, N, N, dtype=torch.complex64), _at(0.5, 3.5))
    index = resampler.placement(resampled).index[0]
    assert divmod(int(index[0, 0]), 64) == (8, 11)
    assert divmod(int(index[-1, -1]), 64) == (8 + N, 11 + N)


@pytest.mark.parametrize("position", [(11.9, 20.0), (20.0, 52.1)])
def test_patches_beyond_the_canvas_are_refused(position):
    with pytest.raises(ShapeError, check=lambda error: error.name == "object"):
        _resampler().resample(
            torch.ones(1, N, N, dtype=torch.complex64), torch.tensor([position], dtype=torch.float64)
        )
