"""The penalty on rough objects: its derivative, its bound, and what it does to a scan of few counts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from ptycho_torch.data.simulation.simulate import simulate_scene
from ptycho_torch.metrics import compare
from ptycho_torch.refine import refine
from ptycho_torch.refine.smoothness import (
    LARGEST_CURVATURE,
    at_equal_brightness,
    roughness,
    roughness_gradient,
)


@pytest.fixture
def image():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(9, 12, dtype=torch.complex128, generator=generator)


def test_a_constant_is_smooth_and_a_step_costs_its_square():
    image = torch.zeros(4, 6, dtype=torch.complex128)
    image[:, 3:] = 2j
    assert float(roughness(image)) == 4 * 4
    assert float(roughness(torch.full((4, 6), 3j))) == 0


@pytest.mark.rule("REF-014")
def test_the_gradient_is_the_derivative(image):
    moving = image.clone().requires_grad_()
    roughness(moving).backward()
    # Autograd gives twice the derivative by the conjugate.
    torch.testing.assert_close(2 * roughness_gradient(image), moving.grad)


def test_the_curvature_is_bounded():
    board = torch.from_numpy((-1.0) ** np.add.outer(np.arange(40), np.arange(40)))
    curvature = float((board * roughness_gradient(board)).sum() / board.square().sum())
    assert 0.95 * LARGEST_CURVATURE < curvature <= LARGEST_CURVATURE


@pytest.fixture(scope="module")
def dim_scan():
    return simulate_scene(
        "random_field", N=32, grid=(8, 8), step_px=4.0, jitter_px=1.0, photons=300.0, seed=2
    )


def _error(scan, result):
    fitted = result.object
    report = compare(
        fitted.object, scan.object_truth, weight=fitted.weight, origin=fitted.origin,
        truth_origin=scan.object_truth_origin, probe_diameter=16, frc=False,
    )  # fmt: skip
    return report.scores.complex_nrmse


@pytest.mark.rule("REF-014")
def test_it_quiets_the_noise_of_few_counts(dim_scan):
    rough, smooth = (refine(dim_scan, epochs=40, smoothness=value) for value in (0.0, 0.1))
    assert _error(dim_scan, smooth) < 0.8 * _error(dim_scan, rough)


@pytest.mark.rule("REF-014")
def test_more_of_it_makes_the_object_smoother(dim_scan):
    found = [refine(dim_scan, epochs=20, smoothness=value).object.object for value in (0.0, 0.05, 0.5)]
    values = [float(roughness(torch.from_numpy(image))) for image in found]
    assert values[0] > 1.5 * values[1] > 2 * values[2]


@pytest.mark.rule("REF-069")
def test_what_only_darkens_an_object_is_no_part_at_equal_brightness(image):
    darker = at_equal_brightness(0.3 * image, image, 3.0)
    torch.testing.assert_close(darker, torch.zeros_like(image))
    phases = torch.linspace(-1, 1, image.numel(), dtype=torch.float64).reshape(image.shape)
    torch.testing.assert_close(at_equal_brightness(1j * phases * image, image, 3.0), 1j * phases * image)


@pytest.mark.rule("REF-069")
def test_brightness_is_a_mean_under_a_gaussian(image):
    gradient, width = roughness_gradient(image), 2.0

    def mean(values):
        return gaussian_filter(values, width, mode="nearest", truncate=3.0)

    along = mean((image.conj() * gradient).real.numpy()) / mean(image.abs().square().numpy())
    expected = gradient - image * torch.from_numpy(along)
    torch.testing.assert_close(at_equal_brightness(gradient, image, width), expected)


@pytest.mark.rule("REF-069")
@pytest.mark.parametrize("penalty", ["smoothness", "total_variation"])
def test_doses_of_a_steady_source_stay_equal_beside_a_penalty(penalty):
    """They made up for a darker object where it is rough: 9 and 6 % apart, and twice the error."""
    scan = simulate_scene("natural", N=32, grid=(10, 10), step_px=4.0, jitter_px=1.0, photons=1e6, seed=11)
    result = refine(scan, epochs=40, refine_dose=True, likelihood="amplitude", **{penalty: 0.003})
    assert np.std(result.others["dose"]) < 0.03
    assert _error(scan, result) < 0.025
