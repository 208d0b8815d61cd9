"""The gauge: a transmitting object predicts the mean counts, at every dose."""

from __future__ import annotations

import pytest
import torch

from ptycho_torch.errors import ShapeError
from ptycho_torch.physics import calibrate, normalised_amplitude, predicted_counts, probe_power
from ptycho_torch.testing import random_probe

N = 16


@pytest.fixture
def probe(generator):
    return random_probe(2, N, generator, dtype=torch.complex64)


@pytest.mark.rule("PHY-017")
@pytest.mark.parametrize("factor", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("mean_counts", [30.0, 1e9])
def test_transmitting_object_predicts_the_mean_counts(factor, mean_counts, probe):
    calibration = calibrate(factor * probe, mean_counts)
    counts = predicted_counts(
        torch.ones(1, N, N, dtype=torch.complex64), calibration.probe, calibration.intensity_scale
    )
    assert float(counts.sum()) == pytest.approx(mean_counts, rel=1e-6)
    assert float(probe_power(calibration.probe)) == pytest.approx((N / 2) ** 2, rel=1e-6)


def test_only_the_scale_of_the_probe_changes(probe):
    calibration = calibrate(7 * probe, 1e5)
    ratio = calibration.probe / probe
    assert ratio.abs().max() == pytest.approx(float(ratio.abs().min()), rel=1e-5)
    assert ratio.imag.abs().max() < 1e-6
    assert calibration.mean_counts == 1e5
    assert calibration.probe.dtype == torch.complex64


def test_calibrating_twice_changes_nothing(probe):
    once = calibrate(probe, 1e5)
    twice = calibrate(once.probe, 1e5)
    torch.testing.assert_close(twice.probe, once.probe)
    assert twice.intensity_scale == once.intensity_scale


@pytest.mark.rule("PHY-012")
@pytest.mark.parametrize("dose", [2.0, 10.0])
def test_dose_changes_neither_amplitudes_nor_probe(dose, probe, real_noise):
    counts = 100 * real_noise(5, N, N)
    mean = float(counts.sum(dim=(1, 2)).mean())
    low, high = calibrate(probe, mean), calibrate(probe, dose * mean)
    torch.testing.assert_close(
        normalised_amplitude(dose * counts, high.intensity_scale),
        normalised_amplitude(counts, low.intensity_scale),
    )
    torch.testing.assert_close(high.probe, low.probe)


@pytest.mark.rule("PHY-011")
def test_mean_power_of_the_network_input_is_a_quarter_of_the_pixels(probe, real_noise):
    counts = 100 * real_noise(5, N, N)
    calibration = calibrate(probe, float(counts.sum(dim=(1, 2)).mean()))
    power = normalised_amplitude(counts, calibration.intensity_scale).square().sum(dim=(1, 2)).mean()
    assert float(power) == pytest.approx((N / 2) ** 2)


@pytest.mark.parametrize("mean_counts", [0.0, -1.0, float("nan"), float("inf")])
def test_impossible_counts_are_refused(mean_counts, probe):
    with pytest.raises(ValueError, match="mean_counts: expected a positive finite number"):
        calibrate(probe, mean_counts)


@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf")])
def test_probe_without_light_is_refused(value):
    with pytest.raises(ValueError, match="probe: expected a positive finite power"):
        calibrate(torch.full((1, N, N), value, dtype=torch.complex64), 1e5)


def test_probe_of_wrong_rank_is_refused_in_words():
    with pytest.raises(ShapeError, check=lambda error: error.name == "probe"):
        calibrate(torch.ones(64, 64, dtype=torch.complex64), 1e5)
    with pytest.raises(ShapeError, check=lambda error: error.name == "probe"):
        calibrate(torch.ones(2, 1, 64, 64, dtype=torch.complex64), 1e5)


def _empty_beam(calibration, measured, sigma=0.0):
    empty = torch.ones(1, N, N, dtype=torch.complex64)
    counts = predicted_counts(empty, calibration.probe, calibration.intensity_scale, smoothing_sigma=sigma)
    return counts[..., measured].sum()


@pytest.mark.rule("PHY-017")
@pytest.mark.parametrize("mask", ["dead pixels", "beamstop"])
@pytest.mark.parametrize("sigma", [0.0, 1.5])
def test_with_unmeasured_pixels_the_empty_beam_still_predicts_the_measured_counts(mask, sigma, generator):
    # A smooth probe, so that the beamstop hides most of the light.
    ramp = torch.linspace(-2, 2, N)
    probe = torch.exp(-(ramp[:, None] ** 2) - ramp**2).to(torch.complex64)[None]
    measured = torch.ones(N, N, dtype=torch.bool)
    if mask == "dead pixels":
        measured[torch.rand(N, N, generator=generator) < 0.2] = False
    else:
        measured[N // 2 - 1 : N // 2 + 2, N // 2 - 1 : N // 2 + 2] = False
    calibration = calibrate(probe, 1e5, measured=measured, smoothing_sigma=sigma)
    assert float(_empty_beam(calibration, measured, sigma)) == pytest.approx(1e5, rel=1e-5)
    assert float(probe_power(calibration.probe)) == pytest.approx((N / 2) ** 2, rel=1e-6)
    everywhere = calibrate(probe, 1e5)
    assert calibration.intensity_scale > 1.05 * everywhere.intensity_scale


def test_a_mask_that_hides_nothing_changes_nothing(probe):
    plain = calibrate(probe, 1e5)
    masked = calibrate(probe, 1e5, measured=torch.ones(N, N, dtype=torch.bool))
    assert masked.intensity_scale == pytest.approx(plain.intensity_scale)


def test_a_mask_that_hides_all_light_is_refused(probe):
    with pytest.raises(ValueError, match="the empty beam reaches no measured pixel"):
        calibrate(probe, 1e5, measured=torch.zeros(N, N, dtype=torch.bool))
