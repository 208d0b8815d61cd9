"""Parts of a round: the object of other frames, misfits at many places, and moves in common."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from ptycho_config import RefineConfig
from ptycho_torch.data.simulation import simulate_scene
from ptycho_torch.refine.canvas import WorkingCanvas
from ptycho_torch.refine.iteration import Iteration
from ptycho_torch.refine.position_search.levels import levels_of
from ptycho_torch.refine.position_search.others import OtherFrames
from ptycho_torch.refine.position_search.rounds import without_smooth_part


@pytest.fixture(scope="module")
def scan():
    return simulate_scene(N=32, grid=(6, 6), step_px=4.0, jitter_px=0.0, photons=1e5, seed=5)


@pytest.fixture(scope="module")
def solved(scan):
    canvas = WorkingCanvas.around(scan.positions, scan.N, 16)
    with torch.no_grad():
        made = Iteration(
            scan,
            None,
            RefineConfig(),
            device=torch.device("cpu"),
            dtype=torch.complex64,
            canvas=canvas,
        )
        for epoch in range(12):
            made.run_epoch(epoch, 2)
    return made


@pytest.fixture
def others(solved):
    with torch.no_grad():
        return OtherFrames(solved, None)


def test_a_frame_is_compared_with_the_others_alone(scan, others):
    row = np.array([14])
    (first,) = others.misfits(row, scan.positions, 4, 1)
    others.leave_out(row)
    (second,) = others.misfits(row, scan.positions, 4, 1)
    np.testing.assert_allclose(first.misfit, second.misfit, atol=1e-4)
    assert first.here == pytest.approx(second.here, abs=1e-4)


def test_a_frame_fits_best_where_it_was_taken(scan, others):
    rows = np.array([14, 15, 20, 21])
    for row, found in zip(rows, others.misfits(rows, scan.positions + 2.0, 6, 2), strict=True):
        at = np.unravel_index(found.misfit.argmin(), found.misfit.shape)
        np.testing.assert_allclose(found.places[at], scan.positions[row])
        assert found.misfit[at] == found.here < 0.2 * np.median(found.misfit)


def test_places_that_nobody_else_lit_are_none(scan, others):
    (corner,) = others.misfits(np.array([0]), scan.positions, 12, 4)
    assert np.isinf(corner.misfit[0, 0])
    assert np.isfinite(corner.misfit[-1, -1])


def test_levels_hold_the_light_and_keep_the_places(scan):
    (level,) = levels_of(scan, np.ones((32, 32)))
    assert (level.pixel_px, level.stride, level.scan.N, level.dark.shape) == (2.0, 2, 16, (16, 16))
    np.testing.assert_allclose(level.scan.positions * 2, scan.positions)
    np.testing.assert_array_equal(level.scan.diffraction, scan.diffraction[:, 8:24, 8:24])
    spread = replace(scan, diffraction=np.ones((36, 32, 32), np.float32))
    assert [level.scan.N for level in levels_of(spread, None)] == [32]


def test_moves_in_common_are_taken_out_and_others_kept():
    stated = 4.0 * np.stack(np.meshgrid(np.arange(16), np.arange(16)), axis=-1).reshape(-1, 2)
    own = np.random.default_rng(0).standard_normal(stated.shape)
    group = np.where(stated[:, :1] < 30, [[0.0, 8.0]], 0.0)
    left = without_smooth_part(stated + own + group, stated, 6.0) - stated
    inside = np.abs(stated[:, 0] - 30) > 16
    assert np.abs(left[inside].mean(axis=0)).max() < 0.2
    assert np.corrcoef(left[inside].ravel(), own[inside].ravel())[0, 1] > 0.9
