"""Batches cover the scan evenly."""

import numpy as np
import pytest
import torch

from ptycho_config import RefineConfig
from ptycho_torch.data.simulation.simulate import simulate_scene
from ptycho_torch.metrics import compare
from ptycho_torch.refine import refine
from ptycho_torch.refine.iteration import Iteration
from ptycho_torch.refine.subsets import deal, first_count, frames_per_pixel, subset_counts, z_order


@pytest.mark.parametrize("n_subsets", [1, 3, 7, 50])
def test_every_frame_is_dealt_once(rng, n_subsets):
    order = z_order(rng.uniform(0, 100, (50, 2)))
    subsets = deal(order, n_subsets, rng)
    np.testing.assert_array_equal(np.sort(np.concatenate(subsets)), np.arange(50))
    assert all((np.diff(subset) > 0).all() for subset in subsets)


def test_subsets_spread_over_the_field(rng):
    grid = np.mgrid[:16, :16].reshape(2, -1).T.astype(float)
    for subset in deal(z_order(grid), 16, rng):
        quadrant = (grid[subset] >= 8) @ [2, 1]
        # Runs begin anywhere on the curve, so that one of them may straddle two quadrants.
        np.testing.assert_allclose(np.bincount(quadrant, minlength=4), 4, atol=1)


def test_batches_grow_to_the_whole_scan():
    counts = subset_counts(32, 60)
    assert counts[0] == 32
    assert counts[-1] == 1
    assert counts == sorted(counts, reverse=True)
    assert subset_counts(1, 5) == [1] * 5


def test_overlap_counts_the_frames_that_light_a_pixel_equally():
    """Four frames on one half of the field, one on the other: by their light 0.8 · 4 + 0.2 · 1."""
    light, squares = torch.zeros(2, 8), torch.zeros(2, 8)
    light[:, :4], squares[:, :4] = 4 * 0.5, 4 * 0.25
    light[:, 4:7], squares[:, 4:7] = 0.5, 0.25
    light[:, 7], squares[:, 7] = 0.5, 0.25
    assert frames_per_pixel(light, squares) == pytest.approx(0.8 * 4 + 0.2)
    assert frames_per_pixel(1e-20 * light, 1e-40 * squares.double()) == pytest.approx(0.8 * 4 + 0.2)
    assert frames_per_pixel(torch.zeros(2, 2), torch.zeros(2, 2)) == 0


def test_first_subsets_light_the_whole_object():
    for quick, counts in ((False, (20, 3, 1, 1)), (True, (30, 5, 2, 1))):
        found = [first_count(400, per_pixel, quick=quick) for per_pixel in (20.2, 3.2, 1.0, 0.0)]
        assert tuple(found) == counts
    assert first_count(10_000, 500.0, quick=False) == 32
    assert first_count(4, 500.0, quick=True) == 4


@pytest.mark.parametrize(("step_px", "most"), [(3.0, 22), (12.0, 2)])
def test_the_default_follows_the_overlap_and_not_the_number_of_frames(step_px, most):
    """The same scan with four times the frames begins with the same number of subsets."""
    counts = []
    for side in (8, 16):
        scan = simulate_scene("lines", N=32, grid=(side, side), step_px=step_px, jitter_px=0.5, seed=2)
        solver = Iteration(scan, None, RefineConfig(), device=torch.device("cpu"), dtype=torch.complex64)
        counts.append(first_count(scan.n_frames, solver.frames_per_pixel(), quick=False))
    assert counts[0] == pytest.approx(counts[1], rel=0.35)
    assert counts[1] == pytest.approx(most, abs=2)


@pytest.mark.rule("REF-015")
def test_frames_that_lie_far_apart_are_refined_as_well_as_with_the_best_batch():
    """A 32nd of these frames leaves holes in the object, and the error is several times as large."""
    scan = simulate_scene("random_field", N=32, grid=(8, 8), step_px=9.0, jitter_px=0.5, photons=1e6, seed=3)

    def error(batch_size):
        found = refine(scan, epochs=30, batch_size=batch_size, tolerance=0).object
        report = compare(
            found.object, scan.object_truth, weight=found.weight, origin=found.origin,
            truth_origin=scan.object_truth_origin, probe_diameter=16, frc=False,
        )  # fmt: skip
        return report.scores.complex_nrmse

    best = min(error(size) for size in (8, 16, 32))
    assert error(None) < 1.1 * best
    assert error(2) > 5 * best


def test_equal_positions_have_an_order():
    np.testing.assert_array_equal(z_order(np.zeros((4, 2))), np.arange(4))


@pytest.mark.parametrize("fitted", [{}, {"refine_probe": True}, {"refine_dose": True}])
@pytest.mark.rule("REF-015")
def test_unknowns_beside_the_object_begin_with_more_steps(monkeypatch, fitted):
    scan = simulate_scene("lines", N=32, grid=(8, 8), step_px=6.0, jitter_px=0.5, seed=2)
    asked = []

    def counted(n_frames, per_pixel, *, quick):
        asked.append(quick)
        return first_count(n_frames, per_pixel, quick=quick)

    monkeypatch.setattr("ptycho_torch.refine.solver.first_count", counted)
    refine(scan, epochs=1, **fitted)
    assert asked == [bool(fitted)]
