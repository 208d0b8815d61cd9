"""Frames that are held out tell a right scan from a wrong one."""

from dataclasses import replace

import numpy as np
import pytest

from ptycho_config import RefineConfig
from ptycho_torch.data.simulation.simulate import simulate_scan, simulate_scene
from ptycho_torch.reassembly import StitchedObject, Team
from ptycho_torch.refine import refine
from ptycho_torch.refine.held_out import judge


@pytest.fixture(scope="module")
def scan():
    return simulate_scene("random_field", N=32, grid=(8, 8), step_px=3.0, jitter_px=1.0, photons=1e5, seed=5)


def judged(scan):
    config = RefineConfig(refine_epochs=15)
    result = refine(scan, config=config)
    return judge(scan, result.object, result.probe, config=config)


@pytest.mark.rule("RUN-090")
def test_a_right_scan_passes(scan):
    found = judged(scan)
    assert not found.is_bad
    assert found.shows_an_object
    assert found.misfit < 0.1 * found.misfit_of_empty_object
    assert found.n_held_out >= 16
    assert found.misfit_by_noise is None


@pytest.mark.parametrize("wrong", ["shuffled", "transposed"])
def test_wrong_positions_and_frames_do_not(scan, wrong):
    if wrong == "shuffled":
        scan = replace(scan, positions=np.random.default_rng(0).permutation(scan.positions))
    else:
        scan = replace(scan, diffraction=np.ascontiguousarray(scan.diffraction.transpose(0, 2, 1)))
    assert judged(scan).is_bad


def test_a_wrong_object_of_a_right_scan_does_not_pass(scan):
    result = refine(scan, epochs=15)
    turned = replace(result.object, object=result.object.object[::-1, ::-1].copy())
    assert judge(scan, turned, result.probe, config=RefineConfig()).is_bad


@pytest.mark.parametrize("n", [9, 16, 23])
def test_few_frames_are_each_held_out_once(scan, n):
    side = np.arange(64).reshape(8, 8)
    few = scan.take(side[: -(-n // 5), :5].ravel()[:n])
    assert not judged(few).is_bad
    wrong = judged(replace(few, positions=np.random.default_rng(3).permutation(few.positions)))
    assert wrong.is_told
    assert wrong.is_bad


def test_what_cannot_be_told_is_said(scan):
    few = judged(scan.take(np.arange(4)))
    apart = judged(replace(scan, positions=scan.positions * 12))
    for found in (few, apart):
        assert not found.is_told
        assert not found.is_bad
        assert found.misfit is None
    assert few.sentence != apart.sentence


def test_a_rim_that_hardly_any_light_reached_does_not_decide():
    """A compact probe leaves pixels beside the scan of any size; frames held out at the border see them."""
    y, x = np.indices((32, 32)) - 16
    probe = (np.hypot(y, x) < 5)[None] * np.exp(0.05j * (y**2 + x**2))
    base = simulate_scene("lines", N=32, grid=(8, 8), step_px=3.0, jitter_px=0.7, seed=8)
    scan = simulate_scan(base.object_truth, probe, base.positions, photons=3e4, seed=1)
    found = judged(scan)
    assert not found.is_bad
    assert found.misfit < 0.1 * found.misfit_of_empty_object


def test_noise_is_told_from_what_is_wrong(scan):
    """Few counts leave a misfit that a copy of the experiment leaves too; a wrong scan leaves more."""
    faint = simulate_scan(scan.object_truth, scan.probe, scan.positions, photons=120, seed=3)
    config = RefineConfig(refine_epochs=15, smoothness=0.1)
    result = refine(faint, config=config)
    found = judge(faint, result.object, result.probe, config=config)
    assert not found.is_bad
    turned = replace(scan, positions=scan.positions[::-1].copy())
    found = judged(turned)
    assert found.is_bad
    assert found.misfit_by_noise < 0.1
    assert "orientation" in found.sentence


def test_processes_that_joined_take_no_part(scan, monkeypatch):
    """One of several judges alone, while the others wait."""
    monkeypatch.setattr(Team, "joined", classmethod(lambda cls: pytest.fail("the others were asked")))
    judge(
        scan,
        StitchedObject(
            object=scan.object_truth, weight=np.ones(scan.object_truth.shape, np.float32), origin=np.zeros(2)
        ),
        scan.probe,
        config=RefineConfig(),
    )


@pytest.mark.rule("RUN-090")
@pytest.mark.parametrize("factor", [1.1, 0.92])
def test_positions_of_another_scale_are_found_by_how_far_better_others_fit(scan, factor):
    middle = scan.positions.mean(axis=0)
    found = judged(replace(scan, positions=middle + factor * (scan.positions - middle)))
    assert found.is_bad
    if found.better_scale is not None:
        assert found.better_scale == pytest.approx(1 / factor, abs=0.06)
    assert judged(scan).better_scale is None


@pytest.mark.rule("RUN-090")
@pytest.mark.parametrize("unit", [1e-5, 12.0])
def test_the_unit_of_the_counts_does_not_matter(scan, unit):
    plain, found = judged(scan), judged(scan.scaled(unit))
    assert not found.is_bad
    assert found.misfit == pytest.approx(plain.misfit, rel=0.05)
    assert judged(replace(scan, positions=scan.positions[:, ::-1].copy()).scaled(unit)).is_bad
