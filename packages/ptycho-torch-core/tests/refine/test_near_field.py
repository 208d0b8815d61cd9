"""Refinement of scans in the near field."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from ptycho_config import ConfigError
from ptycho_torch.data.scan.near_field import near_field_of
from ptycho_torch.data.simulation.simulate import expected_intensity, simulate_scene
from ptycho_torch.metrics import compare
from ptycho_torch.reassembly import StitchedObject
from ptycho_torch.refine import refine
from ptycho_torch.refine.compiled import CompiledArithmetic
from ptycho_torch.refine.iteration import Iteration
from ptycho_torch.refine.likelihood import Misfit
from ptycho_torch.refine.residual import predicted_pairs
from ptycho_torch.refine.settings import config_of
from ptycho_torch.refine.step import batch_gradient

NEAR = {
    "photon_energy_eV": 9000.0,
    "detector_object_distance_m": 2.0,
    "detector_pixel_height_m": 75e-6,
    "detector_pixel_width_m": 75e-6,
    "far_field": False,
    "focus_object_distance_m": -0.004,
}


@pytest.fixture(scope="module")
def scan():
    size = {"N": 32, "grid": (7, 7), "step_px": 4.0, "jitter_px": 1.0}
    return simulate_scene("random_field", **size, photons=1e5, seed=5, optics=NEAR)


def error_of(scan, result):
    found = result.object
    report = compare(
        found.object, scan.object_truth, weight=found.weight, origin=found.origin,
        truth_origin=scan.object_truth_origin, probe_diameter=scan.N / 2, frc=False,
    )  # fmt: skip
    return report.scores.complex_nrmse


@pytest.mark.rule("PHY-005", "PHY-044")
def test_the_solver_predicts_what_the_simulator_makes(scan):
    truth = StitchedObject(
        object=scan.object_truth, weight=np.ones(scan.object_truth.shape, np.float32), origin=np.zeros(2)
    )
    predicted = torch.cat([pair[0] for pair in predicted_pairs(scan, truth)()]).numpy()
    optics = near_field_of(scan.metadata, scan.N)
    expected = expected_intensity(scan.object_truth, scan.probe, scan.positions, near_field=optics)
    assert np.abs(predicted - expected).max() < 1e-5 * expected.max()


@pytest.mark.rule("REF-040")
def test_an_object_is_found_in_the_near_field(scan):
    result = refine(scan, epochs=30)
    assert error_of(scan, result) < 0.05
    assert result.error_bars is None
    # As frames of the far field they make no sense.
    far = refine(_as_far(scan), epochs=3)
    assert result.residuals[-1] < 0.2 * far.residuals[-1]


@pytest.mark.rule("REF-040")
def test_gradients_are_those_of_automatic_differentiation(scan):
    part, every = scan.take([0, 9, 24]), np.arange(3)
    how = {"likelihood": "amplitude", "sub_pixel": "probe", "refine_probe": True, "warm_up": 0}
    solver = Iteration(part, None, config_of(None, how), device=torch.device("cpu"), dtype=torch.complex128)
    unknowns, where = solver.unknowns, solver._placement(every)
    for unknown in unknowns:
        unknown.begin(0)
    leaves = [unknowns.object.value.clone(), unknowns.probe.value.clone()]
    leaves = [leaf.mul_(1.1).requires_grad_() for leaf in leaves]
    unknowns.object.value, unknowns.probe.value = (leaf.detach().clone() for leaf in leaves)
    batch_gradient(unknowns, every, where, solver.frames, solver.batching, Misfit())
    propagation = solver.batching.arithmetic.propagation
    field = propagation.to_detector(where.cut(leaves[0])[:, None] * where.light(leaves[1]))
    (field.abs().squeeze(1) - solver.frames.seen(every)[0].sqrt()).square().sum().backward()
    # torch returns twice the derivative in the conjugate variable.
    torch.testing.assert_close(unknowns.object.gradient, leaves[0].grad / 2)
    torch.testing.assert_close(unknowns.probe.gradient, leaves[1].grad / 2)


def test_what_is_compiled_knows_the_far_field_alone(scan):
    solver = Iteration(scan, None, config_of(None, {}), device=torch.device("cpu"), dtype=torch.complex64)
    assert not isinstance(solver.batching.arithmetic, CompiledArithmetic)


@pytest.mark.parametrize("method", ["thinning", "jackknife"])
def test_error_bars_beside_shot_noise_are_refused(method, scan):
    with pytest.raises(ConfigError) as caught:
        refine(scan, epochs=1, error_bars=method)
    assert [problem.field for problem in caught.value.problems] == ["error_bars"]


def _as_far(scan):
    return replace(scan, metadata={**scan.metadata, "far_field": True})
