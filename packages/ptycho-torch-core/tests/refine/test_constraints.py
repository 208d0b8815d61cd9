"""What is known of a sample or a probe: total variation, one amplitude, a support."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ptycho_config import ConfigError, RefineConfig
from ptycho_torch.data.simulation import simulate_scan, simulate_scene
from ptycho_torch.refine import refine
from ptycho_torch.refine.total_variation import total_variation, total_variation_slope

SIZE = {"N": 32, "grid": (8, 8), "step_px": 4.0, "jitter_px": 1.0}
FEW = {"epochs": 30, "error_bars": "none"}


@pytest.fixture(scope="module")
def dim():
    """A scan of lines with few photons."""
    return simulate_scene("lines", photons=1e4, seed=11, **SIZE)


@pytest.fixture
def image():
    generator = torch.Generator().manual_seed(4)
    return torch.randn(7, 9, dtype=torch.complex128, generator=generator)


@pytest.mark.rule("REF-031")
def test_the_slope_of_the_total_variation_is_its_derivative(image):
    values = image.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(total_variation(values), values)
    torch.testing.assert_close(total_variation_slope(image)[0], gradient / 2)


@pytest.mark.rule("REF-031")
def test_a_step_divided_by_the_curvature_never_overshoots(image):
    before = total_variation(image)
    for _ in range(50):
        slope, curvature = total_variation_slope(image)
        image = image - slope / curvature
        after = total_variation(image)
        assert after <= before
        before = after
    assert total_variation(torch.full((4, 5), 2.0 + 1j)) == 0


@pytest.mark.rule("REF-031")
def test_total_variation_quiets_flat_areas_and_keeps_edges(dim, error_of):
    plain, quiet, smooth = (
        refine(dim, **FEW, **settings) for settings in ({}, {"total_variation": 0.01}, {"smoothness": 0.1})
    )
    assert error_of(dim, quiet) < 0.95 * error_of(dim, plain)
    assert error_of(dim, quiet) < 0.95 * error_of(dim, smooth)
    lit = plain.object.weight > 0.3 * plain.object.weight.max()
    rough, flat = (total_variation(torch.from_numpy(one.object.object * lit)) for one in (plain, quiet))
    assert flat < 0.9 * rough


@pytest.mark.rule("REF-032")
@pytest.mark.parametrize("also", [{}, {"refine_probe": True, "likelihood": "amplitude"}])
def test_a_sample_that_absorbs_nothing_has_one_amplitude(dim, error_of, also):
    phases = np.exp(1j * np.angle(dim.object_truth))
    scan = simulate_scan(phases, dim.probe, dim.positions, photons=1e4, seed=3)
    plain, told = (refine(scan, **FEW, **also, object_constraint=name) for name in ("none", "phase"))
    np.testing.assert_allclose(np.abs(told.object.object), np.abs(told.object.object).mean(), rtol=1e-4)
    assert np.abs(told.object.object).mean() == pytest.approx(1, abs=0.01)
    assert error_of(scan, told) < 0.9 * error_of(scan, plain)


@pytest.mark.rule("REF-033")
@pytest.mark.parametrize("variation", [0, 1])
def test_a_probe_stays_within_its_support(dim, variation):
    told = {"refine_probe": True, "refine_warm_up": 0, "epochs": 4, "probe_variation": variation}
    free, bound = (refine(dim, **told, error_bars="none", probe_support=width) for width in (None, 20.0))
    axis = np.arange(32) - 16
    beside = np.add.outer(axis**2, axis**2) > 100
    assert np.abs(free.probe[:, beside]).max() > 0
    assert np.abs(bound.probe[:, beside]).max() == 0
    assert np.abs(bound.probe[:, ~beside]).min() > 0
    if variation:
        modes = np.abs(bound.variation.modes)
        assert modes[:, beside].max() < 1e-4 * modes.max()


@pytest.mark.rule("REF-033")
def test_a_support_without_a_fit_is_refused():
    with pytest.raises(ConfigError) as caught:
        RefineConfig(probe_support=20.0)
    assert [problem.field for problem in caught.value.problems] == ["probe_support"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"total_variation": 0.1, "slices": 2, "slice_distance": 1e-4},
        {"object_constraint": "phase", "slices": 2, "slice_distance": 1e-4},
        {"object_constraint": "glass"},
        {"total_variation": -1.0},
        {"probe_support": 0.0, "refine_probe": True},
    ],
)
def test_what_cannot_be_is_refused(wrong):
    with pytest.raises(ConfigError) as caught:
        RefineConfig(**wrong)
    assert [problem.field for problem in caught.value.problems] == [next(iter(wrong))]
