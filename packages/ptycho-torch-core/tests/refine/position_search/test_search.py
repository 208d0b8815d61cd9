"""Frames many pixels beside their stated positions come home, and a sound scan stays as it is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ptycho_config import ConfigError, RefineConfig
from ptycho_torch.data.simulation import Faults, simulate_scene
from ptycho_torch.refine import refine
from ptycho_torch.refine.settings import check_against

SETTINGS = {"refine_positions": True, "error_bars": "none"}


def scan_with(error_px, side):
    return simulate_scene(
        "random_field", N=32, grid=(side, side), step_px=4.0, jitter_px=1.0, photons=1e5, seed=11,
        faults=Faults(position_error_px=error_px),
    )  # fmt: skip


@pytest.mark.rule("REF-035")
def test_frames_far_from_their_positions_come_home():
    scan, truth = scan_with(4.0, 7), scan_with(0.0, 7).positions
    frames = np.array(scan.diffraction)
    # The same light in another order: no place of the object makes it.
    frames[24] = np.random.default_rng(1).permutation(frames[24].ravel()).reshape(32, 32)
    scan = replace(scan, diffraction=frames)
    found = refine(scan, epochs=20, position_search_px=12.0, **SETTINGS)
    assert found.unsettled_frames.tolist() == [24]
    assert found.said["positions"].endswith("not settled: 24")
    moves = np.delete(found.positions - truth, 24, axis=0)
    error = np.hypot(*(moves - np.median(moves, axis=0)).T)
    # Few frames, and a probe of 16 px: larger scans come closer.
    assert np.sqrt((error**2).mean()) < 1
    assert error.max() < 2.5


@pytest.mark.rule("REF-035")
def test_sound_positions_stay_as_stated():
    scan = scan_with(0.0, 5)
    searched, plain = (refine(scan, epochs=6, position_search_px=reach, **SETTINGS) for reach in (6.0, None))
    np.testing.assert_array_equal(searched.positions, plain.positions)
    np.testing.assert_array_equal(searched.object.object, plain.object.object)


@pytest.mark.rule("REF-035")
def test_positions_that_are_searched_are_fitted():
    with pytest.raises(ConfigError) as error:
        RefineConfig(position_search_px=10.0)
    assert [problem.field for problem in error.value.problems] == ["position_search_px"]
    near = replace(scan_with(0.0, 3), metadata={"far_field": False})
    with pytest.raises(ConfigError) as error:
        check_against(RefineConfig(position_search_px=10.0, refine_positions=True), near)
    assert [problem.field for problem in error.value.problems] == ["position_search_px"]
