"""The object while the scan runs."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from ptycho_config import ConfigError, ModelConfig, RefineConfig
from ptycho_torch.bundle import load_bundle
from ptycho_torch.data.simulation.simulate import simulate_scene
from ptycho_torch.errors import DataError, ShapeError
from ptycho_torch.live.frame_store import SpillingStore
from ptycho_torch.live.scan import LiveScan
from ptycho_torch.metrics import compare
from ptycho_torch.models import build_patch_model
from ptycho_torch.physics import calibrate
from ptycho_torch.prediction.reconstruction import reconstruct
from ptycho_torch.refine import refine


@pytest.fixture(scope="module")
def scan():
    return simulate_scene("lines", N=32, grid=(12, 12), step_px=4.0, jitter_px=1.0, photons=1e5, seed=11)


def error(scan, found):
    report = compare(
        found.object, scan.object_truth, weight=found.weight, origin=found.origin,
        truth_origin=scan.object_truth_origin, probe_diameter=scan.N / 2, frc=False,
    )  # fmt: skip
    return report.scores.complex_nrmse


@pytest.mark.rule("LIVE-004")
def test_the_picture_is_right_while_the_scan_grows(scan):
    live = LiveScan(probe=scan.probe, position_unit="px")
    found = {}
    for row in range(scan.n_frames):
        live.add_frames([row], scan.diffraction[row : row + 1], scan.positions[row : row + 1])
        if row % 12 == 11:
            live.advance()
        if row + 1 in (48, 144):
            found[row + 1] = live.object()
    for n_frames, made in found.items():
        # Frames that had a few passes as they came, and no time between them, are worse by some.
        offline = error(scan, refine(scan.take(np.arange(n_frames)), epochs=40).object)
        flat = dataclasses.replace(made, object=np.ones_like(made.object))
        assert error(scan, made) < 2.5 * offline
        assert error(scan, made) < 0.5 * error(scan, flat)


@pytest.mark.rule("LIVE-004")
def test_with_time_between_frames_it_becomes_the_object_of_a_refinement(scan):
    live = LiveScan(probe=scan.probe, position_unit="px")
    for part in np.array_split(np.arange(scan.n_frames), 6):
        live.add_frames(part, scan.diffraction[part], scan.positions[part])
        live.advance()
    while live.advance():
        pass
    offline = refine(scan, epochs=60)
    assert error(scan, live.object()) < 1.05 * error(scan, offline.object)
    assert live.residual == pytest.approx(offline.residuals[-1], rel=0.02)


@pytest.mark.rule("LIVE-004")
@pytest.mark.parametrize("settings", [{"sub_pixel": "probe"}, {"refine_probe": True}, {"smoothness": 0.01}])
def test_what_the_refinement_fits_is_fitted_while_it_grows(scan, settings):
    config = RefineConfig(refine_epochs=6, **settings)
    live = LiveScan(probe=scan.probe, config=config, position_unit="px")
    for part in np.array_split(np.arange(60), 3):
        live.add_frames(part, scan.diffraction[part], scan.positions[part])
        live.advance()
    while live.advance():
        pass
    plain = LiveScan(probe=scan.probe, config=RefineConfig(refine_epochs=6), position_unit="px")
    plain.add_frames(range(60), scan.diffraction[:60], scan.positions[:60])
    while plain.advance():
        pass
    offline = refine(scan.take(np.arange(60)), config=config)
    assert error(scan, live.object()) < 1.2 * error(scan, offline.object)
    found, other = (float(np.abs(one.object().object - 1).sum()) for one in (live, plain))
    assert abs(found / other - 1) > 1e-4


@pytest.mark.rule("LIVE-004")
def test_predicted_patches_agree_about_their_phase(trained, tiny_scan):
    model = load_bundle(trained.output_dir, device="cpu")[0]
    live = LiveScan(model=model, position_unit="px", batch_size=4)
    for row in range(30):
        live.add_frames([row], tiny_scan.diffraction[row : row + 1], tiny_scan.positions[row : row + 1])
        live.advance(lambda: False)
    while live.advance(lambda: False):
        pass
    streamed = live.snapshot()
    offline = reconstruct(model, tiny_scan)
    shift = np.rint(streamed.origin - offline.origin).astype(int)
    height, width = offline.object.shape
    here = np.s_[shift[0] : shift[0] + height, shift[1] : shift[1] + width]
    lit = offline.weight > 0.2 * offline.weight.max()
    turn = np.vdot(streamed.object[here][lit], offline.object[lit])
    difference = streamed.object[here] * turn / abs(turn) - offline.object
    assert np.abs(difference[lit]).max() < 0.1
    # With time, everything is stitched as it will be at the end.
    while live.advance():
        pass
    assert np.allclose(live.object().object, offline.object, atol=1e-5)


def test_a_network_of_groups_waits_for_a_group(tiny_scan):
    torch.manual_seed(0)
    settings = ModelConfig(N=32, gridsize=2, n_filters_scale=1)
    counts = float(tiny_scan.counts_per_frame().mean())
    model = build_patch_model(settings, calibrate(torch.from_numpy(tiny_scan.probe), counts), seed=0)
    live = LiveScan(model=model, position_unit="px", physics_steps=0)
    live.add_frames(range(3), tiny_scan.diffraction[:3], tiny_scan.positions[:3])
    assert live.object() is None
    for row in range(3, 12):
        live.add_frames([row], tiny_scan.diffraction[row : row + 1], tiny_scan.positions[row : row + 1])
        assert live.object() is not None
    assert live.n_used == 12


@pytest.mark.rule("LIVE-005")
def test_memory_stays_bounded_and_the_object_the_same(tmp_path, scan):
    limit = 20 * scan.diffraction[0].nbytes

    def make(N, dtype):
        return SpillingStore(tmp_path / "frames.npy", limit, N, dtype)

    config = RefineConfig(refine_epochs=2)
    found = []
    for how in ({}, {"make_store": make}):
        live = LiveScan(probe=scan.probe, config=config, position_unit="px", **how)
        live.add_frames(range(144), scan.diffraction, scan.positions)
        assert live.object() is not None
        found.append(live.finish().object.object)
    assert (tmp_path / "frames.npy").stat().st_size > 100 * scan.diffraction[0].nbytes
    assert np.array_equal(*found)


def test_positions_in_metres_wait_for_the_geometry(scan):
    pixel = 8e-9
    live = LiveScan(probe=scan.probe, N=32, position_unit=None)
    live.add_positions(range(20), scan.positions[:20] * pixel * 1e6, unit="um")
    live.add_frames(range(20), scan.diffraction[:20])
    assert live.object() is None
    assert "photon_energy_eV" in live.is_waiting_for
    live.told({"object_pixel_height_m": pixel, "object_pixel_width_m": pixel})
    assert live.object() is not None
    assert live.is_waiting_for == ""
    # In files, and so here, a length names the middle of a patch, half a pixel before pixel N // 2.
    assert np.allclose(live.raw().positions, scan.positions[:20] + 0.5)
    assert live.add_positions([30], [(1, 2)], unit="px") == 0
    assert list(live.counters().refused) == ["positions in px, expected um"]
    assert live.add_positions([30], [(1e-3, 2e-3)], unit="mm") == 1
    assert live.arrivals.positions(np.array([], dtype=np.int64)).shape == (0, 2)


def test_what_a_source_tells_ranks_below_what_was_stated(scan):
    live = LiveScan(probe=scan.probe, metadata={"photon_energy_eV": 9000.0}, position_unit="px", N=32)
    mask = np.zeros((40, 40), dtype=bool)
    mask[5, 7] = True
    live.told({"photon_energy_eV": 1.0, "detector_object_distance_m": 2.0}, bad_pixels=mask, centre=(19, 21))
    frames = np.zeros((2, 40, 40), dtype=np.uint16)
    frames[:, 3:35, 5:37] = scan.diffraction[:2]
    live.add_frames([0, 1], frames, scan.positions[:2])
    raw = live.raw()
    assert raw.metadata == {"photon_energy_eV": 9000.0, "detector_object_distance_m": 2.0}
    assert (raw.diffraction[:] == scan.diffraction[:2]).all()
    assert np.argwhere(raw.bad_pixels).tolist() == [[2, 2]]
    live.told({}, centre=(16, 16))
    live.add_frames([2], frames[:1], scan.positions[2:3])
    assert live.raw().n_frames == 3


def test_settings_that_do_not_fit_each_other_are_refused(scan):
    with pytest.raises(ConfigError) as caught:
        LiveScan(probe=scan.probe, N=16)
    assert [problem.field for problem in caught.value.problems] == ["N"]
    with pytest.raises(ConfigError) as caught:
        LiveScan(position_unit="inch")
    assert [problem.field for problem in caught.value.problems] == ["position_unit"]
    with pytest.raises(ShapeError):
        LiveScan(probe=np.ones((2, 8, 9)))


def test_frames_without_light_are_told_and_do_not_end_a_run(scan):
    live = LiveScan(position_unit="px")
    live.add_frames(range(3), np.zeros((3, 32, 32), dtype=np.uint16), scan.positions[:3])
    assert live.object() is None
    assert live.is_waiting_for
    with pytest.raises(DataError):
        live.finish()
    live.add_frames(range(3, 30), scan.diffraction[3:30], scan.positions[3:30])
    assert live.object() is not None
