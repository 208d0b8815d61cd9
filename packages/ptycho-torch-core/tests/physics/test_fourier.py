"""The far-field transform against its definition and against cases that can be solved by hand."""

from __future__ import annotations

import math

import pytest
import torch

from ptycho_torch.physics import far_field, far_field_adjoint
from ptycho_torch.testing import assert_adjoint, assert_close


@pytest.mark.rule("PHY-003")
@pytest.mark.parametrize("n", [8, 9, 16])
def test_adjoint(n, generator):
    frame = torch.empty(2, n, n)
    assert_adjoint(far_field, far_field_adjoint, frame, frame, generator)


@pytest.mark.rule("PHY-002")
def test_adjoint_is_the_inverse(complex_noise):
    wave = complex_noise(3, 9, 9)
    assert_close(far_field_adjoint(far_field(wave)), wave)


@pytest.mark.parametrize("n", [8, 9])
def test_is_the_discrete_fourier_transform_with_the_zero_frequency_in_the_middle(n, complex_noise):
    wave = complex_noise(n, n)
    index = torch.arange(n, dtype=torch.float64)
    matrix = torch.exp(-2j * math.pi * (index[:, None] - n // 2) * index[None, :] / n) / math.sqrt(n)
    assert_close(far_field(wave), matrix @ wave @ matrix.T)


@pytest.mark.parametrize("n", [16, 15])
def test_plane_wave_is_one_pixel_in_the_middle(n):
    field = far_field(torch.full((n, n), 0.5 + 1j, dtype=torch.complex128))
    expected = torch.zeros(n, n, dtype=torch.complex128)
    expected[n // 2, n // 2] = (0.5 + 1j) * n
    assert_close(field, expected)


@pytest.mark.parametrize(("down", "right"), [(3, 0), (0, -5), (2, 7)])
def test_tilted_plane_wave_moves_by_its_frequency(down, right):
    n = 16
    index = torch.arange(n, dtype=torch.float64)
    tilt = 2 * math.pi / n * (down * index[:, None] + right * index[None, :])
    intensity = far_field(torch.exp(1j * tilt)).abs().square()
    assert intensity[n // 2 + down, n // 2 + right] == pytest.approx(n * n)
    assert intensity.sum() == pytest.approx(n * n)


def test_shift_theorem(complex_noise):
    n, (down, right) = 16, (3, -2)
    wave = complex_noise(n, n)
    frequency = torch.arange(n, dtype=torch.float64) - n // 2
    ramp = torch.exp(-2j * math.pi / n * (down * frequency[:, None] + right * frequency[None, :]))
    assert_close(far_field(wave.roll((down, right), (0, 1))), ramp * far_field(wave))


@pytest.mark.rule("PHY-002")
def test_parseval(complex_noise):
    wave = complex_noise(4, 16, 16)
    power = wave.abs().square().sum(dim=(-2, -1))
    assert_close(far_field(wave).abs().square().sum(dim=(-2, -1)), power)


def test_gaussian_becomes_the_gaussian_of_inverse_width():
    n, sigma = 64, 4.0
    axis = torch.arange(n, dtype=torch.float64) - n // 2
    squared = axis[:, None].square() + axis[None, :].square()
    field = far_field(torch.exp(-squared / (2 * sigma**2)).to(torch.complex128))
    # The centre of the patch at n / 2 gives the field the alternating sign of a half-period shift.
    sign = (1 - 2 * (axis.abs() % 2))[:, None] * (1 - 2 * (axis.abs() % 2))[None, :]
    expected = 2 * math.pi * sigma**2 / n * torch.exp(-2 * (math.pi * sigma / n) ** 2 * squared) * sign
    assert_close(field, expected.to(torch.complex128))
