"""The simulator against sums written out by hand, and against what Poisson statistics demand."""

from __future__ import annotations

import cmath
import doctest
import math

import numpy as np
import pytest

import ptycho_torch.data.simulation.simulate as module
from ptycho_torch.data.simulation.scenes import OBJECTS, defocused_probe, natural_object
from ptycho_torch.data.simulation.simulate import expected_intensity, simulate_scan, simulate_scene
from ptycho_torch.errors import DataError, ShapeError


def _naive_intensity(obj, probe, position, origin):
    """One frame from explicit sums: patch by the definition of positions, transform by a DFT matrix."""
    N = probe.shape[-1]
    patch = np.zeros((N, N), dtype=complex)
    for r in range(N):
        for c in range(N):
            row = position[0] - N // 2 + r + origin[0]
            column = position[1] - N // 2 + c + origin[1]
            for k in range(obj.shape[0]):
                for m in range(obj.shape[1]):
                    weight = max(0.0, 1 - abs(row - k)) * max(0.0, 1 - abs(column - m))
                    if weight:
                        patch[r, c] += weight * obj[k, m]
    # Row u of the matrix is the frequency u - N // 2; rows and columns of the patch count from 0.
    dft = np.array(
        [[cmath.exp(-2j * math.pi * (u - N // 2) * r / N) for r in range(N)] for u in range(N)]
    ) / math.sqrt(N)
    return sum(np.abs(dft @ (mode * patch) @ dft.T) ** 2 for mode in probe)


@pytest.mark.parametrize("N", [8, 7])
@pytest.mark.parametrize("origin", [(0.0, 0.0), (1.5, -2.25)])
def test_agrees_with_explicit_sums(N, origin):
    rng = np.random.default_rng(N)
    obj = rng.normal(size=(18, 20)) + 1j * rng.normal(size=(18, 20))
    probe = rng.normal(size=(2, N, N)) + 1j * rng.normal(size=(2, N, N))
    positions = np.array([[7.0, 8.0], [6.3, 9.0], [8.75, 11.125]])
    got = expected_intensity(obj, probe, positions, object_origin=origin)
    for frame, position in zip(got, positions, strict=True):
        np.testing.assert_allclose(frame, _naive_intensity(obj, probe, position, origin), rtol=1e-10)


def test_power_is_that_of_the_exit_waves():
    obj, probe = natural_object((60, 60), seed=1), defocused_probe(32, mode_powers=(3, 1))
    frame = expected_intensity(obj, probe, np.array([[20.0, 24.0]]))[0]
    waves = probe.astype(complex) * obj[4:36, 8:40]
    assert frame.sum() == pytest.approx((np.abs(waves) ** 2).sum(), rel=1e-12)


def test_zero_frequency_is_at_half_the_size():
    frame = expected_intensity(np.ones((16, 16)), np.ones((1, 16, 16)), np.array([[8.0, 8.0]]))[0]
    assert frame[8, 8] == pytest.approx(256.0)
    assert frame.sum() == pytest.approx(256.0)


@pytest.mark.rule("DATA-010")
def test_patch_pixel_half_n_lies_on_the_position():
    obj, probe = np.zeros((40, 40)), np.zeros((1, 16, 16))
    obj[17, 23] = 1.0
    probe[0, 8, 8] = 1.0
    on, off = expected_intensity(obj, probe, np.array([[17.0, 23.0], [17.0, 22.0]]))
    assert on.sum() == pytest.approx(1.0)
    assert off.sum() == 0.0


@pytest.mark.rule("DATA-051")
def test_photons_are_the_mean_expected_counts():
    scan = simulate_scene("natural", N=32, grid=(4, 4), photons=1e5, noise=False)
    assert scan.diffraction.dtype == np.float32
    assert scan.counts_per_frame().mean() == pytest.approx(1e5, rel=1e-6)
    intensity = expected_intensity(scan.object_truth, scan.probe, scan.positions)
    expected = intensity * scan.metadata["intensity_scale"]
    np.testing.assert_allclose(scan.diffraction, expected, rtol=1e-5, atol=1e-6 * expected.max())


@pytest.mark.rule("DATA-050")
def test_noise_is_poisson_and_follows_the_seed():
    make = {"N": 32, "grid": (6, 6), "photons": 1e6}
    clean = simulate_scene("lines", noise=False, **make).diffraction.astype(np.float64)
    noisy = simulate_scene("lines", **make).diffraction
    assert noisy.dtype.kind in "iu"
    bright = clean > 20
    score = (noisy - clean)[bright] / np.sqrt(clean[bright])
    # Mean 0 and variance 1, within five standard errors.
    assert abs(score.mean()) < 5 / math.sqrt(score.size)
    assert abs(score.var() - 1) < 5 * math.sqrt(2 / score.size) + 0.01
    np.testing.assert_array_equal(noisy, simulate_scene("lines", **make).diffraction)
    assert not np.array_equal(noisy, simulate_scene("lines", seed=1, **make).diffraction)


@pytest.mark.parametrize(("photons", "dtype"), [(1e4, np.uint16), (1e8, np.int32), (1e13, np.int64)])
def test_counts_take_the_smallest_integer_dtype(photons, dtype):
    assert simulate_scene("lines", N=32, grid=(2, 2), photons=photons).diffraction.dtype == dtype


def test_dose_scales_expected_counts_only():
    low, high = (
        simulate_scene("random_field", N=32, grid=(2, 2), photons=p, noise=False) for p in (1e4, 1e5)
    )
    np.testing.assert_allclose(high.diffraction, 10 * low.diffraction, rtol=1e-6)
    np.testing.assert_array_equal(high.object_truth, low.object_truth)


def test_truth_index_equals_coordinate_by_default():
    scan = simulate_scene("natural", N=32, grid=(3, 5))
    np.testing.assert_array_equal(scan.object_truth_origin, [0, 0])
    corners = scan.positions - 16
    assert corners.min() >= 0
    assert (corners.max(axis=0) + 32 <= np.array(scan.object_truth.shape)).all()
    assert scan.metadata["nphotons"] == 1e6
    assert scan.metadata["scene"] == "natural"


@pytest.mark.rule("DATA-052")
def test_patches_beyond_the_object_are_refused():
    positions = np.array([[8.0, 8.0], [8.0, 12.5], [7.5, 8.0]])
    with pytest.raises(DataError, check=lambda error: error.names == ("positions",)):
        simulate_scan(np.ones((20, 20)), np.ones((1, 16, 16)), positions, photons=1.0, seed=0)


@pytest.mark.parametrize("photons", [0.0, -1.0, math.nan, math.inf])
def test_photons_must_be_positive(photons):
    with pytest.raises(ValueError, match="photons: expected a positive number"):
        simulate_scan(np.ones((9, 9)), np.ones((1, 8, 8)), np.full((1, 2), 4.0), photons=photons, seed=0)


def test_darkness_is_refused():
    with pytest.raises(DataError, check=lambda error: error.names == ("probe or object",)):
        simulate_scan(np.zeros((9, 9)), np.ones((1, 8, 8)), np.full((1, 2), 4.0), photons=1.0, seed=0)


@pytest.mark.parametrize(
    ("obj", "probe", "positions", "name"),
    [
        (np.ones(9), np.ones((1, 8, 8)), np.full((1, 2), 4.0), "obj"),
        (np.ones((9, 9)), np.ones((8, 8)), np.full((1, 2), 4.0), "probe"),
        (np.ones((9, 9)), np.ones((1, 8, 8)), np.full((2, 1), 4.0), "positions"),
    ],
)
def test_wrong_shapes_are_named(obj, probe, positions, name):
    with pytest.raises(ShapeError, check=lambda error: error.name == name):
        expected_intensity(obj, probe, positions)


def test_unknown_scene_lists_the_known():
    with pytest.raises(ValueError, match=f"expected one of {', '.join(OBJECTS)}, got 'cat'"):
        simulate_scene("cat")


def test_example_runs():
    assert doctest.testmod(module).failed == 0
    assert doctest.testmod(module).attempted > 0


@pytest.mark.parametrize(
    "wish",
    [
        {"step_px": float("inf")},
        {"step_px": float("nan")},
        {"jitter_px": float("inf")},
        {"step_px": 1e300},
        {"jitter_px": 1e12},
        {"N": 10**7},
        {"grid": (10**6, 10**6)},
    ],
)
def test_sizes_without_an_end_or_beyond_the_memory_are_refused_before_any_is_taken(wish):
    with pytest.raises(ValueError, match=r"finite number|GB of memory"):
        simulate_scene(**wish)
