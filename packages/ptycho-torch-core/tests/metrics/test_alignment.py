"""Everything the experiment cannot tell is removed, and nothing else."""

import numpy as np
import pytest
from scipy import ndimage, optimize
from skimage.registration import phase_cross_correlation

from ptycho_torch.metrics import align
from ptycho_torch.metrics.alignment import find_ramp

SHIFT = (3.3, -5.7)
RAMP = (0.031, -0.112)
FACTOR = 2.3 * np.exp(1.1j)


@pytest.fixture
def mask():
    region = np.zeros((96, 96), dtype=bool)
    region[12:-12, 14:-10] = True
    return region


@pytest.mark.rule("MET-004")
def test_all_at_once_are_recovered(scenes, kind, mask):
    truth = scenes.make(kind)
    image = FACTOR * scenes.ramped(scenes.shifted(truth, SHIFT), RAMP)
    result = align(image, truth, mask)
    np.testing.assert_allclose(result.shift_px, SHIFT, atol=0.01)
    np.testing.assert_allclose(result.ramp_rad_per_px, RAMP, atol=1e-4)
    assert abs(result.scale) == pytest.approx(1 / abs(FACTOR), rel=1e-3)
    error = np.linalg.norm((result.aligned - truth)[mask]) / np.linalg.norm(truth[mask])
    assert error < 2e-3


@pytest.mark.parametrize("shift", [(0, 0), (7, -4), (0.5, 0.5), (-0.25, 11.6)])
@pytest.mark.parametrize("ramp", [(0, 0), (0.4, 0.9), (-0.002, 0.0015)])
def test_shift_and_ramp_do_not_disturb_each_other(scenes, mask, shift, ramp):
    truth = scenes.make("both")
    image = scenes.ramped(scenes.shifted(truth, shift), ramp) + scenes.noise(truth.shape, 0.02)
    result = align(image, truth, mask)
    np.testing.assert_allclose(result.shift_px, shift, atol=0.05)
    np.testing.assert_allclose(result.ramp_rad_per_px, ramp, atol=1e-3)


def test_shift_agrees_with_scikit_image(scenes, mask):
    truth = scenes.make("both")
    image = scenes.shifted(truth, SHIFT)
    reference, *_ = phase_cross_correlation(
        truth - truth.mean(), image - image.mean(), upsample_factor=100, normalization=None
    )
    np.testing.assert_allclose(align(image, truth, mask).shift_px, -reference, atol=0.02)


def _independent_fit(image, truth, mask, start):
    """Minimise the sum over the region by Levenberg-Marquardt with differences for derivatives.

    Nothing is taken from ours: positions are sampled where they are, real and imaginary part apart, and all
    six parameters (shift, ramp, complex factor) are fitted at once.
    """
    y, x = np.nonzero(mask)
    across = y - y.mean(), x - x.mean()
    splines = [ndimage.spline_filter(part, order=5, mode="mirror") for part in (image.real, image.imag)]

    def drawn(values):
        at = np.stack([y + values[0], x + values[1]])
        real, imaginary = (
            ndimage.map_coordinates(spline, at, order=5, mode="mirror", prefilter=False) for spline in splines
        )
        wave = np.exp(-1j * (values[2] * across[0] + values[3] * across[1]))
        return (values[4] + 1j * values[5]) * (real + 1j * imaginary) * wave

    def residual(values):
        return (drawn(values) - truth[mask]).view(np.float64)

    found = optimize.least_squares(residual, [*start, 0, 0], "3-point", method="lm", xtol=1e-12, ftol=1e-12)
    return found.x, drawn(found.x)


@pytest.mark.rule("MET-004")
@pytest.mark.parametrize("noise", [0, 0.05])
def test_agrees_with_a_general_least_squares_fit(scenes, kind, mask, noise):
    truth = scenes.make(kind)
    # Noise as smooth as what a reconstruction shows. White noise is no test: interpolation weakens it most
    # half-way between pixels, which draws the minimum of the sum there.
    error = ndimage.gaussian_filter(scenes.noise(truth.shape, 1.0), 1.5, mode="wrap")
    error *= noise / error.std()
    image = FACTOR * scenes.ramped(scenes.shifted(truth + error, SHIFT), RAMP)
    # The fit starts a third of a pixel off; ours has to find its way from nowhere.
    values, drawn = _independent_fit(image, truth, mask, (3, -6, 0.05, -0.1))
    result = align(image, truth, mask)
    np.testing.assert_allclose(result.shift_px, values[:2], atol=5e-4)
    np.testing.assert_allclose(result.ramp_rad_per_px, values[2:4], atol=1e-7)
    assert abs(result.scale) == pytest.approx(abs(values[4] + 1j * values[5]), rel=2e-5)
    # The phase of the scale depends on where the ramp is zero; that of the image does not.
    np.testing.assert_allclose(result.aligned[mask], drawn, atol=5e-4 * np.abs(truth).max())
    # What was done to the image is what both of them found, up to what the noise moves.
    for shift, ramp in ((result.shift_px, result.ramp_rad_per_px), (values[:2], values[2:4])):
        np.testing.assert_allclose(shift, SHIFT, atol=0.05 if noise else 5e-5)
        np.testing.assert_allclose(ramp, RAMP, atol=3e-4 if noise else 1e-7)


def test_a_perfect_image_stays_untouched(scenes, kind, mask):
    truth = scenes.make(kind)
    result = align(truth, truth, mask)
    assert result.shift_px == (0.0, 0.0)
    assert result.ramp_rad_per_px == (0.0, 0.0)
    assert result.scale == pytest.approx(1)
    np.testing.assert_allclose(result.aligned, truth, rtol=1e-12)


@pytest.mark.rule("MET-004")
def test_scale_is_the_least_squares_solution(scenes, mask):
    truth = scenes.make("both")
    image = truth + scenes.noise(truth.shape, 0.3)
    result = align(image, truth, mask, max_shift_px=0)
    unscaled = result.aligned / result.scale
    solution = np.linalg.lstsq(unscaled[mask][:, None], truth[mask], rcond=None)[0]
    assert result.scale == pytest.approx(complex(solution[0]))


def test_ramp_survives_wrapping(scenes):
    """Forty turns across the field: a fit to the phase itself would fail."""
    truth = scenes.make("phase", size=128)
    mask = np.ones(truth.shape, dtype=bool)
    ramp = np.array([2.0, -1.7])
    half_bin = 0.5 * 2 * np.pi / 256
    assert np.all(np.abs(find_ramp(scenes.ramped(truth, ramp), truth, mask) - ramp) <= half_bin * 1.001)


@pytest.mark.rule("MET-005")
@pytest.mark.parametrize("what", ["flat", "noise", "bright noise", "other scene"])
def test_an_unrelated_image_gains_nothing_from_registration(scenes, mask, what):
    truth = scenes.make("both")
    image = {
        "flat": np.ones_like(truth),
        "noise": scenes.noise(truth.shape, 1.0),
        "bright noise": 1 + scenes.noise(truth.shape, 0.2),
        "other scene": scenes.make("both", seed=5),
    }[what]
    registered, fixed = (align(image, truth, mask, max_shift_px=reach) for reach in (16, 0))
    assert max(np.abs(registered.shift_px)) <= 1

    def explained(result):
        return 1 - np.linalg.norm((result.aligned - truth)[mask]) ** 2 / np.linalg.norm(truth[mask]) ** 2

    assert explained(registered) - explained(fixed) < 0.003
    assert registered.farther_px is None


@pytest.mark.rule("MET-005")
def test_shift_stays_within_its_limit(scenes, mask):
    truth = scenes.make("both")
    result = align(scenes.shifted(truth, (9.4, 0)), truth, mask, max_shift_px=4)
    assert max(np.abs(result.shift_px)) <= 4


@pytest.mark.rule("MET-008")
@pytest.mark.parametrize("kind", ["amplitude", "phase", "both"])
def test_a_place_beyond_the_search_is_named(scenes, mask, kind):
    truth = scenes.make(kind)
    assert align(scenes.shifted(truth, (9, -3)), truth, mask, max_shift_px=4).farther_px == (9, -3)
    assert align(scenes.shifted(truth, (9, -3)), truth, mask).farther_px is None


@pytest.mark.rule("MET-001")
def test_known_fraction_is_not_reported_as_displacement(scenes, mask):
    truth = scenes.make("both")
    result = align(scenes.shifted(truth, (2.3, -0.4)), truth, mask, offset=np.array([0.3, -0.4]))
    np.testing.assert_allclose(result.shift_px, (2, 0), atol=0.02)


def test_zero_image_is_no_failure(scenes, mask):
    truth = scenes.make("both")
    result = align(np.zeros_like(truth), truth, mask)
    assert result.scale == 0
    assert not result.aligned.any()
