"""Propagation to the detector against beams that can be propagated by hand, and against the simulator."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ptycho_torch.data.scan.near_field import NearFieldOptics
from ptycho_torch.errors import ShapeError
from ptycho_torch.physics import far_field
from ptycho_torch.physics.propagation import FarField, NearField, near_field_transfer
from ptycho_torch.refine.step import detector_ramp
from ptycho_torch.testing import assert_adjoint, assert_close, relative_error

LIGHT = {"wavelength_m": 1.4e-10, "distance_m": 4e-3, "pixel_m": (1.1e-7, 0.9e-7)}


def near(n, **changes):
    return NearField(near_field_transfer(n, **{**LIGHT, **changes}))


@pytest.mark.rule("PHY-003", "PHY-044")
@pytest.mark.parametrize("n", [8, 9])
@pytest.mark.parametrize("kind", ["far", "near"])
def test_adjoint_is_the_inverse(n, kind, generator, complex_noise):
    propagation = FarField() if kind == "far" else near(n)
    frame = torch.empty(2, 3, n, n)
    assert_adjoint(propagation.to_detector, propagation.to_sample, frame, frame, generator)
    wave = complex_noise(2, n, n)
    assert_close(propagation.to_sample(propagation.to_detector(wave)), wave)


def test_the_far_field_of_a_ramped_wave_is_centred(complex_noise):
    wave = complex_noise(9, 9)
    ramped = FarField().to_detector(wave * detector_ramp(9))
    assert_close(ramped.abs(), far_field(wave).abs())


@pytest.mark.rule("PHY-005", "PHY-044")
@pytest.mark.parametrize("n", [16, 15])
def test_the_ramp_leaves_the_near_field_where_it_is(n, complex_noise):
    wave = complex_noise(n, n)
    ramped = near(n).to_detector(wave * detector_ramp(n))
    plain = np.fft.ifft2(np.fft.fft2(wave.numpy()) * NearFieldOptics(**LIGHT).transfer(n))
    assert relative_error(ramped * detector_ramp(n).conj(), plain) < 1e-12


def test_a_gaussian_beam_spreads_as_it_should():
    n, pixel, waist, distance = 128, 1e-7, 6e-7, 6e-3
    length = LIGHT["wavelength_m"]
    r = (torch.arange(n, dtype=torch.float64) - n // 2) * pixel
    squared = r[:, None] ** 2 + r[None, :] ** 2
    wave = torch.exp(-squared / waist**2) * detector_ramp(n)
    propagation = NearField(
        near_field_transfer(n, wavelength_m=length, distance_m=distance, pixel_m=(pixel, pixel))
    )
    light = propagation.to_detector(wave).abs().square()
    width = waist * (1 + (distance * length / (np.pi * waist**2)) ** 2) ** 0.5
    assert width > 1.1 * waist
    expected = (waist / width) ** 2 * torch.exp(-2 * squared / width**2)
    assert relative_error(light, expected) < 1e-5


def test_two_ways_are_as_long_as_both(complex_noise):
    wave = complex_noise(12, 12)
    twice = near(12).to_detector(near(12).to_detector(wave))
    assert_close(twice, near(12, distance_m=2 * LIGHT["distance_m"]).to_detector(wave))
    assert_close(near(12, distance_m=-LIGHT["distance_m"]).to_detector(wave), near(12).to_sample(wave))


def test_a_transfer_function_is_a_complex_square():
    for wrong in (torch.ones(4, 4), torch.ones(4, 5, dtype=torch.complex64)):
        with pytest.raises(ShapeError) as caught:
            NearField(wrong)
        assert caught.value.name == "transfer"
