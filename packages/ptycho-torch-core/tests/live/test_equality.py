"""When a scan is over, the live result is the offline result of the frames that came."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest

from ptycho_config import OrientationConfig, RefineConfig
from ptycho_torch.bundle import load_bundle
from ptycho_torch.errors import DataError
from ptycho_torch.live.scan import LiveScan
from ptycho_torch.prediction.reconstruction import reconstruct
from ptycho_torch.refine import refine

ORDERS = ("in order", "backwards", "shuffled")
DELAYS = ("together", "positions first", "frames first", "positions lag")
QUICK = RefineConfig(refine_epochs=2)


def same(found, expected):
    return (
        np.array_equal(found.object, expected.object)
        and np.array_equal(found.weight, expected.weight)
        and np.array_equal(found.origin, expected.origin)
    )


@pytest.fixture(scope="module")
def model(trained):
    return load_bundle(trained.output_dir, device="cpu")[0]


@pytest.mark.rule("LIVE-001")
@pytest.mark.parametrize(("order", "delay"), list(itertools.product(ORDERS, DELAYS)))
def test_refined_it_is_what_refine_makes_of_the_same_frames(tiny_scan, delivered, offline, order, delay):
    live = LiveScan(probe=tiny_scan.probe, config=QUICK, position_unit="px")
    rows = delivered(
        live, tiny_scan, order=order, delay=delay, lost=(4, 17), unplaced=(8, 29), twice=0.3, seed=len(delay)
    )
    finished = live.finish()
    expected = refine(offline(tiny_scan, rows), config=QUICK)
    assert finished.refinement.residuals == expected.residuals
    assert same(finished.object, expected.object)
    counters = live.counters(ended=True)
    assert (counters.joined, counters.waiting_for_position, counters.waiting_for_frame) == (26, 2, 2)
    # Without the first and the last number missing, nothing at the ends can be called lost.
    assert counters.lost == 2
    assert counters.duplicate > 0


@pytest.mark.rule("LIVE-001")
@pytest.mark.parametrize(("order", "delay"), [("shuffled", "positions lag"), ("backwards", "frames first")])
def test_predicted_it_is_what_the_network_makes_of_the_same_frames(
    tiny_scan, model, delivered, offline, order, delay
):
    live = LiveScan(model=model, probe=tiny_scan.probe, position_unit="px")
    rows = delivered(live, tiny_scan, order=order, delay=delay, lost=(4, 17), unplaced=(8,), twice=0.3)
    assert same(live.finish().object, reconstruct(model, offline(tiny_scan, rows)))


@pytest.mark.rule("LIVE-001")
@pytest.mark.parametrize("delay", DELAYS)
def test_no_frame_has_the_position_of_another(tiny_scan, delivered, delay):
    live = LiveScan(probe=tiny_scan.probe, position_unit="px")
    delivered(live, tiny_scan, order="shuffled", delay=delay, lost=(3,), unplaced=(5,), twice=0.5)
    scan = live.raw()
    rows = scan.frame_index - 100
    assert sorted({3, 5} | set(rows.tolist())) == list(range(30))
    assert (scan.diffraction[:] == tiny_scan.diffraction[rows]).all()
    assert (scan.positions == tiny_scan.positions[rows]).all()


@pytest.mark.rule("LIVE-001")
def test_frames_and_positions_are_turned_as_offline(tiny_scan, delivered, offline):
    turn = OrientationConfig(flip_frames="rows", swap_axes=True, flip_x=True, position_scale=1.1)
    live = LiveScan(probe=tiny_scan.probe, config=QUICK, position_unit="px", orientation=turn)
    rows = delivered(live, tiny_scan, order="shuffled")
    assert live.object() is not None
    expected = refine(offline(tiny_scan, rows, orientation=turn), config=QUICK)
    assert same(live.finish().object, expected.object)


@pytest.mark.rule("LIVE-001")
def test_bad_pixels_and_frames_are_found_as_offline(tiny_scan, delivered, offline):
    frames = np.array(tiny_scan.diffraction)
    frames[:, 9, 11] = np.iinfo(frames.dtype).max
    frames[12] = 0
    spoilt = dataclasses.replace(tiny_scan, diffraction=frames)
    live = LiveScan(probe=tiny_scan.probe, config=QUICK, position_unit="px")
    rows = delivered(live, spoilt, order="backwards")
    assert live.object() is not None
    with pytest.warns(UserWarning, match=r"."):
        expected = offline(spoilt, rows)
    with pytest.warns(UserWarning, match=r"."):
        finished = live.finish()
    assert finished.scan.bad_pixels[9, 11]
    assert 112 not in finished.scan.frame_index
    assert (finished.scan.bad_pixels == expected.bad_pixels).all()
    assert same(finished.object, refine(expected, config=QUICK).object)


@pytest.mark.rule("LIVE-001")
def test_a_probe_that_nobody_gave_comes_from_the_frames_and_not_from_their_order(tiny_scan, delivered):
    found = []
    for order in ORDERS:
        live = LiveScan(config=QUICK, position_unit="px")
        delivered(live, tiny_scan, order=order)
        found.append(live.finish().object)
    assert same(found[0], found[1])
    assert same(found[0], found[2])


@pytest.mark.rule("LIVE-003")
def test_one_absurd_position_does_not_ask_for_an_absurd_canvas(tiny_scan, delivered):
    spoilt = dataclasses.replace(
        tiny_scan, positions=np.where(np.arange(30)[:, None] == 0, 1e9, tiny_scan.positions)
    )
    live = LiveScan(probe=tiny_scan.probe, config=QUICK, position_unit="px")
    delivered(live, spoilt)
    assert live.object().object.size < 200**2
    assert live.finish().scan.n_frames == 29


def test_a_scan_of_which_nothing_came_is_told(tiny_scan):
    live = LiveScan(probe=tiny_scan.probe, position_unit="px")
    assert live.object() is None
    live.add_frames([1], tiny_scan.diffraction[:1])
    with pytest.raises(DataError) as caught:
        live.finish()
    assert caught.value.names == ("frames",)
