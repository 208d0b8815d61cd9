"""What a refinement reaches, keeps and refuses."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from ptycho_config import ConfigError, RefineConfig
from ptycho_torch.data import Scan
from ptycho_torch.errors import DataError, ShapeError
from ptycho_torch.reassembly import StitchedObject
from ptycho_torch.refine import forward_residual, refine


def blurred(probe, sigma=1.0):
    smooth = [gaussian_filter(mode.real, sigma) + 1j * gaussian_filter(mode.imag, sigma) for mode in probe]
    return np.stack(smooth).astype(np.complex64)


def truth_of(scan):
    """The truth in the gauge in which an object of one predicts the mean counts."""
    gauge = scan.metadata["intensity_scale"] / (scan.counts_per_frame().mean() / (scan.N / 2) ** 2)
    image = scan.object_truth * np.float32(gauge**0.5)
    return StitchedObject(
        object=image, weight=np.ones(image.shape, np.float32), origin=scan.object_truth_origin
    )


def overlap(first, second):
    return abs(np.vdot(first, second)) / (np.linalg.norm(first) * np.linalg.norm(second))


@pytest.mark.parametrize(("scene", "largest"), [("lines", 0.04), ("natural", 0.06), ("random_field", 0.03)])
def test_flat_start_reaches_the_truth(scan_of, error_of, scene, largest):
    scan = scan_of(scene)
    assert error_of(scan, refine(scan, epochs=60)) < largest


@pytest.mark.parametrize("likelihood", ["poisson", "amplitude"])
def test_without_noise_the_error_keeps_falling(scan_of, error_of, likelihood):
    scan = scan_of("random_field", noise=False)
    assert error_of(scan, refine(scan, epochs=200, likelihood=likelihood, tolerance=0)) < 2e-3


def test_start_from_the_truth_stays_at_the_noise(scan_of, error_of):
    scan = scan_of()
    settled = refine(scan, epochs=150, tolerance=0)
    result = refine(scan, truth_of(scan), epochs=30)
    assert error_of(scan, result) < 1.05 * error_of(scan, settled)
    assert result.residuals[0] < 1.1 * result.residuals[-1]


def test_a_start_is_worth_epochs(scan_of):
    scan = scan_of("natural")
    assert refine(scan, truth_of(scan), epochs=3).residuals[-1] < refine(scan, epochs=3).residuals[-1]


@pytest.mark.rule("REF-004")
def test_blurred_probe_is_recovered(scan_of, error_of):
    scan = scan_of("natural")
    wrong = replace(scan, probe=blurred(scan.probe, 1.5))
    kept, fitted = refine(wrong, epochs=80), refine(wrong, epochs=80, refine_probe=True)
    assert overlap(wrong.probe, scan.probe) < 0.98
    assert overlap(fitted.probe, scan.probe) > 0.998
    assert error_of(scan, fitted) < 0.3 * error_of(scan, kept)
    assert np.sum(np.abs(fitted.probe) ** 2) == pytest.approx(16**2, rel=1e-5)


def test_three_modes(scan_of, error_of):
    powers = (0.6, 0.3, 0.1)
    scan = scan_of("lines", modes=powers)
    assert error_of(scan, refine(scan, epochs=60)) < 0.06
    wrong = replace(scan, probe=blurred(scan.probe, 0.7))
    fitted = refine(wrong, epochs=100, refine_probe=True)
    found = (np.abs(fitted.probe) ** 2).sum(axis=(1, 2)) / 16**2
    np.testing.assert_allclose(found, powers, atol=0.02)
    gram = np.einsum("mij,nij->mn", fitted.probe.conj(), fitted.probe)
    np.testing.assert_allclose(gram - np.diag(np.diag(gram)), 0, atol=1e-3)


@pytest.mark.rule("REF-004")
def test_position_errors_are_halved(scan_of, error_of, rng):
    scan = scan_of("lines")
    wrong = replace(scan, positions=scan.positions + rng.normal(0, 2**0.5, scan.positions.shape))

    def rms(positions):
        error = positions - scan.positions
        return float(np.sqrt(((error - error.mean(axis=0)) ** 2).sum(axis=1).mean()))

    result = refine(wrong, epochs=80, refine_positions=True)
    assert rms(wrong.positions) > 1.8
    assert rms(result.positions) < 0.5 * rms(wrong.positions)
    assert error_of(scan, result) < 0.5 * error_of(scan, refine(wrong, epochs=80))


@pytest.mark.rule("REF-003")
def test_positions_and_probe_stay_unless_asked_for(scan_of):
    scan = scan_of()
    result = refine(scan, epochs=3)
    np.testing.assert_array_equal(result.positions, scan.positions)
    assert overlap(result.probe, scan.probe) == pytest.approx(1, abs=1e-6)


def test_bad_pixels_carry_no_weight(scan_of):
    scan = scan_of()
    bad = np.zeros((scan.N, scan.N), dtype=bool)
    bad[10:13, 12:20] = True
    blank = np.where(bad, 0, scan.diffraction).astype(np.float32)
    noisy = np.where(bad, 500, scan.diffraction).astype(np.float32)
    clean = refine(replace(scan, diffraction=blank, bad_pixels=bad), truth_of(scan), epochs=5)
    told = refine(replace(scan, diffraction=blank), truth_of(scan), epochs=5)
    assert clean.residuals[-1] < 0.9 * told.residuals[-1]
    # Only the gauge sees the total counts, which the contract holds at zero there.
    marked = refine(replace(scan, diffraction=noisy, bad_pixels=bad), epochs=3)
    assert np.isfinite(marked.object.object).all()


def test_values_above_the_ceiling_carry_no_weight(scan_of, error_of):
    scan = scan_of()
    frames = scan.diffraction.astype(np.float32)
    hit = frames.copy()
    where = np.arange(scan.n_frames), np.arange(scan.n_frames) % scan.N, np.arange(scan.n_frames) // scan.N
    hit[where] = 1e7
    ceiling = np.full((scan.N, scan.N), 2 * float(frames.max()))
    error = error_of(scan, refine(scan, epochs=20))
    assert error_of(scan, refine(replace(scan, diffraction=hit), epochs=20)) > 3 * error
    told = replace(scan, diffraction=hit, ceiling=ceiling)
    result = refine(told, epochs=20)
    assert error_of(scan, result) == pytest.approx(error, rel=0.1)
    residual = forward_residual(told, result.object, result.probe)
    assert residual == pytest.approx(forward_residual(scan, result.object, result.probe), rel=0.05)


def test_frame_order_and_batch_size_matter_little(scan_of, error_of, rng):
    scan = scan_of()
    error = error_of(scan, refine(scan, epochs=60))
    shuffled = scan.take(rng.permutation(scan.n_frames))
    assert error_of(scan, refine(shuffled, epochs=60)) == pytest.approx(error, rel=0.02)
    for batch_size in (9, 144):
        assert error_of(scan, refine(scan, epochs=100, batch_size=batch_size)) == pytest.approx(
            error, rel=0.1
        )


def test_dose_changes_no_gauge(scan_of):
    scan = scan_of("random_field", noise=False)
    brighter = replace(scan, diffraction=scan.diffraction * 10)
    first, second = refine(scan, epochs=10), refine(brighter, epochs=10)
    np.testing.assert_allclose(first.object.object, second.object.object, atol=2e-3)


def test_seed_repeats_bit_for_bit(scan_of):
    scan = scan_of()
    first, second, other = (refine(scan, epochs=3, seed=seed) for seed in (4, 4, 5))
    np.testing.assert_array_equal(first.object.object, second.object.object)
    assert first.residuals == second.residuals
    assert not np.array_equal(first.object.object, other.object.object)


def test_single_and_double_precision_agree(scan_of):
    scan = scan_of()
    single, double = (refine(scan, epochs=20, dtype=dtype) for dtype in (torch.complex64, torch.complex128))
    lit = single.object.weight > 0.1 * single.object.weight.max()
    difference = np.abs(single.object.object - double.object.object)[lit]
    # Twenty epochs multiply rounding errors of 1e-7.
    assert difference.max() < 1e-3
    assert single.residuals == pytest.approx(double.residuals, rel=1e-4)


@pytest.mark.rule("REF-012")
def test_frames_of_any_dtype_and_any_array(scan_of, tmp_path):
    scan = scan_of()
    assert scan.diffraction.dtype == np.uint16
    path = tmp_path / "frames.npy"
    np.save(path, scan.diffraction)
    on_disk = replace(scan, diffraction=np.load(path, mmap_mode="r"))
    as_float = replace(scan, diffraction=scan.diffraction.astype(np.float32))
    expected = refine(scan, epochs=2).object.object
    for other in (on_disk, as_float):
        np.testing.assert_array_equal(refine(other, epochs=2).object.object, expected)


@pytest.mark.rule("REF-006")
def test_run_ends_when_the_objective_stops_falling(scan_of):
    scan = scan_of()
    result = refine(scan, epochs=500, tolerance=1e-3)
    assert result.stopped_early
    assert result.n_epochs < 100
    assert not refine(scan, epochs=45, tolerance=0).stopped_early


def test_progress_is_reported(scan_of):
    seen = []
    result = refine(scan_of(), epochs=4, progress=lambda *news: seen.append(news))
    assert [news[:2] for news in seen] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert tuple(news[2] for news in seen) == result.residuals


def test_result_lies_on_the_canvas_of_the_scan(scan_of):
    scan = scan_of()
    found = refine(scan, epochs=1).object
    assert found.object.shape == found.weight.shape
    assert found.object.dtype == np.complex64
    assert refine(scan, found, epochs=1).object.object.shape == found.object.shape


@pytest.mark.parametrize(
    ("arguments", "wrong"),
    [
        ({"epochs": 0}, {"refine_epochs": 0}),
        ({"batch_size": 0}, {"refine_batch_size": 0}),
        ({"batch_size": 145}, {"refine_batch_size": 145}),
        ({"likelihood": "gaussian"}, {"likelihood": "gaussian"}),
        ({"sub_pixel": "both"}, {"sub_pixel": "both"}),
        ({"smoothness": -1.0}, {"smoothness": -1.0}),
        ({"smoothness": float("inf")}, {"smoothness": float("inf")}),
        ({"tolerance": -1.0}, {"refine_tolerance": -1.0}),
        ({"warm_up": -1}, {"refine_warm_up": -1}),
        ({"seed": -1, "epochs": 0}, {"refine_seed": -1, "refine_epochs": 0}),
        ({"epoch": 5}, {"epoch": 5}),
    ],
)
def test_settings_out_of_range_are_refused(scan_of, arguments, wrong):
    with pytest.raises(ConfigError) as caught:
        refine(scan_of(), **arguments)
    assert {problem.field: problem.value for problem in caught.value.problems} == wrong


def test_another_dtype_is_refused(scan_of):
    with pytest.raises(ValueError, match="dtype"):
        refine(scan_of(), dtype=torch.float32)


def test_settings_are_those_of_the_configuration(scan_of):
    """Keywords stand before the configuration; short names and full ones say the same."""
    scan = scan_of()
    config = RefineConfig(refine_epochs=3, likelihood="amplitude", refine_tolerance=0.0)
    given = refine(scan, config=config, epochs=2)
    stated = refine(scan, refine_epochs=2, likelihood="amplitude", tolerance=0.0)
    assert given.n_epochs == 2
    np.testing.assert_array_equal(given.object.object, stated.object.object)
    poisson = refine(scan, epochs=2, tolerance=0.0)
    assert not np.array_equal(given.object.object, poisson.object.object)


@pytest.mark.parametrize(
    "change",
    [
        {"object": np.ones((3, 4, 5), np.complex64)},
        {"weight": np.ones((3, 4), np.float32)},
        {"origin": np.array([0.5, 0.0])},
        {"origin": np.array([5000.0, 0.0])},
    ],
)
def test_start_that_does_not_fit_is_refused(scan_of, change):
    start = truth_of(scan_of())
    with pytest.raises(ShapeError, check=lambda error: error.name == "start"):
        refine(scan_of(), replace(start, **change))


def test_start_with_nan_is_refused(scan_of):
    start = truth_of(scan_of())
    holed = start.object.copy()
    holed[3, 3] = np.nan
    with pytest.raises(ShapeError, check=lambda error: error.name == "start"):
        refine(scan_of(), replace(start, object=holed))


def test_scan_without_counts_is_refused(scan_of):
    scan = scan_of()
    dark = Scan(diffraction=np.zeros_like(scan.diffraction), positions=scan.positions, probe=scan.probe)
    with pytest.raises(DataError, check=lambda error: error.names == ("diffraction",)):
        refine(dark)


@pytest.mark.rule("REF-017")
def test_light_and_error_bars_are_those_of_the_probe_that_is_left(scan_of):
    scan = scan_of()
    result = refine(scan, epochs=12, refine_probe=True, refine_warm_up=0)
    light = float((np.abs(result.probe) ** 2).sum())
    assert result.object.weight.sum() == pytest.approx(scan.n_frames * light, rel=1e-3)
    # Wherever many frames meet, the variance is nearly one count's share of the light.
    lit = result.object.weight > 0.5 * result.object.weight.max()
    variance = 1 / (result.intensity_scale * result.object.weight[lit])
    ratio = np.median(result.error_bars.sigma[lit] ** 2 / variance)
    known = refine(scan, epochs=1)
    expected = np.median(known.error_bars.sigma[lit] ** 2 * known.intensity_scale * known.object.weight[lit])
    assert ratio == pytest.approx(expected, rel=0.02)
