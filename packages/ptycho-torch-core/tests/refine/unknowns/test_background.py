"""Counts that every frame shows: found, given, and none where there are none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from ptycho_config import RefineConfig
from ptycho_torch.data.simulation import Faults, simulate_scene
from ptycho_torch.errors import DataError, ShapeError
from ptycho_torch.refine import forward_residual, refine
from ptycho_torch.refine.held_out import judge
from ptycho_torch.refine.unknowns.background import BackgroundUnknown

LIT = Faults(background=2.0)


def scan_with(faults, scene="lines", *, photons=1e5):
    return simulate_scene(
        scene, N=32, grid=(8, 8), step_px=4.0, jitter_px=1.0, photons=photons, seed=11, faults=faults
    )


@pytest.mark.rule("REF-023")
@pytest.mark.parametrize("likelihood", ["poisson", "amplitude"])
def test_a_background_comes_back(error_of, likelihood):
    scan, truth = scan_with(LIT), LIT.dark_frame(32)
    how = {"epochs": 40, "likelihood": likelihood}
    faulty, known = (error_of(scan, refine(scan, dark=dark, **how)) for dark in (None, truth))
    result = refine(scan, refine_background="smooth", **how)
    assert faulty > 3 * known
    assert faulty - error_of(scan, result) > 0.8 * (faulty - known)
    assert np.sqrt(((result.background - truth) ** 2).mean()) < 0.25
    assert result.said["background"].startswith("1.")


@pytest.mark.rule("REF-023")
@pytest.mark.parametrize("likelihood", ["poisson", "amplitude"])
def test_a_dark_detector_costs_little(error_of, likelihood):
    scan = scan_with(Faults(), "random_field")
    result = refine(scan, epochs=40, likelihood=likelihood, refine_background="smooth")
    assert error_of(scan, result) < 1.1 * error_of(scan, refine(scan, epochs=40, likelihood=likelihood))
    assert result.background.mean() < 0.1


def test_a_dark_frame_that_is_given_stays_unless_it_is_fitted():
    scan, dark = scan_with(LIT), np.full((32, 32), 1.5)
    np.testing.assert_allclose(refine(scan, epochs=2, dark=dark).background, dark, rtol=1e-6)
    found = refine(scan, epochs=12, dark=dark, refine_background="smooth").background
    assert abs(found - LIT.dark_frame(32)).mean() < 0.5 * abs(dark - LIT.dark_frame(32)).mean()


def test_residual_and_verdict_know_of_it():
    scan = scan_with(LIT)
    result = refine(scan, epochs=30, refine_background="smooth")
    told = forward_residual(
        scan,
        result.object,
        result.probe,
        background=result.background,
        intensity_scale=result.intensity_scale,
    )
    assert told == pytest.approx(result.residuals[-1], rel=0.05)
    assert forward_residual(scan, result.object, result.probe) > 1.2 * told
    made = judge(scan, result.object, result.probe, config=RefineConfig(), background=result.background)
    blind = judge(scan, result.object, result.probe, config=RefineConfig())
    assert not made.is_bad
    assert made.misfit < 0.5 * blind.misfit


def test_dose_and_background_together(error_of):
    scan = scan_with(Faults(dose_rms=0.2, background=2.0))
    result = refine(scan, epochs=40, refine_dose=True, refine_background="smooth")
    assert error_of(scan, result) < 0.8 * error_of(scan, refine(scan, epochs=40, refine_background="smooth"))
    assert np.corrcoef(result.dose, Faults(dose_rms=0.2).doses(scan.n_frames, 11))[0, 1] > 0.95


def test_bad_pixels_say_nothing_of_it():
    scan = scan_with(LIT)
    bad = np.zeros((32, 32), dtype=bool)
    bad[2:6, 2:6] = True
    hot = np.where(bad, 60000, scan.diffraction).astype(np.uint16)
    marked = replace(scan, diffraction=np.where(bad, 0, hot), bad_pixels=bad)
    found = refine(marked, epochs=20, refine_background="smooth").background
    assert found[bad].max() < 3


def test_what_is_left_over_is_counted_where_frames_are_dark():
    """The closed form, for a background that is even."""
    start = torch.zeros(8, 8, dtype=torch.float64)
    unknown = BackgroundUnknown(start, fitted=True, intensity_scale=10.0)
    unknown.begin(0)
    unknown.start_batch()
    light = torch.rand(30, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    unknown.compared(unknown.expected(light, np.arange(30)), light + 0.3, None)
    unknown.excess, unknown.weight = unknown.found
    unknown.settle()
    torch.testing.assert_close(unknown.value, torch.full((8, 8), 0.3, dtype=torch.float64))


def test_dark_frames_that_do_not_fit_are_refused():
    scan = scan_with(Faults())
    with pytest.raises(ShapeError) as wrong:
        refine(scan, epochs=1, dark=np.zeros((16, 16)))
    assert wrong.value.name == "dark"
    with pytest.raises(DataError):
        refine(scan, epochs=1, dark=np.full((32, 32), -1.0))
