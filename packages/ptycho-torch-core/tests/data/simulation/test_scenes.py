"""Objects stay in their bounds and carry structure, probes fit their window, rasters keep their step."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from ptycho_torch.data.simulation.scenes import (
    OBJECTS,
    defocused_probe,
    lines_object,
    natural_object,
    object_shape,
    random_field_object,
    raster_positions,
)
from ptycho_torch.errors import ShapeError


@pytest.mark.rule("DATA-050")
@pytest.mark.parametrize("name", OBJECTS)
def test_objects_repeat_with_their_seed_and_differ_without(name):
    make = OBJECTS[name]
    first = make((40, 56), seed=3)
    assert first.shape == (40, 56)
    assert first.dtype == np.complex64
    assert_array_equal(first, make((40, 56), seed=3))
    assert not np.array_equal(first, make((40, 56), seed=4))


@pytest.mark.parametrize("name", OBJECTS)
@pytest.mark.parametrize("seed", range(3))
def test_objects_stay_in_bounds_and_are_not_flat(name, seed):
    image = OBJECTS[name]((96, 96), seed=seed, min_amplitude=0.4, max_phase_rad=0.7)
    amplitude, phase = np.abs(image), np.angle(image)
    assert amplitude.min() >= 0.4 - 1e-6
    assert amplitude.max() <= 1 + 1e-6
    assert np.abs(phase).max() <= 0.7 + 1e-6
    assert amplitude.std() > 0.05
    assert phase.std() > 0.05
    # Phase is not a function of amplitude: a network must find both.
    assert abs(np.corrcoef(amplitude.ravel(), phase.ravel())[0, 1]) < 0.97


def test_lines_reach_their_bounds_and_thin_out():
    dense, thin = (lines_object((128, 128), seed=0, density=density) for density in (0.8, 0.1))
    assert np.abs(dense).min() == pytest.approx(0.3, rel=1e-5)
    assert np.angle(dense).min() == pytest.approx(-0.9, rel=1e-5)
    assert (np.abs(thin) > 0.999).mean() > 2 * (np.abs(dense) > 0.999).mean()


def test_random_field_has_its_correlation_length():
    rough, smooth = (np.abs(random_field_object((128, 128), seed=1, correlation_px=c)) for c in (2.0, 8.0))
    slope = [np.abs(np.diff(image, axis=0)).mean() / image.std() for image in (rough, smooth)]
    assert slope[0] > 3 * slope[1]


def test_natural_spectrum_falls():
    image = np.abs(natural_object((128, 128), seed=1))
    power = np.abs(np.fft.fft2(image - image.mean())) ** 2
    f = np.hypot(np.fft.fftfreq(128)[:, None], np.fft.fftfreq(128)[None, :])
    low, high = (power[(f > a) & (f < b)].mean() for a, b in ((0.02, 0.06), (0.3, 0.5)))
    assert low > 50 * high


@pytest.mark.parametrize("N", [32, 64, 128, 256])
@pytest.mark.parametrize("powers", [(1.0,), (0.7, 0.2, 0.1)])
def test_probe_fits_its_window_and_keeps_the_gauge(N, powers):
    probe = defocused_probe(N, mode_powers=powers)
    assert probe.shape == (len(powers), N, N)
    assert probe.dtype == np.complex64
    intensity = (np.abs(probe.astype(complex)) ** 2).sum(axis=0)
    assert intensity.sum() == pytest.approx((N / 2) ** 2, rel=1e-5)
    border = N // 16
    inside = intensity[border:-border, border:-border].sum()
    assert inside / intensity.sum() > 0.999
    y, x = np.mgrid[:N, :N]
    centre = [(axis * intensity).sum() / intensity.sum() for axis in (y, x)]
    np.testing.assert_allclose(centre, N // 2, atol=0.01)


def test_probe_light_reaches_the_detector_inside_its_field():
    probe = defocused_probe(64, edge_frequency=0.12)
    spectrum = np.fft.fftshift(np.abs(np.fft.fft2(probe[0])) ** 2)
    y, x = np.mgrid[:64, :64] - 32
    radius = np.hypot(y, x)
    assert spectrum[radius < 0.12 * 64 + 4].sum() / spectrum.sum() > 0.95
    assert spectrum[radius < 3].sum() / spectrum.sum() < 0.6


def test_modes_are_orthogonal_with_their_powers():
    modes = defocused_probe(64, mode_powers=(6, 3, 1)).reshape(3, -1).astype(complex)
    gram = modes.conj() @ modes.T / (32.0**2)
    np.testing.assert_allclose(gram, np.diag([0.6, 0.3, 0.1]), atol=1e-6)
    first = defocused_probe(64).ravel().astype(complex)
    np.testing.assert_allclose(modes[0], np.sqrt(0.6) * first, atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"diameter_px": 60.0}, "does not fit a window of 64 px; use at most 51.2"),
        ({"edge_frequency": 0.5}, "edge_frequency"),
        ({"edge_px": 0.0}, "edge_px"),
        ({"mode_powers": ()}, "mode_powers"),
        ({"mode_powers": (1.0, -1.0)}, "mode_powers"),
    ],
)
def test_impossible_probes_are_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        defocused_probe(64, **arguments)


def test_raster_is_row_by_row_with_bounded_jitter():
    exact = raster_positions((3, 4), step_px=5.0, start_px=(32.0, 40.0), seed=0)
    assert exact.shape == (12, 2)
    assert_array_equal(exact[:5], [[32, 40], [32, 45], [32, 50], [32, 55], [37, 40]])
    moved = raster_positions((3, 4), step_px=5.0, start_px=(32.0, 40.0), jitter_px=1.5, seed=0)
    assert 0.5 < np.abs(moved - exact).max() <= 1.5
    assert_array_equal(
        moved, raster_positions((3, 4), step_px=5.0, start_px=(32.0, 40.0), jitter_px=1.5, seed=0)
    )


@pytest.mark.parametrize(
    ("shape", "step", "jitter", "words"),
    [
        ((0, 4), 5.0, 0.0, "at least one row"),
        ((2, 2), 0.0, 0.0, "step > 0"),
        ((2, 2), 1.0, -1.0, "jitter >= 0"),
    ],
)
def test_impossible_rasters_are_refused(shape, step, jitter, words):
    with pytest.raises(ValueError, match=words):
        raster_positions(shape, step_px=step, jitter_px=jitter, seed=0)


def test_object_shape_just_holds_every_patch():
    assert object_shape(np.array([[8.0, 8.0]]), 16) == (16, 16)
    assert object_shape(np.array([[8.0, 8.0], [9.25, 20.0]]), 16) == (18, 28)
    with pytest.raises(ValueError, match="move the scan to 8 px or more"):
        object_shape(np.array([[7.5, 8.0]]), 16)
    with pytest.raises(ShapeError, check=lambda error: error.name == "positions"):
        object_shape(np.zeros((2, 3)), 16)
    with pytest.raises(ShapeError, check=lambda error: error.name == "shape"):
        lines_object((1, 20), seed=0)
