"""Light through several slices against products by hand, and its adjoint."""

from __future__ import annotations

import pytest
import torch

from ptycho_torch.physics.multislice import Transmission
from ptycho_torch.physics.propagation import NearField, near_field_angle, near_field_transfer
from ptycho_torch.testing import assert_adjoint, assert_close, relative_error

N = 9
BETWEEN = NearField(
    near_field_transfer(N, wavelength_m=1.4e-10, distance_m=8e-5, pixel_m=(6e-8, 5e-8)),
)


@pytest.mark.rule("PHY-003", "PHY-045")
@pytest.mark.parametrize("count", [0, 1, 3])
def test_adjoint(count, generator, complex_noise):
    passage = Transmission([complex_noise(2, N, N) for _ in range(count)], BETWEEN)
    frame = torch.empty(2, 4, N, N)
    assert_adjoint(passage.forward, passage.adjoint, frame, frame, generator)


@pytest.mark.rule("PHY-045")
def test_light_goes_from_slice_to_slice(complex_noise):
    light, first, second = complex_noise(2, N, N), complex_noise(3, N, N), complex_noise(3, N, N)
    waves = Transmission([first, second], BETWEEN).incident(light)
    assert_close(waves[0], light)
    assert_close(waves[1], BETWEEN.to_detector(first[:, None] * light))
    assert_close(waves[2], BETWEEN.to_detector(second[:, None] * waves[1]))


@pytest.mark.rule("PHY-045")
def test_slices_without_a_distance_are_their_product(complex_noise):
    here = NearField(near_field_transfer(N, wavelength_m=1.4e-10, distance_m=0.0, pixel_m=(6e-8, 5e-8)))
    light, first, second = complex_noise(2, N, N), complex_noise(3, N, N), complex_noise(3, N, N)
    assert_close(Transmission([first, second], here).forward(light), (first * second)[:, None] * light)


def test_gradients_by_patches_are_those_of_automatic_differentiation(complex_noise):
    light = complex_noise(3, 2, N, N)
    patches = [complex_noise(3, N, N).requires_grad_() for _ in range(3)]
    passage = Transmission(patches, BETWEEN)
    waves = passage.incident(light)
    waves[-1].abs().square().sum().backward()
    with torch.no_grad():
        found = passage.patch_gradients(waves, waves[-1])
    for patch, gradient in zip(patches, found, strict=True):
        # torch returns twice the derivative in the conjugate variable.
        assert_close(gradient, patch.grad / 2)


def test_the_derivative_by_the_distance_is_that_of_a_difference(complex_noise):
    light, patches = complex_noise(3, 2, N, N), [complex_noise(3, N, N) for _ in range(2)]
    optics = {"wavelength_m": 1.4e-10, "pixel_m": (6e-8, 5e-8)}
    change = 1e-9

    def passage(distance):
        return Transmission(patches, NearField(near_field_transfer(N, distance_m=distance, **optics)))

    here = passage(8e-5)
    found = here.by_distance(here.incident(light), near_field_angle(N, **optics))
    ahead, behind = (passage(8e-5 + sign * change).forward(light) for sign in (1, -1))
    assert relative_error(found, (ahead - behind) / (2 * change)) < 1e-6
