"""A probe that varies over the scan: what following it gets back, what it costs, and what is left behind."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ptycho_config import ConfigError, RefineConfig
from ptycho_torch.data.simulation import Faults, simulate_scene
from ptycho_torch.refine import forward_residual, refine
from ptycho_torch.refine.iteration import Iteration
from ptycho_torch.refine.likelihood import Misfit
from ptycho_torch.refine.settings import epochs_of
from ptycho_torch.refine.step import batch_gradient
from ptycho_torch.refine.unknowns import varying_probe

DRIFTING = Faults(probe_drift=0.5)


def scan_with(faults, scene="lines", *, photons=1e6, grid=(8, 8), modes=(1.0,)):
    return simulate_scene(
        scene, N=32, grid=grid, step_px=4.0, jitter_px=1.0, photons=photons, seed=11, faults=faults,
        mode_powers=modes,
    )  # fmt: skip


@pytest.mark.rule("REF-030")
def test_a_probe_that_drifts_is_followed(error_of):
    told = {"refine_probe": True, "error_bars": "none"}
    clean, scan = scan_with(Faults()), scan_with(DRIFTING)
    best, faulty = (error_of(one, refine(one, epochs=30, **told)) for one in (clean, scan))
    result = refine(scan, epochs=50, probe_variation=2, **told)
    assert (faulty - error_of(scan, result)) > 0.8 * (faulty - best)
    truth = np.stack([probe[0] for probe in DRIFTING.probes(scan.probe, scan.n_frames)])
    found = result.variation.probes(result.probe, np.arange(scan.n_frames))[:, 0]

    def agreement(probes):
        overlap = np.abs((truth.conj() * probes).sum(axis=(1, 2)))
        return overlap / np.linalg.norm(truth, axis=(1, 2)) / np.linalg.norm(probes, axis=(1, 2))

    assert agreement(found).min() > 0.98 > 0.9 > agreement(np.repeat(result.probe, len(truth), axis=0)).min()


@pytest.mark.rule("REF-030")
def test_a_probe_that_stays_costs_little(error_of):
    scan = scan_with(Faults(), photons=1e5)
    plain, varied = (
        refine(scan, epochs=30, refine_probe=True, probe_variation=count, error_bars="none")
        for count in (0, 2)
    )
    assert error_of(scan, varied) < 1.1 * error_of(scan, plain)
    assert np.abs(varied.variation.weights).max() < 0.1
    assert plain.variation is None


@pytest.mark.rule("REF-030")
def test_modes_are_orthogonal_and_as_strong_as_the_first():
    scan = scan_with(DRIFTING)
    result = refine(scan, epochs=6, refine_probe=True, probe_variation=3, error_bars="none")
    flat = np.concatenate([result.probe[:1], result.variation.modes]).reshape(4, -1).astype(complex)
    products = flat.conj() @ flat.T
    np.testing.assert_allclose(products, np.eye(4) * products[0, 0].real, atol=1e-4 * products[0, 0].real)
    weights = result.variation.weights
    assert weights.shape == (64, 3)
    assert np.abs(weights.mean(axis=0)).max() < 1e-5
    shares = np.linalg.norm(weights, axis=0)
    assert (np.diff(shares) <= 0).all()
    probes = result.variation.probes(result.probe, np.arange(64))
    power = (np.abs(probes) ** 2).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(power, (np.abs(result.probe) ** 2).sum(), rtol=1e-4)
    assert "of the light of the first mode" in result.said["probe_variation"]


def test_weights_are_smooth_on_request():
    scan = scan_with(Faults(), photons=1e4)
    told = {"epochs": 6, "refine_probe": True, "probe_variation": 1, "error_bars": "none"}
    free, smooth = (refine(scan, probe_variation_smooth=width, **told) for width in (0.0, 8.0))

    def step(result):
        weights = result.variation.weights[:, 0]
        return np.abs(np.diff(weights)).mean() / np.abs(weights).mean()

    assert step(smooth) < 0.5 * step(free)


def test_the_residual_is_that_of_the_probes_of_all_frames():
    scan = scan_with(DRIFTING, grid=(6, 6))
    result = refine(scan, epochs=30, refine_probe=True, probe_variation=2, error_bars="none")
    told = forward_residual(scan, result.object, result.probe, variation=result.variation)
    assert told == pytest.approx(result.residuals[-1], rel=0.05)
    assert forward_residual(scan, result.object, result.probe) > 1.2 * told


@pytest.mark.parametrize("sub_pixel", ["object", "probe"])
@pytest.mark.parametrize(
    "others", [{"likelihood": "amplitude"}, {"refine_dose": True, "refine_background": "smooth"}]
)
def test_it_goes_with_everything_else(sub_pixel, others):
    scan = scan_with(DRIFTING, grid=(6, 6), modes=(0.8, 0.2))
    told = {
        "epochs": 10, "refine_probe": True, "refine_positions": True, "sub_pixel": sub_pixel,
        "refine_warm_up": 2, "error_bars": "none", **others,
    }  # fmt: skip
    plain, varied = (refine(scan, probe_variation=count, **told) for count in (0, 2))
    assert varied.residuals[-1] < 0.97 * plain.residuals[-1]
    assert varied.probe.shape == (2, 32, 32)


@pytest.mark.rule("REF-030")
@pytest.mark.parametrize("grid", [(6, 6), (8, 8)])
def test_doses_that_nobody_fits_do_not_drive_it_away(grid):
    scan = scan_with(Faults(dose_rms=0.2), "natural", photons=1e4, grid=grid)
    told = {"epochs": 30, "likelihood": "amplitude", "refine_probe": True, "error_bars": "none"}
    plain, varied = (refine(scan, probe_variation=count, **told) for count in (0, 2))
    assert varied.residuals[-1] < 1.1 * plain.residuals[-1]
    # The doses of the frames are no change of their probe.
    assert np.square(np.abs(varied.variation.weights)).mean() < 0.2


def test_a_step_leaves_little_of_the_main_mode_in_those_beside_it(monkeypatch):
    monkeypatch.setattr(varying_probe, "_LARGEST_ALONG", 0.0)
    scan = scan_with(Faults(dose_rms=0.2), "natural", grid=(4, 4))
    config = RefineConfig(refine_probe=True, probe_variation=2, refine_warm_up=0, error_bars="none")
    problem = Iteration(scan, None, config, device=torch.device("cpu"), dtype=torch.complex128)
    for unknown in problem.unknowns:
        unknown.begin(0)
    probe = problem.unknowns.probe
    with torch.no_grad():
        problem._step(np.arange(0, 16, 2), 2, Misfit())
    main, modes = probe.value[0], probe.variation
    sizes = torch.linalg.vector_norm(modes, dim=(1, 2)) * torch.linalg.vector_norm(main)
    assert ((modes * main.conj()).sum(dim=(1, 2)).abs() < 1e-10 * sizes).all()
    assert (sizes > 0).all()


@pytest.mark.parametrize("size", [0.01, 2.0])
@pytest.mark.parametrize("sub_pixel", ["object", "probe"])
def test_a_weight_moves_down_the_slope_of_the_misfit(sub_pixel, size):
    scan = scan_with(DRIFTING, grid=(3, 3))
    config = RefineConfig(
        refine_probe=True, probe_variation=1, refine_warm_up=0, sub_pixel=sub_pixel, likelihood="amplitude"
    )
    problem = Iteration(scan, None, config, device=torch.device("cpu"), dtype=torch.complex128)
    with torch.no_grad():
        problem.run_epoch(0, 1)
    for unknown in problem.unknowns:
        unknown.begin(1)
    probe = problem.unknowns.probe
    probe.value = probe.now
    frame = np.array([4])

    def misfit(weight):
        seen = Misfit()
        probe.weights[4, 0] = weight
        batch_gradient(
            problem.unknowns, frame, problem._placement(frame), problem.frames, problem.batching, seen
        )
        return seen.objective

    weight, far = complex(probe.weights[4, 0]), 1e-5
    here = size * weight / abs(weight)
    with torch.no_grad():
        slope = [(misfit(here + way) - misfit(here - way)) / (2 * far) for way in (far, 1j * far)]
        misfit(here)
    move = complex(probe.moves[0][0, 0])
    assert np.angle(complex(*slope) / move) == pytest.approx(0, abs=1e-3)


@pytest.mark.rule("REF-007")
def test_an_epoch_that_does_not_end_leaves_no_trace(monkeypatch):
    scan = scan_with(DRIFTING, grid=(4, 4))
    config = RefineConfig(refine_probe=True, probe_variation=2, refine_warm_up=0, error_bars="none")
    problem = Iteration(scan, None, config, device=torch.device("cpu"), dtype=torch.complex64)
    with torch.no_grad():
        problem.run_epoch(0, 2)
        before = problem.result([1.0], stopped=True)
        monkeypatch.setattr(problem, "_accelerate", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            problem.run_epoch(1, 2)
        after = problem.result([1.0], stopped=True)
    np.testing.assert_array_equal(after.variation.weights, before.variation.weights)
    np.testing.assert_array_equal(after.variation.modes, before.variation.modes)
    np.testing.assert_array_equal(after.object.weight, before.object.weight)


def _interrupt(*_):
    raise KeyboardInterrupt


@pytest.mark.rule("REF-003")
def test_what_it_needs_is_asked_for():
    for wrong in (
        {"probe_variation": 2},
        {"probe_variation_smooth": 3.0, "refine_probe": True},
        {"probe_variation": -1, "refine_probe": True},
    ):
        with pytest.raises(ConfigError) as caught:
            RefineConfig(**wrong)
        assert [problem.field for problem in caught.value.problems] == [next(iter(wrong))]
    with pytest.raises(ConfigError) as caught:
        refine(scan_with(Faults(), grid=(2, 2)), refine_probe=True, probe_variation=4)
    assert [problem.field for problem in caught.value.problems] == ["probe_variation"]


def test_a_slow_drift_gets_the_time_that_it_needs(scan_of):
    told = {"epochs": 40, "tolerance": 0.5, "refine_probe": True, "error_bars": "none"}
    assert refine(scan_of(), **told).stopped_early
    assert not refine(scan_of(), probe_variation=1, **told).stopped_early
    assert epochs_of(RefineConfig(refine_probe=True, probe_variation=1)) == 120


@pytest.mark.rule("REF-030")
def test_positions_beside_a_drifting_probe_do_not_bend_the_scan(error_of):
    settings = {"refine_probe": True, "refine_positions": True, "probe_variation": 2, "epochs": 60}
    size = {"N": 32, "grid": (10, 10), "step_px": 4.0, "jitter_px": 1.0, "photons": 1e6, "seed": 11}
    true = simulate_scene("lines", **size)
    for error_px, left_px, least in ((0.0, 0.08, 0.023), (1.0, 0.2, 0.045)):
        faults = Faults(probe_drift=0.5, position_error_px=error_px)
        scan = simulate_scene("lines", **size, faults=faults)
        result = refine(scan, **settings)
        moves = result.positions - true.positions
        moves -= moves.mean(axis=0)
        assert np.sqrt((moves**2).sum(axis=1).mean()) < left_px
        assert error_of(true, result) < least


def test_what_positions_have_in_common_is_kept_at_first_only(scan_of):
    scan = scan_of()
    config = RefineConfig(refine_positions=True, refine_probe=True, probe_variation=1)
    solver = Iteration(scan, None, config, device=torch.device("cpu"), dtype=torch.complex128)
    places = solver.unknowns.positions
    y, x = torch.from_numpy(scan.positions - scan.positions.mean(axis=0)).T
    bent = 0.01 * torch.stack((y.square() - x.square(), -2 * y * x), dim=1)
    single = torch.zeros_like(bent)
    single[7, 0] = 1.0
    for epoch, kept in ((29, False), (30, True)):
        places.begin(epoch)
        places.value = places.start + bent + single
        places.settle()
        left = places.value - places.start
        along = float((left * bent).sum() / bent.square().sum())
        assert (along > 0.9) if kept else (abs(along) < 1e-9)
        assert left[7, 0] > 0.5
