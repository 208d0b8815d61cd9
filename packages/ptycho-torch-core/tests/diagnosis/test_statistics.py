"""One pass over the frames gives what NumPy gives over all of them."""

import numpy as np
import pytest

from ptycho_torch.diagnosis import statistics
from ptycho_torch.diagnosis.statistics import are_counts, frame_statistics, impossible


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.int64, np.float32, np.float64, np.bool_])
def test_sums_and_extremes(monkeypatch, dtype):
    monkeypatch.setattr(statistics, "_READ_VALUES", 7 * 64)
    monkeypatch.setattr(statistics, "_BLOCK_VALUES", 3 * 64)
    rng = np.random.default_rng(0)
    frames = rng.poisson(3.0, (30, 8, 8)).astype(dtype)
    seen = []
    found = frame_statistics(frames, progress=lambda *news: seen.append(news))
    wide = frames.astype(np.float64)
    np.testing.assert_array_equal(found.totals, wide.sum(axis=(1, 2)))
    np.testing.assert_array_equal(found.peaks, wide.max(axis=(1, 2)))
    np.testing.assert_allclose(found.mean, wide.mean(axis=0))
    np.testing.assert_array_equal(found.highest, wide.max(axis=0))
    np.testing.assert_array_equal(found.lowest, wide.min(axis=0))
    np.testing.assert_array_equal(found.n_zeros, (wide == 0).sum(axis=0))
    y, x = np.indices((8, 8))
    expected = np.stack([(wide * y).sum((1, 2)), (wide * x).sum((1, 2))], 1) / wide.sum((1, 2))[:, None]
    np.testing.assert_allclose(found.centres, expected)
    assert seen[-1] == (30, 30)
    assert not found.left_out.any()
    if np.dtype(dtype).kind == "f":
        np.testing.assert_allclose(found.squares, (wide**2).sum(axis=(1, 2)))
        np.testing.assert_allclose(found.mean_square, (wide**2).mean(axis=0))


def test_values_that_are_no_counts_are_counted_apart():
    frames = np.full((12, 8, 8), 5.0, np.float32) + np.random.default_rng(0).poisson(5, (12, 8, 8))
    clean = frames.copy()
    clean[:, 2, 3] = clean[4, 1, 1] = clean[5, 6, 6] = 0
    frames[:, 2, 3] = 2.0**32 - 1
    frames[4, 1, 1] = np.nan
    frames[5, 6, 6] = -2
    found = frame_statistics(frames)
    np.testing.assert_allclose(found.totals, clean.sum(axis=(1, 2)))
    assert found.n_top[2, 3] == 12
    assert found.n_broken[1, 1] == 1
    assert found.n_negative[6, 6] == 1
    assert found.most_negative == -2
    assert found.highest.max() < 100


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.uint32, np.int32])
def test_the_largest_value_of_an_integer_type_is_no_count(dtype):
    top, negative, broken = impossible(np.array([0, 1, np.iinfo(dtype).max], dtype))
    assert top.tolist() == [False, False, True]
    assert not negative.any()
    assert not broken.any()


def test_a_stuck_pixel_does_not_count_in_the_light_of_frames(scene):
    made = scene(32, photons=1e4)
    before = frame_statistics(made.frames).totals
    made.frames[:, 3, 4] = 10**6
    found = frame_statistics(made.frames)
    assert found.left_out.sum() == 1
    assert found.left_out[3, 4]
    assert abs(found.totals - before).max() < 50


def test_memory_is_that_of_pieces(scene):
    """Frames are asked for in pieces, each once, and a few of them first."""
    made = scene(32)
    asked = []

    class Lazy:
        shape, dtype = made.frames.shape, made.frames.dtype

        def __getitem__(self, index):
            asked.append(index)
            return made.frames[index]

    frame_statistics(Lazy())
    assert len(asked[0]) == 32
    assert [piece.start for piece in asked[1:]] == [0]


def test_half_precision_ends_where_it_is_infinite():
    values = np.array([0, 65504, np.inf, -np.inf, np.nan], np.float16)
    top, _, broken = impossible(values)
    assert broken.tolist() == [False, False, True, True, True]
    assert not top.any()
    assert are_counts(values).tolist() == [True, True, False, False, False]
    assert are_counts(np.array([1e15, 2e15], np.float32)).tolist() == [True, False]
