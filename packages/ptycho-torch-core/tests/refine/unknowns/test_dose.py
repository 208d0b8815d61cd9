"""The dose of every frame: what it gets back, what it costs, and what it leaves alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from ptycho_config import RefineConfig
from ptycho_torch.data.simulation import Faults, simulate_scene
from ptycho_torch.refine import forward_residual, refine
from ptycho_torch.refine.iteration import Iteration
from ptycho_torch.refine.settings import epochs_of
from ptycho_torch.refine.unknowns.dose import DoseUnknown
from ptycho_torch.refine.unknowns.geometry import GeometryUnknown

FLICKERING, FADING = Faults(dose_rms=0.2), Faults(dose_fading=0.57)


def scan_with(faults, scene="lines", *, grid=(8, 8), photons=1e5):
    return simulate_scene(
        scene,
        N=32,
        grid=grid,
        step_px=4.0,
        jitter_px=1.0,
        photons=photons,
        seed=11,
        faults=faults,
    )


def unknown_of(n_frames=4, *, of_amplitudes=False):
    start = torch.ones(n_frames, dtype=torch.float64)
    return DoseUnknown(
        start,
        intensity_scale=100.0,
        counts=1e4,
        of_amplitudes=of_amplitudes,
        positions=torch.zeros(n_frames, 2, dtype=torch.float64),
        origin=torch.zeros(2, dtype=torch.float64),
        n_pixels=6,
    )


@pytest.mark.rule("REF-022")
@pytest.mark.parametrize(("faults", "likelihood"), [(FLICKERING, "amplitude"), (FADING, "poisson")])
def test_doses_come_back(error_of, faults, likelihood):
    clean, scan = scan_with(Faults()), scan_with(faults)
    best, faulty = (error_of(one, refine(one, likelihood=likelihood)) for one in (clean, scan))
    result = refine(scan, likelihood=likelihood, refine_dose=True)
    assert faulty > 2 * best
    assert (faulty - error_of(scan, result)) > 0.8 * (faulty - best)
    truth = faults.doses(scan.n_frames, 11)
    assert np.std(result.others["dose"] / truth) < 0.2 * np.std(truth)
    assert result.others["dose"].mean() == pytest.approx(1)
    assert result.said["dose"].startswith("from 0.")


@pytest.mark.rule("REF-022")
def test_a_steady_source_costs_nothing(error_of):
    scan = scan_with(Faults(), "random_field", photons=1e4)
    result = refine(scan, refine_dose=True)
    assert error_of(scan, result) < 1.1 * error_of(scan, refine(scan))
    assert result.others["dose"].std() < 1e-2


@pytest.mark.rule("REF-003")
def test_doses_stay_unless_asked_for(scan_of):
    assert refine(scan_of(), epochs=2).others == {}


@pytest.mark.parametrize("of_amplitudes", [False, True])
def test_the_best_dose_is_where_the_misfit_has_no_slope(of_amplitudes):
    generator = torch.Generator().manual_seed(2)
    lit, counts = torch.rand(2, 4, 6, 6, dtype=torch.float64, generator=generator)
    unknown = unknown_of(of_amplitudes=of_amplitudes)
    growth = unknown.matched(lit, lit, counts, np.arange(4))[:, None, None].requires_grad_()
    predicted = growth * lit
    if of_amplitudes:
        misfit = (predicted.sqrt() - counts.sqrt()).square().sum()
    else:
        misfit = (predicted - counts * predicted.log()).sum()
    (slope,) = torch.autograd.grad(misfit, growth)
    assert float(slope.abs().max()) < 1e-9 * float(lit.sum())


def test_light_and_its_gathering_are_adjoint():
    generator = torch.Generator().manual_seed(3)
    unknown = unknown_of(5)
    unknown.value = 1 + torch.rand(5, dtype=torch.float64, generator=generator)
    light, waves = torch.randn(2, 5, 2, 8, 8, dtype=torch.complex128, generator=generator)
    frames = np.array([3, 0, 4, 1, 2])
    left = torch.vdot(unknown.lit(light, frames).flatten(), waves.flatten())
    right = torch.vdot(light.flatten(), unknown.gathered_light(waves, frames).flatten())
    torch.testing.assert_close(left, right)


def test_doses_that_differ_by_noise_alone_are_drawn_together():
    unknown = unknown_of(400)
    generator = torch.Generator().manual_seed(1)
    unknown.value = 1 + 0.008 * torch.randn(400, dtype=torch.float64, generator=generator)
    unknown.settle()
    lit = torch.full((400, 2, 2), 25.0, dtype=torch.float64) * unknown.value[:, None, None]
    growth = unknown.matched(lit, lit, lit, np.arange(400))
    assert float((unknown.value * growth).std()) < 0.1 * float(unknown.value.std())
    unknown.value = torch.linspace(0.5, 1.5, 400, dtype=torch.float64)
    unknown.settle()
    growth = unknown.matched(lit, lit, lit, np.arange(400))
    assert float((growth - 1).abs().max()) < 1e-3


def test_frames_without_light_keep_a_positive_dose(scan_of):
    scan = scan_of()
    frames = scan.diffraction.copy()
    frames[7] = 0
    dose = refine(replace(scan, diffraction=frames), epochs=5, refine_dose=True).others["dose"]
    assert 0 < dose[7] < 0.01


def test_the_residual_is_that_of_the_fitted_doses():
    scan = scan_with(FLICKERING)
    result = refine(scan, epochs=30, refine_dose=True)
    told = forward_residual(scan, result.object, result.probe, dose=result.dose)
    assert told == pytest.approx(result.residuals[-1], rel=0.05)
    assert forward_residual(scan, result.object, result.probe) > 1.5 * told


@pytest.mark.rule("REF-006")
def test_slow_changes_get_the_time_that_they_need(scan_of):
    assert refine(scan_of(), epochs=40, tolerance=0.5).stopped_early
    assert not refine(scan_of(), epochs=40, tolerance=0.5, refine_dose=True).stopped_early
    assert epochs_of(RefineConfig()) == 60
    assert epochs_of(RefineConfig(refine_dose=True)) == 200
    assert epochs_of(RefineConfig(refine_dose=True, refine_epochs=7)) == 7


def test_bad_pixels_and_a_fitted_probe_go_with_it(error_of):
    scan = scan_with(FLICKERING)
    bad = np.zeros((scan.N, scan.N), dtype=bool)
    bad[14:18, 14:18] = True
    masked = replace(scan, diffraction=np.where(bad, 0, scan.diffraction), bad_pixels=bad)
    found = refine(masked, epochs=100, refine_dose=True, refine_probe=True)
    truth = FLICKERING.doses(scan.n_frames, 11)
    assert np.corrcoef(found.others["dose"], truth)[0, 1] > 0.9
    assert error_of(scan, found) < 0.5 * error_of(scan, refine(masked, epochs=60, refine_probe=True))


@pytest.mark.rule("REF-022")
@pytest.mark.parametrize(("n_scans", "settings"), [(1, {}), (1, {"probe_variation": 2}), (2, {})])
def test_no_frame_sees_the_trend_that_is_put_back(n_scans, settings):
    scan = simulate_scene("lines", N=32, grid=(6, 6), step_px=4.0, seed=1)
    index = np.arange(scan.n_frames) % n_scans
    solver = Iteration(
        replace(scan, scan_index=index),
        None,
        RefineConfig(refine_dose=True, refine_probe=True, refine_warm_up=0, **settings),
        device=torch.device("cpu"),
        dtype=torch.complex128,
        probes=None if n_scans == 1 else np.stack([scan.probe, scan.probe]),
    )
    solver.run_epoch(0, 2)
    unknowns = solver.unknowns
    (dose,) = (one for one in unknowns.others if isinstance(one, DoseUnknown))
    for one in unknowns.others:
        if isinstance(one, GeometryUnknown):
            one.value.zero_()
    every = np.arange(scan.n_frames)

    def shown():
        where = solver._placement(every)
        field = torch.fft.fft2(unknowns.light(where, every) * where.cut(unknowns.object.value)[:, None])
        return field.abs().square().sum(dim=1)

    tilted = dose.value * torch.exp(dose.places @ dose.places.new_tensor([0.01, -0.02]))
    before, mean, dose.value = shown(), dose.value.clone(), tilted
    there = shown()
    for _ in range(4):
        # Frames count by their light, which changes with the trend that is taken from them.
        dose.take_along(unknowns.object, unknowns.probe)
    assert (there / before - 1).abs().max() > 0.2
    torch.testing.assert_close(dose.value / dose.value.mean(), mean / mean.mean(), rtol=5e-3, atol=0)
    torch.testing.assert_close(shown(), there, rtol=2e-3, atol=1e-5 * float(there.max()))


@pytest.mark.rule("REF-022")
def test_a_fitted_probe_leaves_the_brightness_to_the_object(error_of):
    scan = scan_with(Faults(), "natural", grid=(10, 10), photons=1e6)
    settings = {"refine_probe": True, "likelihood": "amplitude", "epochs": 80}
    plain, fitted = (refine(scan, **settings, refine_dose=dose) for dose in (False, True))
    assert fitted.others["dose"].std() < 0.05
    assert error_of(scan, fitted) < 1.4 * error_of(scan, plain)
    assert fitted.said["dose"].endswith("a trend over the scan is left to object and probe")


@pytest.mark.rule("REF-022")
def test_the_trend_of_the_source_stays_where_the_object_has_phase_alone():
    scan = scan_with(FADING, "lines", photons=1e6)
    result = refine(
        scan, refine_dose=True, refine_probe=True, object_constraint="phase", epochs=20, error_bars="none"
    )
    truth = FADING.doses(scan.n_frames, 11)
    assert np.polyfit(truth, result.others["dose"], 1)[0] > 0.5
    assert "left to" not in result.said["dose"]


def test_a_dark_frame_says_nothing_of_the_trend():
    scan = simulate_scene("lines", N=32, grid=(6, 6), step_px=4.0, seed=1)
    config = RefineConfig(refine_dose=True, refine_probe=True, refine_warm_up=0)
    solver = Iteration(scan, None, config, device=torch.device("cpu"), dtype=torch.complex128)
    (dose,) = solver.unknowns.others
    solver.unknowns.probe.begin(0)
    dose.value = torch.ones_like(dose.value)
    dose.value[0] = 1e-3
    dose.take_along(solver.unknowns.object, solver.unknowns.probe)
    assert (dose.value[1:] - 1).abs().max() < 0.05


@pytest.mark.rule("REF-022")
def test_frames_along_a_line_have_one_trend():
    scan = simulate_scene("lines", N=32, grid=(1, 12), step_px=4.0, seed=1)
    result = refine(scan, refine_dose=True, refine_probe=True, epochs=8, error_bars="none")
    assert np.isfinite(result.others["dose"]).all()
    assert np.isfinite(result.object.object).all()
