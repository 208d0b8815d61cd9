"""A scan in tiles: what it finds beside one canvas, how tiles are cut and joined, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from ptycho_config import ConfigError, RefineConfig
from ptycho_torch.data.simulation import simulate_scene
from ptycho_torch.reassembly import canvas_for
from ptycho_torch.refine import RefinementInterrupted, refine, solver
from ptycho_torch.refine.tiles import one_by_one
from ptycho_torch.refine.tiles.layout import tiles_of


@pytest.fixture(scope="module")
def scan():
    return simulate_scene("natural", N=32, grid=(14, 26), step_px=5.0, jitter_px=1.0, photons=1e5, seed=3)


@pytest.mark.rule("REF-055")
def test_every_frame_lies_in_one_core_and_shares_add_up_to_one(scan):
    tiles = tiles_of(scan.positions, scan.N, 40)
    assert {tile.place for tile in tiles} == {(row, column) for row in range(2) for column in range(4)}
    np.testing.assert_array_equal(
        np.sort(np.concatenate([tile.own for tile in tiles])), np.arange(scan.n_frames)
    )
    geometry = canvas_for(scan.positions, scan.N)
    shares = [tile.shares(np.array(geometry.origin), geometry.shape) for tile in tiles]
    np.testing.assert_allclose(np.sum(shares, axis=0), 1, atol=1e-6)
    for tile, share in zip(tiles, shares, strict=True):
        assert set(tile.own) <= set(tile.frames)
        # Whatever lights a pixel that a tile speaks of is among its frames.
        places = np.argwhere(share > 0) - np.array(geometry.origin)
        low, high = places.min(axis=0), places.max(axis=0)
        lights = ((scan.positions > low - scan.N / 2) & (scan.positions < high + scan.N / 2)).all(axis=1)
        assert set(np.flatnonzero(lights)) <= set(tile.frames)


@pytest.mark.rule("REF-055")
@pytest.mark.parametrize("settings", [{}, {"refine_probe": True}])
def test_tiles_find_what_one_canvas_finds(scan, error_of, settings):
    told = {"epochs": 40, **settings}
    whole, tiled = refine(scan, **told), refine(scan, tile_px=70, **told)
    assert tiled.object.object.shape == whole.object.object.shape
    np.testing.assert_array_equal(tiled.object.origin, whole.object.origin)
    assert error_of(scan, tiled) < 1.05 * error_of(scan, whole)
    lit = whole.object.weight > 0.1 * whole.object.weight.max()
    np.testing.assert_allclose(tiled.object.weight[lit], whole.object.weight[lit], rtol=0.02)
    ratio = tiled.error_bars.sigma[lit] / whole.error_bars.sigma[lit]
    assert np.abs(np.median(ratio) - 1) < 0.02
    np.testing.assert_array_equal(tiled.error_bars.null_space, whole.error_bars.null_space)
    assert tiled.intensity_scale == pytest.approx(whole.intensity_scale, rel=1e-3)
    assert tiled.residuals[-1] == pytest.approx(whole.residuals[-1], rel=0.05)
    assert tiled.said["tiles"].startswith("2, residuals from")
    assert set(tiled.others["tile_index"]) == {0, 1}


@pytest.mark.rule("REF-055")
def test_a_start_that_covers_a_part_serves_the_tiles_that_it_meets(scan):
    begun = refine(scan, epochs=30, error_bars="none").object
    half = replace(begun, weight=np.where(np.arange(begun.weight.shape[1]) < 40, begun.weight, 0))
    told = {"epochs": 1, "refine_batch_size": 60, "tile_px": 70, "error_bars": "none"}
    plain, with_half, with_all = (refine(scan, start, **told) for start in (None, half, begun))
    assert with_all.residuals[0] < with_half.residuals[0] < plain.residuals[0]


@pytest.mark.rule("REF-055")
def test_one_tile_is_the_scan(scan):
    told = {"epochs": 3, "refine_probe": True}
    whole, tiled = refine(scan, **told), refine(scan, tile_px=500, **told)
    lit = whole.object.weight > 0
    np.testing.assert_allclose(tiled.object.object[lit], whole.object.object[lit], atol=1e-5)
    np.testing.assert_allclose(tiled.error_bars.sigma, whole.error_bars.sigma, rtol=1e-5)
    np.testing.assert_array_equal(tiled.probe, whole.probe)
    assert tiled.residuals == whole.residuals


@pytest.mark.rule("REF-007")
def test_ctrl_c_hands_over_the_tiles_so_far(scan):
    def stop_at(epoch):
        def progress(done, total, residual):
            assert total == 8
            if done == epoch:
                raise KeyboardInterrupt

        return progress

    with pytest.raises(RefinementInterrupted) as stop:
        refine(scan, epochs=4, tile_px=70, progress=stop_at(5))
    result = stop.value.result
    assert set(result.others["tile_index"]) == {0, 1}
    with pytest.raises(RefinementInterrupted) as stop:
        refine(scan, epochs=4, tile_px=70, progress=stop_at(2))
    result = stop.value.result
    assert result.said["tiles"].startswith("1 of 2 refined")
    assert set(result.others["tile_index"]) == {-1, 0}
    dark = result.object.weight == 0
    assert 0.2 < dark.mean() < 0.6
    assert (result.object.object[dark] == 1).all()


@pytest.mark.rule("REF-055")
def test_one_tile_at_a_time_is_worked_on(scan, monkeypatch):
    sizes = []
    ordered = one_by_one._ordered

    def seen(tiles, first):
        sizes.extend(len(tile.frames) for tile in tiles)
        return ordered(tiles, first)

    monkeypatch.setattr(one_by_one, "_ordered", seen)
    refine(scan, epochs=1, tile_px=40, error_bars="none")
    assert len(sizes) == 8
    assert max(sizes) < 0.8 * scan.n_frames


@pytest.mark.rule("REF-056")
@pytest.mark.parametrize(
    "failed",
    [MemoryError(), torch.OutOfMemoryError("CUDA"), RuntimeError("can't allocate memory: you tried")],
)
def test_an_object_that_does_not_fit_names_its_bytes_and_tiles(scan, monkeypatch, failed):
    def fails(*_, **__):
        raise failed

    monkeypatch.setattr(solver, "Iteration", fails)
    height, width = canvas_for(scan.positions, scan.N).shape
    with pytest.raises(MemoryError, match=rf"{height} × {width} px take about [\d.e-]+ GB .*--tile-px"):
        refine(scan)
    monkeypatch.setattr(solver, "Iteration", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        refine(scan)


@pytest.mark.rule("REF-056")
@pytest.mark.parametrize(
    "wrong",
    [
        {"refine_positions": True},
        {"refine_geometry": True},
        {"refine_drift": True},
        {"refine_dose": True},
        {"refine_background": "smooth"},
        {"refine_probe": True, "probe_variation": 1},
        {"slices": 2, "slice_distance": 1e-6, "error_bars": "none"},
        {"error_bars": "thinning"},
        {"error_bars": "jackknife"},
    ],
)
def test_what_belongs_to_the_whole_scan_is_refused(wrong):
    with pytest.raises(ConfigError) as caught:
        RefineConfig(tile_px=500, **wrong)
    (problem,) = caught.value.problems
    assert problem.field in wrong
    assert "tile" in problem.expected
    assert problem.hint


@pytest.mark.rule("REF-056")
def test_tiles_smaller_than_a_frame_and_several_scans_are_refused(scan):
    with pytest.raises(ConfigError) as caught:
        refine(scan, tile_px=31)
    assert [problem.field for problem in caught.value.problems] == ["tile_px"]
    with pytest.raises(ConfigError) as caught:
        refine([scan, scan], tile_px=100)
    assert [problem.field for problem in caught.value.problems] == ["tile_px"]
