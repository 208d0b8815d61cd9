"""A scan that is played over real sockets becomes what it is offline, whatever went wrong on the way."""

from __future__ import annotations

import dataclasses
import threading

import numpy as np
import pytest

from ptycho_config import ConfigError, RefineConfig
from ptycho_torch.live.feed import Feed
from ptycho_torch.live.messages import Frames, Positions, Refused, Start
from ptycho_torch.live.replay.play import frame_kind, play
from ptycho_torch.live.replay.schedule import Disturbances, schedule
from ptycho_torch.live.replay.sender import FrameKind, open_sender
from ptycho_torch.live.scan import LiveScan
from ptycho_torch.live.source_registry import open_source
from ptycho_torch.refine import refine

pytest.importorskip(
    "dectris", reason="dectris-compression is compiled when it is installed, which takes a C compiler"
)

QUICK = RefineConfig(refine_epochs=1)
ANYWHERE = "tcp://127.0.0.1:*"
SOURCE_OF = {"zmq": "zmq", "dectris": "dectris", "dectris-v1": "dectris"}


def take_into(live):
    """Hands messages on to a live scan."""

    def take(message, _):
        if isinstance(message, Frames):
            live.add_frames(message.numbers, message.frames, message.positions, unit=message.unit)
        elif isinstance(message, Positions):
            live.add_positions(message.numbers, message.positions, unit=message.unit)
        elif isinstance(message, Start):
            live.told(message.metadata, bad_pixels=message.bad_pixels, n_frames=message.n_frames)
        elif isinstance(message, Refused):
            live.arrivals.refuse(message.why, frames=message.frames)

    return take


def played(scan, live, protocol, *, apart=True, rate=4000.0, **disturbances):
    """Play a scan to a live one; what was sent."""
    frames_to = open_sender(protocol, ANYWHERE, "frames", frame_kind(scan))
    positions_to = open_sender("zmq", ANYWHERE, "positions", frame_kind(scan)) if apart else None
    addresses = [(f"{SOURCE_OF[protocol]}:{frames_to.address}", "frames")]
    if positions_to is not None:
        addresses.append((f"zmq:{positions_to.address}", "positions"))
    feeds = [Feed(name, open_source(name, gives), take_into(live)) for name, gives in addresses]
    alone = apart or disturbances.get("late_positions_s", 0) > 0
    events = schedule(scan.n_frames, rate, Disturbances(**disturbances), positions_alone=alone)
    try:
        for feed in feeds:
            feed.start()
        found = play(scan, events, frames_to, positions_to, positions_within=not alone)
        for feed in feeds:
            feed._thread.join(10)
            assert feed.has_ended
    finally:
        for feed in feeds:
            feed.stop(5)
        frames_to.close()
        if positions_to is not None:
            positions_to.close()
    return found


@pytest.mark.rule("LIVE-001")
@pytest.mark.parametrize("protocol", sorted(SOURCE_OF))
def test_what_was_played_becomes_what_it_is_offline(tiny_scan, offline, protocol):
    live = LiveScan(probe=tiny_scan.probe, config=QUICK)
    how = {"drop": 0.2, "duplicate": 0.2, "shuffle": 6, "late_positions_s": 0.005, "seed": 4}
    sent = played(tiny_scan, live, protocol, **how)
    counters = live.counters(ended=True)
    assert counters.received == sent.frames
    assert counters.duplicate == sent.frames - sent.distinct_frames > 0
    assert counters.duplicate_positions == sent.positions - 30 > 0
    assert counters.late > 0
    assert counters.lost == 30 - sent.distinct_frames > 0
    assert counters.joined == sent.distinct_frames
    events = schedule(30, 4000.0, Disturbances(**how), positions_alone=True)
    rows = sorted({event.row for event in events if event.what == "frame"})
    expected = refine(offline(tiny_scan, rows), config=QUICK)
    assert np.array_equal(live.finish().object.object, expected.object.object)


@pytest.mark.parametrize("late", [0.0, 0.01])
def test_positions_come_with_frames_or_behind_them_over_one_socket(tiny_scan, late):
    live = LiveScan(probe=tiny_scan.probe, config=QUICK)
    sent = played(tiny_scan, live, "zmq", apart=False, late_positions_s=late)
    assert (sent.frames, sent.positions) == (30, 30 if late else 0)
    raw = live.raw()
    assert raw.frame_index.tolist() == list(range(30))
    assert np.array_equal(raw.diffraction[:], tiny_scan.diffraction)
    assert np.array_equal(raw.positions, tiny_scan.positions)


def test_what_is_known_of_the_scan_is_sent(tiny_scan):
    live = LiveScan(probe=tiny_scan.probe, config=QUICK)
    mask = np.zeros((32, 32), dtype=bool)
    mask[3, 4] = True
    scan = dataclasses.replace(
        tiny_scan, bad_pixels=mask, metadata={"photon_energy_eV": 8000.0, "sample": "x"}
    )
    played(scan, live, "dectris")
    assert live.known.metadata == {"photon_energy_eV": 8000.0}
    assert np.array_equal(live.known.bad_pixels, mask)


def test_the_rate_is_kept(tiny_scan):
    live = LiveScan(probe=tiny_scan.probe, config=QUICK)
    sent = played(tiny_scan, live, "zmq", apart=False, rate=200.0)
    assert sent.finished
    assert 0.145 <= sent.seconds < 2
    assert sent.rate_fps == pytest.approx(30 / sent.seconds)


def test_it_waits_for_a_receiver_and_can_be_told_not_to(tiny_scan):
    sender = open_sender("zmq", ANYWHERE, "frames", frame_kind(tiny_scan))
    asked = []
    events = schedule(30, 1000.0, Disturbances(), positions_alone=False)
    try:
        sent = play(tiny_scan, events, sender, go_on=lambda: asked.append(1) or len(asked) < 3)
    finally:
        sender.close()
    assert (sent.frames, sent.finished, len(asked) >= 3) == (0, False, True)


def test_a_play_that_is_stopped_says_what_it_sent(tiny_scan):
    live = LiveScan(probe=tiny_scan.probe, config=QUICK)
    sender = open_sender("zmq", ANYWHERE, "frames", frame_kind(tiny_scan))
    feed = Feed("x", open_source(f"zmq:{sender.address}", "frames"), take_into(live))
    events = schedule(30, 100.0, Disturbances(), positions_alone=False)
    feed.start()
    stop = threading.Timer(0.1, lambda: None)
    stop.start()
    try:
        sent = play(tiny_scan, events, sender, go_on=stop.is_alive)
        feed._thread.join(10)
        assert feed.has_ended
    finally:
        feed.stop(5)
        sender.close()
    assert not sent.finished
    assert 0 < sent.frames < 30
    assert live.counters().received == sent.frames


KIND = FrameKind(shape=(8, 8), dtype=np.dtype("u2"))


@pytest.mark.parametrize(
    ("protocol", "address", "gives", "field"),
    [
        ("zmqq", ANYWHERE, "frames", "protocol"),
        ("dectris", ANYWHERE, "positions", "protocol"),
        ("zmq", "nowhere", "frames", "to"),
        ("zmq", "tcp://192.0.2.1:5555", "frames", "to"),
    ],
)
def test_what_cannot_be_opened_is_refused(protocol, address, gives, field):
    with pytest.raises(ConfigError) as caught:
        open_sender(protocol, address, gives, KIND)
    assert [problem.field for problem in caught.value.problems] == [field]


def test_what_a_protocol_needs_is_named(monkeypatch):
    from ptycho_torch.live.replay import sender

    monkeypatch.setattr(sender, "find_spec", lambda name: None if name == "cbor2" else object())
    with pytest.raises(ConfigError) as caught:
        open_sender("dectris", ANYWHERE, "frames", KIND)
    assert "cbor2" in caught.value.problems[0].expected
