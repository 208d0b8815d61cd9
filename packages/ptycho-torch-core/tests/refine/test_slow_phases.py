"""The step for slow phases."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from ptycho_config import RefineConfig
from ptycho_torch.data.simulation.simulate import simulate_scan, simulate_scene
from ptycho_torch.physics.propagation import FarField
from ptycho_torch.reassembly import StitchedObject
from ptycho_torch.refine import refine
from ptycho_torch.refine.arithmetic import Arithmetic
from ptycho_torch.refine.iteration import Iteration
from ptycho_torch.refine.slow_phases import SlowPhases, phase_curvature


def iteration_of(scan, **settings):
    config = RefineConfig(**settings)
    return Iteration(scan, None, config, device=torch.device("cpu"), dtype=torch.complex128)


@pytest.mark.rule("REF-052")
@pytest.mark.parametrize("scene", ["natural", "random_field"])
@pytest.mark.parametrize("likelihood", ["poisson", "amplitude"])
def test_slow_phases_arrive_in_fewer_epochs(error_of, scene, likelihood):
    scan = simulate_scene(scene, N=32, grid=(20, 20), step_px=4.0, jitter_px=1.0, photons=1e6, seed=3)
    plain, slow = (
        error_of(scan, refine(scan, epochs=15, likelihood=likelihood, slow_phases=wanted))
        for wanted in (False, True)
    )
    assert slow < 0.6 * plain


@pytest.mark.rule("REF-052")
@pytest.mark.parametrize("settings", [{"refine_probe": True}, {"probe_modes": 2, "refine_probe": True}])
def test_what_is_fitted_beside_the_object_is_no_hindrance(error_of, settings):
    scan = simulate_scene("natural", N=32, grid=(16, 16), step_px=4.0, jitter_px=1.0, photons=1e6, seed=3)
    plain, slow = (
        error_of(scan, refine(scan, epochs=20, slow_phases=wanted, **settings)) for wanted in (False, True)
    )
    assert slow < plain


@pytest.fixture
def exact():
    """A scan at whole pixels without noise."""
    return simulate_scene(
        "natural", N=32, grid=(8, 8), step_px=4.0, jitter_px=0.0, photons=1e6, seed=3, noise=False
    )


def at_the_truth(scan):
    """The problem of a scan where its object is the true one."""
    solver = iteration_of(scan)
    light = np.sqrt((np.abs(scan.probe) ** 2).sum() / (np.abs(solver.probe()) ** 2).sum())
    gain = light * np.sqrt(scan.metadata["intensity_scale"] / solver.scale)
    whole = np.ones(scan.object_truth.shape, dtype=np.float32)
    start = StitchedObject(object=scan.object_truth * gain, weight=whole, origin=np.zeros(2))
    image = solver.unknowns.object
    image.value = image.now = image.ahead = torch.from_numpy(solver.canvas.lay(start))
    return solver


@pytest.mark.rule("REF-052")
def test_the_solution_stays_where_it_is(exact):
    solver = at_the_truth(exact)
    before = solver.unknowns.object.now
    for epoch in range(4):
        assert solver.run_epoch(epoch, 4).residual < 1e-6
    moved = (solver.unknowns.object.now - before).abs()[solver.illumination > 1e-2]
    assert float(moved.max()) < 1e-5


@pytest.mark.rule("REF-052")
def test_the_curvature_is_that_of_the_misfit(exact):
    """Against differences of the amplitudes on the detector, along the same waves of phase."""
    truth, probe = torch.from_numpy(exact.object_truth), torch.from_numpy(exact.probe)
    solver, rows = at_the_truth(exact), np.array([7, 20])
    frequencies, curvature = phase_curvature(solver.unknowns, rows, solver._placement(rows), Arithmetic())
    corners = exact.positions[rows].astype(int) - 16
    patches = torch.stack([truth[y : y + 32, x : x + 32] for y, x in corners]).to(torch.complex128)
    pixels, far = torch.arange(32, dtype=torch.float64) - 16, FarField()

    def amplitudes(phase):
        return far.to_detector(patches * torch.exp(1j * phase) * probe).abs()

    for frequency, found in zip(frequencies[[0, 3]], curvature[[0, 3]], strict=True):
        moved = whole = 0.0
        for begin in (0.0, 0.25):
            wave = torch.cos(2 * torch.pi * (frequency * pixels + begin))
            for one in (wave[:, None], wave[None, :]):
                small = 1e-4 * one.expand(32, 32)
                moved += float(((amplitudes(small) - amplitudes(-small)) / 2e-4).square().sum())
                whole += float(far.to_detector(patches * one * probe).abs().square().sum())
        assert float(found) == pytest.approx(moved / whole, rel=1e-3)


@pytest.mark.rule("REF-052")
def test_a_light_that_is_wrong_at_first_is_waited_for(error_of):
    """Before the probe is fitted an object moves to make up for it, and not to where it belongs."""
    scan = simulate_scene("natural", N=32, grid=(16, 16), step_px=6.0, jitter_px=1.0, photons=1e6, seed=3)
    blurred = gaussian_filter(scan.probe, (0, 1.0, 1.0))
    wrong = replace(scan, probe=blurred.astype(np.complex64))
    plain, slow = (
        error_of(scan, refine(wrong, epochs=20, refine_probe=True, slow_phases=wanted))
        for wanted in (False, True)
    )
    assert slow < 0.8 * plain
    assert iteration_of(wrong, refine_probe=True).slow_phases.waits == 6
    assert iteration_of(wrong).slow_phases.waits == 1


@pytest.mark.rule("REF-052")
def test_steps_that_lead_nowhere_become_shorter(error_of):
    """A probe that is wrong and is not fitted."""
    scan = simulate_scene("natural", N=32, grid=(16, 16), step_px=6.0, jitter_px=1.0, photons=1e6, seed=3)
    blurred = gaussian_filter(scan.probe, (0, 1.5, 1.5))
    gains = {}
    for name, one in (("right", scan), ("wrong", replace(scan, probe=blurred.astype(np.complex64)))):
        solver = iteration_of(one)
        for epoch in range(12):
            solver.run_epoch(epoch, 8)
        gains[name] = solver.slow_phases.largest_gain
    assert gains["right"] > 10
    assert gains["wrong"] < 4


@pytest.mark.rule("REF-052")
def test_what_happens_before_the_first_step_is_none_of_its_doing(scan_of):
    solver = iteration_of(scan_of("natural"), refine_probe=True)
    slow = solver.slow_phases
    before = slow.largest_gain
    for residual in (0.1, 0.3, 0.2):
        slow.carry(
            solver.unknowns, solver.illumination, solver._placement, solver.frames, solver.batching, residual
        )
    assert slow.largest_gain == before


@pytest.mark.rule("REF-052")
def test_few_photons_are_not_followed():
    lit = torch.ones(64, 64)
    few, many, unknown = (
        SlowPhases(32, lit, counts, 1) for counts in (4.0 * lit.numel(), 1e4 * lit.numel(), None)
    )
    assert few.largest_gain == 1.0
    assert many.largest_gain == unknown.largest_gain > 10


@pytest.mark.rule("REF-052")
def test_it_is_left_out_where_it_was_not_asked_for(scan_of):
    scan = scan_of("natural")
    with_it, without = (refine(scan, epochs=6, slow_phases=wanted) for wanted in (True, False))
    assert not np.array_equal(with_it.object.object, without.object.object)


@pytest.mark.rule("REF-052")
def test_pixels_that_were_not_measured_say_nothing(scan_of):
    scan = scan_of("natural")
    solver = iteration_of(scan)
    rows = np.arange(4)
    where = solver._placement(rows)
    mask = torch.ones(32, 32, dtype=torch.float64)
    mask[:, :16] = 0
    whole = phase_curvature(solver.unknowns, rows, where, Arithmetic())[1]
    half = phase_curvature(solver.unknowns, rows, where, Arithmetic(), mask)[1]
    assert (half < 0.9 * whole).all()


def test_a_scan_of_other_sizes_than_blocks_keeps_its_shape():
    scan = simulate_scan(
        np.exp(1j * np.linspace(0, 1, 61 * 67).reshape(61, 67)), simulate_scene(N=34, grid=(2, 2)).probe,
        np.array([[20.0, 22.0], [31.0, 40.0], [24.0, 33.0]]), photons=1e5, seed=1,
    )  # fmt: skip
    result = refine(replace(scan, metadata={}), epochs=4)
    assert np.isfinite(result.object.object).all()
