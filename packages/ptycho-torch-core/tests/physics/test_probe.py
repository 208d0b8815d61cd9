"""Power, support and blur of the illumination."""

from __future__ import annotations

import math

import pytest
import torch

from ptycho_torch.errors import ShapeError
from ptycho_torch.physics import illumination, probe_power, soft_disk, with_power
from ptycho_torch.physics.probe import gaussian_transfer
from ptycho_torch.testing import assert_close, random_probe


def test_power_is_set_and_the_balance_of_modes_kept(generator):
    probe = random_probe(3, 8, generator) * torch.tensor([3.0, 2.0, 1.0])[:, None, None]
    scaled = with_power(probe, 16.0)
    assert_close(probe_power(scaled), torch.tensor(16.0))
    shares = [p.abs().square().sum(dim=(1, 2)) / probe_power(p) for p in (probe, scaled)]
    assert_close(shares[1], shares[0])


def test_illumination_is_no_coherent_sum():
    mode = torch.ones(1, 4, 4, dtype=torch.complex128)
    assert_close(illumination(torch.cat([mode, -mode])), torch.full((4, 4), 2.0))


@pytest.mark.rule("PHY-014")
def test_holding_the_power_takes_the_common_scale_out_of_the_gradient(generator):
    probe = random_probe(2, 4, generator).requires_grad_()
    weight = random_probe(2, 4, generator)
    (with_power(probe, 5.0) * weight).real.sum().backward()
    along = (probe.grad.conj() * probe.detach()).real.sum()
    assert abs(float(along)) < 1e-12


@pytest.mark.rule("PHY-016")
@pytest.mark.parametrize("n", [32, 33])
@pytest.mark.parametrize("sigma", [0.0, 1.0, 3.0])
def test_soft_disk_is_one_inside_and_falls_like_a_gaussian(n, sigma):
    disk = soft_disk(n, diameter=n / 2, sigma=sigma, dtype=torch.float64)
    axis = torch.arange(n, dtype=torch.float64) - n // 2
    radius = torch.hypot(axis[:, None], axis[None, :])
    assert (disk[radius <= n / 4] == 1).all()
    outside = radius > n / 4
    expected = torch.zeros_like(disk)
    if sigma:
        expected = torch.exp(-((radius - n / 4) ** 2) / (2 * sigma**2))
    assert_close(disk[outside], expected[outside])
    assert disk[n // 2, n // 2] == 1
    assert_close(disk, disk.T)


@pytest.mark.parametrize(("diameter", "sigma"), [(0.0, 1.0), (-2.0, 1.0), (8.0, -0.5)])
def test_impossible_disks_are_refused(diameter, sigma):
    with pytest.raises(ValueError, match="soft_disk: expected diameter > 0 and sigma >= 0"):
        soft_disk(16, diameter=diameter, sigma=sigma)


@pytest.mark.parametrize("n", [16, 15])
def test_blur_keeps_the_mean_and_has_the_stated_width(n):
    sigma = 1.2
    transfer = gaussian_transfer(n, sigma, dtype=torch.float64)
    assert transfer[0, 0] == 1
    kernel = torch.fft.ifft2(transfer).real
    offset = torch.fft.fftfreq(n, 1 / n, dtype=torch.float64)
    variance = (kernel.sum(dim=1) * offset.square()).sum()
    assert math.sqrt(float(variance)) == pytest.approx(sigma, rel=1e-2)
    assert float(kernel.sum()) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("probe", "actual"),
    [
        (torch.ones(8, 8, dtype=torch.complex64), (8, 8)),
        (torch.ones(1, 8, 9, dtype=torch.complex64), (1, 8, 9)),
        (torch.ones(0, 8, 8, dtype=torch.complex64), (0, 8, 8)),
        (torch.ones(1, 8, 8), torch.float32),
    ],
)
def test_what_is_no_probe_is_refused(probe, actual):
    for function in (illumination, probe_power, lambda p: with_power(p, 1.0)):
        with pytest.raises(ShapeError, check=lambda error: (error.name, error.actual) == ("probe", actual)):
            function(probe)
