"""How often errors lie within their error bars."""

from __future__ import annotations

import json

import numpy as np
import pytest

from ptycho_torch.errors import ShapeError
from ptycho_torch.metrics import compare, coverage_of

SHAPE = (120, 120)


@pytest.fixture
def noisy():
    """Truth, standard deviations that differ from pixel to pixel, and an image with errors of that size."""
    rng = np.random.default_rng(3)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    truth = (1 + 0.3 * np.sin(x / 5)) * np.exp(0.5j * np.cos(y / 6))
    sigma = 0.01 + 0.04 * x / SHAPE[1]
    error = (rng.normal(size=SHAPE) + 1j * rng.normal(size=SHAPE)) * sigma / np.sqrt(2)
    return truth, sigma, truth + error


@pytest.mark.rule("MET-040")
def test_errors_of_a_complex_normal_lie_within(noisy):
    truth, sigma, image = noisy
    found = coverage_of(image, truth, sigma, np.ones(SHAPE, bool), weight=1 / sigma**2)
    assert found.within_one == pytest.approx(1 - np.exp(-1), abs=0.01)
    assert found.within_two == pytest.approx(1 - np.exp(-4), abs=0.005)
    assert found.rms_error == pytest.approx(found.rms_sigma, rel=0.02)
    for deciles in (found.by_illumination, found.by_amplitude):
        assert len(deciles) == 10
        assert np.diff([part.middle for part in deciles]).min() > 0
        assert [part.within_one for part in deciles] == pytest.approx([0.632] * 10, abs=0.05)


@pytest.mark.rule("MET-040")
def test_bars_that_are_too_small_are_told_where_they_are(noisy):
    truth, sigma, image = noisy
    wrong = np.where(sigma < np.median(sigma), sigma / 3, sigma)
    deciles = coverage_of(image, truth, wrong, np.ones(SHAPE, bool), weight=1 / sigma**2).by_illumination
    assert deciles[0].within_one > 0.55
    assert deciles[-1].within_one < 0.2


@pytest.mark.rule("MET-040")
def test_they_move_and_scale_with_the_image(noisy):
    truth, sigma, image = noisy
    moved = np.roll(image, (3, -2), axis=(0, 1)) * 2j
    bars = np.roll(sigma, (3, -2), axis=(0, 1)) * 2
    report = compare(moved, truth, weight=1 / bars**2, sigmas={"sigma": bars}, probe_diameter=16, frc=False)
    assert np.rint(report.shift_px).tolist() == [3, -2]
    assert report.coverage["sigma"].within_one == pytest.approx(0.632, abs=0.02)
    assert json.loads(json.dumps(report.to_dict()))["coverage"]["sigma"]["within_two"] > 0.97
    assert "sigma: 0.6" in report.table()


@pytest.mark.rule("MET-040")
def test_pixels_without_a_bar_do_not_count(noisy):
    truth, sigma, image = noisy
    half = np.where(np.arange(SHAPE[1]) < 60, np.inf, sigma)
    everywhere = np.ones(SHAPE, bool)
    assert coverage_of(image, truth, half, everywhere).n_pixels == SHAPE[0] * 60
    assert coverage_of(image, truth, np.full(SHAPE, np.inf), everywhere) is None


def test_bars_of_another_shape_are_refused(noisy):
    truth, sigma, image = noisy
    with pytest.raises(ShapeError):
        compare(image, truth, sigmas={"sigma": sigma[1:]})
