"""Frames that are held out tell a right scan from a wrong one."""

from dataclasses import replace

import numpy as np
import pytest

from ptycho_config import RefineConfig
from ptycho_torch.data.simulation.simulate import simulate_scene
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
    assert found.made < 0.5 * found.empty
    assert found.n_held_out == 16


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


def test_few_frames_tell_nothing(scan):
    result = refine(scan.take(np.arange(12)), epochs=2)
    assert judge(scan.take(np.arange(12)), result.object, result.probe, config=RefineConfig()) is None
