"""Each score against an independent implementation or an analytic case."""

import json
import math

import numpy as np
import pytest
from scipy import stats
from skimage.metrics import (
    mean_squared_error,
    normalized_root_mse,
    peak_signal_noise_ratio,
    structural_similarity,
)

from ptycho_torch.metrics import score


@pytest.fixture
def pair(scenes):
    truth = scenes.make("both")
    image = truth + scenes.noise(truth.shape, 0.05)
    mask = np.ones(truth.shape, dtype=bool)
    return image, truth, mask


@pytest.mark.rule("MET-011", "MET-012")
@pytest.mark.parametrize(("part", "view"), [("amplitude", np.abs), ("phase", np.angle)])
def test_scores_agree_with_reference_implementations(pair, part, view):
    image, truth, mask = pair
    scores = score(image, truth, mask)
    a, t = view(image), view(truth)
    span = np.ptp(t)
    reference = {
        "mae": np.mean(np.abs(a - t)),
        "rmse": math.sqrt(mean_squared_error(t, a)),
        "psnr": peak_signal_noise_ratio(t, a, data_range=span),
        "correlation": stats.pearsonr(a.ravel(), t.ravel()).statistic,
        "std_ratio": a.std() / t.std(),
        "range": span,
    }
    for name, value in reference.items():
        assert getattr(scores, f"{part}_{name}") == pytest.approx(value, rel=1e-9), name


@pytest.mark.rule("MET-013")
@pytest.mark.parametrize(("part", "view"), [("amplitude", np.abs), ("phase", np.angle)])
def test_ssim_is_that_of_scikit_image_on_contrast(pair, part, view):
    """The mean that scikit-image takes leaves out the five pixels its window cannot fill, and so do we."""
    image, truth, mask = pair
    a, t = view(image), view(truth)
    reference = structural_similarity(
        a - t.mean(), t - t.mean(), data_range=np.ptp(t), gaussian_weights=True, use_sample_covariance=False
    )
    assert getattr(score(image, truth, mask), f"{part}_ssim") == pytest.approx(reference, rel=1e-9)


@pytest.mark.rule("MET-010")
def test_complex_error_agrees_with_scikit_image(pair):
    image, truth, mask = pair
    stacked = [np.stack([z.real, z.imag]) for z in (truth, image)]
    assert score(image, truth, mask).complex_nrmse == pytest.approx(normalized_root_mse(*stacked))


def test_pixels_outside_the_region_change_nothing(pair, scenes):
    image, truth, mask = pair
    mask = mask.copy()
    mask[:20] = mask[:, 70:] = False
    wild = np.where(mask, image, 50 * scenes.noise(truth.shape, 1.0))
    assert score(wild, truth, mask) == score(image, truth, mask)


def test_perfect_image_scores_perfectly(scenes, kind):
    truth = scenes.make(kind)
    scores = score(truth, truth, np.ones(truth.shape, dtype=bool))
    assert scores.complex_nrmse == 0
    for part in ("amplitude", "phase"):
        values = {
            name: getattr(scores, f"{part}_{name}") for name in ("mae", "rmse", "psnr", "ssim", "correlation")
        }
        assert values == pytest.approx({"mae": 0, "rmse": 0, "psnr": math.inf, "ssim": 1, "correlation": 1})


@pytest.mark.rule("MET-011")
def test_phase_error_is_wrapped(scenes):
    """Phases on both sides of the cut at pi differ by little, not by a turn."""
    truth = np.exp(1j * (np.pi + 0.01 * scenes.make("amplitude").real))
    image = truth * np.exp(0.02j)
    scores = score(image, truth, np.ones(truth.shape, dtype=bool))
    assert scores.phase_mae == pytest.approx(0.02)
    assert scores.phase_rmse == pytest.approx(0.02)


@pytest.mark.rule("MET-014")
@pytest.mark.parametrize("value", [1.0, 0.0])
def test_constant_image_has_no_correlation(scenes, kind, value):
    truth = scenes.make(kind)
    scores = score(np.full_like(truth, value), truth, np.ones(truth.shape, dtype=bool))
    for part in ("amplitude", "phase"):
        assert getattr(scores, f"{part}_correlation") == 0
        assert getattr(scores, f"{part}_std_ratio") == 0
        assert getattr(scores, f"{part}_ssim") < 0.15
        assert getattr(scores, f"{part}_mae") > 0


@pytest.mark.rule("MET-015")
def test_truth_without_contrast_makes_scores_undefined_not_wrong():
    truth = np.ones((32, 32), complex)
    scores = score(truth * np.exp(0.1j), truth, np.ones(truth.shape, dtype=bool))
    assert scores.amplitude_correlation == 0
    written = scores.to_dict()
    assert written["amplitude_ssim"] is None
    assert written["phase_psnr"] is None
    assert written["phase_mae"] == pytest.approx(0.1)
    json.dumps(written, allow_nan=False)
