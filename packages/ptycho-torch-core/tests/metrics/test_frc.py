"""Fourier ring correlation."""

import numpy as np
import pytest
from scipy import ndimage, signal

from ptycho_torch.errors import ShapeError
from ptycho_torch.metrics import fourier_ring_correlation
from ptycho_torch.metrics.frc import tukey_window


def test_equal_images_correlate_everywhere(scenes, kind):
    image = scenes.make(kind)
    curve = fourier_ring_correlation(image, (2 - 1j) / abs(2 - 1j) * image * np.exp(1j * np.angle(2 + 1j)))
    np.testing.assert_allclose(curve.correlation, 1)
    assert curve.crossing_half == curve.crossing_1bit == 0.5
    assert curve.period_half_px == 2


@pytest.mark.rule("MET-020", "MET-021")
def test_agrees_with_a_loop_over_rings(scenes):
    first, second = scenes.make("both"), scenes.make("both") + scenes.noise((96, 96), 0.05)
    mask = np.ones(first.shape, dtype=bool)
    window = tukey_window(mask)
    spectra = [np.fft.fft2((a - np.average(a, weights=window)) * window) for a in (first, second)]
    expected = []
    frequency = np.fft.fftfreq(96)
    radius = np.round(96 * np.sqrt(frequency[:, None] ** 2 + frequency[None] ** 2))
    for ring in range(1, 49):
        a, b = (s[radius == ring] for s in spectra)
        expected.append(np.vdot(b, a).real / np.linalg.norm(a) / np.linalg.norm(b))
    curve = fourier_ring_correlation(first, second, mask)
    np.testing.assert_allclose(curve.correlation, expected, atol=1e-12)
    np.testing.assert_allclose(curve.frequency, np.arange(1, 49) / 96)


def _reference_crossing(frequency, curve, threshold):
    """Walk up the rings: skip those below, then stop at the first that is below again."""
    was_above = False
    for ring, margin in enumerate(curve - threshold):
        if was_above and margin < 0:
            falling = (curve - threshold)[[ring, ring - 1]]
            return np.interp(0.0, falling, frequency[[ring, ring - 1]])
        was_above = was_above or margin >= 0
    return 0.5 if was_above else 0.0


def _reference_curve(images):
    """Frequency, correlation, 1-bit threshold and both crossings of two images, without a fast transform."""
    shape = images[0].shape
    size = min(shape)
    # The distance to the border is the least of those to its sides, and so is the window. Odd sides only:
    # in even ones no pixel lies in the middle.
    taper = 0.25 * (size + 1)
    window = np.minimum.outer(*(signal.windows.tukey(n + 2, 2 * taper / (n + 1))[1:-1] for n in shape))
    waves = []
    for n in shape:
        index = np.arange(n) - n // 2
        waves.append(np.exp(-2j * np.pi * np.outer(index, np.arange(n)) / n))
    spectra = [waves[0] @ ((a - np.average(a, weights=window)) * window) @ waves[1].T for a in images]
    y, x = (((np.arange(n) - n // 2) / n * size) ** 2 for n in shape)
    radius_px = np.sqrt(y[:, None] + x[None])
    curve, threshold = [], []
    for ring in range(1, size // 2 + 1):
        chosen = (radius_px > ring - 0.5) & (radius_px < ring + 0.5)
        a, b = (spectrum[chosen] for spectrum in spectra)
        curve.append(np.sum(a * b.conj()).real / np.sqrt(np.sum(abs(a) ** 2) * np.sum(abs(b) ** 2)))
        root = np.sqrt(np.count_nonzero(chosen) * np.mean(window**2))
        # One bit of information in the sum of both images: each has a signal-to-noise ratio of one half.
        ratio = 0.5
        share = 2 * np.sqrt(ratio) / root
        threshold.append((ratio + share + 1 / root) / (ratio + share + 1))
    frequency = np.arange(1, size // 2 + 1) / size
    curve, threshold = np.array(curve), np.array(threshold)
    crossings = [_reference_crossing(frequency, curve, level) for level in (0.5, threshold)]
    return frequency, curve, threshold, crossings


@pytest.mark.rule("MET-020", "MET-021", "MET-022")
@pytest.mark.parametrize("drift", [0, 8], ids=["plain", "with a slow drift"])
@pytest.mark.parametrize("noise", [0.02, 0.1])
@pytest.mark.parametrize("shape", [(95, 95), (81, 95)], ids=["square", "oblong"])
def test_crossings_of_two_noisy_images_agree_with_a_reference(scenes, shape, noise, drift):
    window = tuple(slice(n) for n in shape)
    truth = scenes.make("both")[window]
    first, second = (truth + scenes.noise((96, 96), noise, seed=seed)[window] for seed in (1, 2))
    second = second + drift * truth.std() * np.sin(np.pi * np.linspace(-1, 1, shape[0]))[:, None]
    frequency, correlation, threshold, crossings = _reference_curve((first, second))
    curve = fourier_ring_correlation(first, second)
    np.testing.assert_allclose(curve.frequency, frequency, rtol=1e-12)
    np.testing.assert_allclose(curve.correlation, correlation, atol=1e-10)
    # The paper prints its coefficients with five digits, and so does our formula.
    np.testing.assert_allclose(curve.threshold_1bit, threshold, rtol=1e-5)
    np.testing.assert_allclose((curve.crossing_half, curve.crossing_1bit), crossings, atol=1e-6)
    # Noise decides: both crossings lie well inside the curve, and the two criteria do not fall together.
    assert all(0.05 < crossing < 0.45 for crossing in crossings)
    assert abs(crossings[0] - crossings[1]) > 1e-4
    assert (correlation[0] < 0.5) == bool(drift)


@pytest.mark.rule("MET-022")
def test_crossings_find_the_frequency_where_noise_takes_over():
    """White spectrum up to a cutoff, white noise everywhere: the correlation falls at the cutoff."""
    rng = np.random.default_rng(0)
    size, cutoff = 256, 0.21
    radius = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.fftfreq(size)[None])
    spectrum = rng.normal(size=(size, size)) + 1j * rng.normal(size=(size, size))
    image = np.fft.ifft2(spectrum * (radius < cutoff))
    noise = np.fft.ifft2(rng.normal(size=(size, size)) + 1j * rng.normal(size=(size, size)))
    curve = fourier_ring_correlation(image + 0.3 * noise, image)
    assert curve.crossing_half == pytest.approx(cutoff, abs=0.02)
    assert curve.crossing_1bit == pytest.approx(cutoff, abs=0.02)
    assert curve.period_1bit_px == pytest.approx(1 / cutoff, rel=0.1)


def test_slow_drift_does_not_end_the_curve_before_it_begins(scenes):
    """Disagreement in the slowest variations alone leaves the resolution where it was."""
    image = scenes.make("both")
    across = np.linspace(-1, 1, image.shape[0])
    drifted = image + 3 * image.std() * np.sin(np.pi * across)[:, None]
    curve = fourier_ring_correlation(drifted, image)
    assert curve.correlation[0] < 0.5
    assert curve.crossing_half > 0.3


def test_expected_value_for_equal_power_of_signal_and_noise():
    """Signal and noise of equal power against the pure signal: sqrt(1/2)."""
    rng = np.random.default_rng(0)
    signal_, noise = (rng.normal(size=(256, 256)) + 1j * rng.normal(size=(256, 256)) for _ in range(2))
    curve = fourier_ring_correlation(signal_ + noise, signal_)
    assert curve.correlation[20:].mean() == pytest.approx(np.sqrt(0.5), abs=0.01)


def test_unrelated_images_do_not_correlate(scenes):
    curve = fourier_ring_correlation(scenes.noise((96, 96), 1, seed=1), scenes.noise((96, 96), 1, seed=2))
    assert abs(curve.correlation[10:].mean()) < 0.05
    assert curve.crossing_half < 0.05


@pytest.mark.rule("MET-022")
@pytest.mark.parametrize("level", [1.0, 0.0])
def test_a_flat_image_resolves_nothing(scenes, kind, level):
    truth = scenes.make(kind)
    rounding = 1e-9 * (truth - truth.mean())
    curve = fourier_ring_correlation(np.full_like(truth, level) + level * rounding, truth)
    assert curve.crossing_half == curve.crossing_1bit == 0
    assert not curve.correlation.any()
    assert curve.period_half_px == np.inf


@pytest.mark.rule("MET-021")
def test_one_bit_threshold_matches_its_definition(scenes):
    """van Heel and Schatz give the curve for a signal-to-noise ratio of 0.5 in each image."""
    curve = fourier_ring_correlation(scenes.make("both"), scenes.make("both"))
    ratio, root = 0.5, np.sqrt(curve.n_samples)
    definition = (ratio + 2 * np.sqrt(ratio) / root + 1 / root) / (ratio + 1 + 2 * np.sqrt(ratio) / root)
    np.testing.assert_allclose(curve.threshold_1bit, definition, rtol=1e-4)
    # A full field under a window keeps less than all of the 2 pi q L samples on a ring.
    circumference = 2 * np.pi * 96 * curve.frequency
    assert np.all(curve.n_samples[5:] < 0.8 * circumference[5:])
    assert np.all(curve.n_samples[5:] > 0.2 * circumference[5:])


@pytest.mark.rule("MET-020")
def test_window_is_tukey_along_a_cut():
    mask = np.zeros((41, 201), dtype=bool)
    mask[:, 1:-1] = True
    long_strip = np.ones((401, 101), dtype=bool)
    cut = tukey_window(long_strip)[200]
    # The zeros of a sampled Tukey window lie on the pixels just outside.
    np.testing.assert_allclose(cut, signal.windows.tukey(103, 0.5)[1:-1], atol=1e-12)
    assert tukey_window(mask)[:, 0].max() == 0


def test_window_follows_any_outline():
    y, x = np.mgrid[-40:41, -40:41]
    disk = np.hypot(y, x) <= 35
    window = tukey_window(disk)
    assert np.all(window[~disk] == 0)
    assert np.all(window[disk] > 0)
    assert window[40, 40] == 1
    assert np.abs(window - ndimage.rotate(window, 90)).max() < 1e-12


def test_shapes_must_agree():
    with pytest.raises(ShapeError, check=lambda error: error.name == "images"):
        fourier_ring_correlation(np.ones((32, 32), complex), np.ones((32, 33), complex))
