"""The whole way from two objects to the report."""

import dataclasses
import json

import numpy as np
import pytest
from scipy import ndimage

from ptycho_torch.errors import DataError, ShapeError
from ptycho_torch.metrics import compare, score


def _weight(size=96, rim=12):
    weight = np.zeros((size, size))
    weight[rim:-rim, rim:-rim] = 1.0
    return ndimage.gaussian_filter(weight, 2)


def test_perfect_reconstruction_scores_perfectly(scenes, kind):
    truth = scenes.make(kind)
    report = compare(truth, truth, weight=_weight(), probe_diameter=8)
    scores = report.scores
    assert scores.complex_nrmse < 1e-12
    assert scores.amplitude_correlation == pytest.approx(1)
    assert scores.phase_correlation == pytest.approx(1)
    assert scores.amplitude_ssim == pytest.approx(1)
    assert scores.phase_ssim == pytest.approx(1)
    assert scores.frc_half == scores.frc_1bit == 0.5
    assert report.shift_px == (0, 0)


def test_what_the_experiment_cannot_tell_changes_no_score(scenes, kind):
    truth = scenes.make(kind)
    image = truth + scenes.noise(truth.shape, 0.03)
    moved = 0.4 * np.exp(2j) * scenes.ramped(scenes.shifted(image, (2, -3)), (0.05, -0.2))
    settings = {"weight": _weight(), "probe_diameter": 16}
    before, after = compare(image, truth, **settings).scores, compare(moved, truth, **settings).scores
    for field in dataclasses.fields(before):
        assert getattr(after, field.name) == pytest.approx(getattr(before, field.name), rel=0.02, abs=2e-3), (
            field.name
        )


@pytest.mark.rule("MET-006")
def test_a_ramp_in_the_truth_is_no_contrast(scenes):
    """Neither may a flat image earn correlation from it, nor may it hide what a good one shows."""
    truth = scenes.make("phase")
    plain, ramped = (compare(truth, reference) for reference in (truth, scenes.ramped(truth, (0.2, 0.1))))
    assert ramped.flat.phase_correlation == 0
    assert ramped.flat.phase_std_ratio == 0
    assert ramped.scores.phase_correlation > 0.999
    assert ramped.scores.phase_range == pytest.approx(plain.scores.phase_range, rel=1e-6)
    assert ramped.flat.phase_mae == pytest.approx(plain.flat.phase_mae, rel=1e-6)


def test_origins_overlay_what_belongs_together(scenes):
    truth = scenes.make("both", size=128)
    piece = truth[20:110, 7:100]
    report = compare(piece, truth[5:, 3:], origin=(-20 + 40, -7), truth_origin=(-5 + 40, -3), max_shift_px=0)
    assert report.scores.complex_nrmse < 1e-12
    assert report.corner == (20 - 40, 7)
    wrong = compare(piece, truth[5:, 3:], origin=(-20 + 40, -9), truth_origin=(-5 + 40, -3), max_shift_px=0)
    assert wrong.scores.complex_nrmse > 0.05


def test_fractional_origins_are_honoured_without_registration(scenes):
    truth = scenes.make("both")
    image = scenes.shifted(truth, (0.4, -0.3))
    report = compare(image, truth, origin=(0.4, -0.3), max_shift_px=0, probe_diameter=16)
    assert report.scores.complex_nrmse < 1e-3
    assert report.shift_px == (0, 0)


def test_a_wild_rim_is_left_out(scenes):
    truth = scenes.make("both")
    weight = _weight()
    wild = np.where(weight > 0.5, truth, 30 * scenes.noise(truth.shape, 1.0))
    report = compare(wild, truth, weight=weight, probe_diameter=20)
    assert report.scores.complex_nrmse < 1e-9
    assert compare(wild, truth).scores.complex_nrmse > 0.5


def _bad_images(scenes, truth):
    y, _ = np.mgrid[: truth.shape[0], : truth.shape[1]] / truth.shape[0]
    return {
        "flat": np.ones_like(truth),
        "zero": np.zeros_like(truth),
        "blurred": ndimage.gaussian_filter(truth, 12, mode="wrap"),
        "noise": scenes.noise(truth.shape, 1.0),
        "bright noise": 1 + scenes.noise(truth.shape, 0.3),
        "bowl": (1 + 0.2 * y**2) * np.exp(1j * y**2),
    }


@pytest.mark.rule("MET-016")
@pytest.mark.parametrize("what", ["flat", "zero", "blurred", "noise", "bright noise", "bowl"])
def test_an_empty_reconstruction_scores_badly_everywhere(scenes, kind, what):
    truth = scenes.make(kind)
    report = compare(_bad_images(scenes, truth)[what], truth, weight=_weight(), probe_diameter=8)
    scores = report.scores
    assert scores.complex_nrmse > 0.85 * report.flat.complex_nrmse
    for part in ("amplitude", "phase"):
        assert getattr(scores, f"{part}_ssim") < 0.25
        assert getattr(scores, f"{part}_correlation") < 0.5
        assert getattr(scores, f"{part}_psnr") < 20
        assert getattr(scores, f"{part}_mae") > 0.5 * getattr(report.flat, f"{part}_mae")
    assert scores.frc_half < 0.15


@pytest.mark.rule("MET-007")
def test_flat_scores_are_those_of_a_flat_reconstruction(scenes, kind):
    truth = scenes.make(kind)
    report = compare(np.full_like(truth, 3 - 2j), truth, weight=_weight(), probe_diameter=8)
    ours, flat = report.scores.to_dict(), report.flat.to_dict()
    assert ours == pytest.approx(flat, rel=1e-6, abs=1e-9)


def test_flat_error_is_the_relative_spread_of_the_truth(scenes):
    truth = scenes.make("amplitude")
    report = compare(truth, truth)
    spread = np.sqrt(1 - abs(truth.mean()) ** 2 / np.mean(np.abs(truth) ** 2))
    assert report.flat.complex_nrmse == pytest.approx(spread, rel=1e-3)


def test_more_noise_scores_worse(scenes, kind):
    truth = scenes.make(kind)
    reports = [compare(truth + scenes.noise(truth.shape, sigma), truth).scores for sigma in (0.01, 0.05, 0.2)]
    for name, sign in {"complex_nrmse": 1, "amplitude_ssim": -1, "phase_ssim": -1, "phase_mae": 1}.items():
        values = [sign * getattr(scores, name) for scores in reports]
        assert values == sorted(values), name


def test_report_is_what_was_scored(scenes):
    truth = scenes.make("both")
    image = truth * np.exp(1j) + scenes.noise(truth.shape, 0.05)
    report = compare(image, truth, probe_diameter=10, frc=False)
    again = score(report.reconstruction, report.truth, report.mask)
    ours = report.scores.to_dict()
    assert {k: v for k, v in again.to_dict().items() if v is not None} == {
        k: v for k, v in ours.items() if v is not None
    }
    assert report.frc is None
    assert ours["frc_half"] is None


@pytest.mark.rule("MET-031")
def test_report_is_json(scenes):
    truth = scenes.make("phase")
    written = compare(truth, truth, probe_diameter=8).to_dict()
    again = json.loads(json.dumps(written, allow_nan=False))
    assert again == written
    assert again["scores"]["phase_psnr"] is None or again["scores"]["phase_psnr"] > 200
    assert again["region"]["n_pixels"] == 88 * 88
    assert len(again["frc"]["correlation"]) == 44


def test_table_shows_both_columns(scenes):
    truth = scenes.make("both")
    lines = compare(truth + scenes.noise(truth.shape, 0.05), truth).table().splitlines()
    row = next(line for line in lines if line.startswith("phase correlation"))
    ours, flat = (float(word) for word in row.split()[2:4])
    assert ours > 0.9
    assert flat == 0
    assert "removed: shift" in lines[-1]


def test_float_types_are_computed_in_double(scenes):
    truth = scenes.make("both").astype(np.complex64)
    report = compare(truth, truth, weight=_weight().astype(np.float32))
    assert report.reconstruction.dtype == np.complex128
    assert report.scores.complex_nrmse < 1e-12


def test_inputs_are_left_alone(scenes):
    truth, weight = scenes.make("both"), _weight()
    image = scenes.ramped(truth, (0.1, 0))
    copies = [a.copy() for a in (image, truth, weight)]
    compare(image, truth, weight=weight)
    for array, copy in zip((image, truth, weight), copies, strict=True):
        np.testing.assert_array_equal(array, copy)


@pytest.mark.parametrize("name", ["reconstruction", "truth", "weight"])
def test_nan_is_refused_by_name(scenes, name):
    arrays = {"reconstruction": scenes.make("both"), "truth": scenes.make("both"), "weight": _weight()}
    arrays[name][3, 4] = np.nan
    with pytest.raises(DataError, check=lambda error: error.names == (name,)):
        compare(arrays["reconstruction"], arrays["truth"], weight=arrays["weight"])


@pytest.mark.rule("MET-003")
def test_wrong_inputs_are_refused(scenes):
    truth = scenes.make("both")
    with pytest.raises(ShapeError, check=lambda error: error.name == "reconstruction"):
        compare(truth[None], truth)
    with pytest.raises(ShapeError, check=lambda error: error.name == "weight"):
        compare(truth, truth, weight=np.ones((5, 5)))
    with pytest.raises(DataError, check=lambda error: error.names == ("weight",)):
        compare(truth, truth, weight=-_weight())
    with pytest.raises(DataError, check=lambda error: error.names == ("probe_diameter",)):
        compare(truth, truth, probe_diameter=-3)
    with pytest.raises(ShapeError, check=lambda error: error.name == "truth_origin"):
        compare(truth, truth, truth_origin=[1.0])
    with pytest.raises(DataError, check=lambda error: error.names == ("truth",)):
        compare(truth, 0 * truth)
    with pytest.raises(ShapeError, check=lambda error: error.name == "reconstruction and truth"):
        compare(truth, truth, origin=(500, 0))
