"""Sources: what an address names, what a message may be, and one that comes over a real socket."""

from __future__ import annotations

import json
import threading
import time

import numpy as np
import pytest

from ptycho_config import ConfigError
from ptycho_torch.live import source_registry
from ptycho_torch.live.feed import Feed
from ptycho_torch.live.messages import End, Frames, Positions, Refused, Start, facts
from ptycho_torch.live.source_registry import open_source, sources
from ptycho_torch.live.wire import DTYPES, decoded, encoded

zmq = pytest.importorskip("zmq")


@pytest.fixture
def sender():
    """A PUSH socket that is bound, and its address."""
    with zmq.Context() as context, context.socket(zmq.PUSH) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.SNDTIMEO, 10_000)
        port = socket.bind_to_random_port("tcp://127.0.0.1")
        yield socket, f"tcp://127.0.0.1:{port}"


def gathered(feed, seen, n, seconds=10.0):
    """Wait until ``n`` messages were seen, and stop."""
    until = time.monotonic() + seconds
    while len(seen) < n and time.monotonic() < until:
        time.sleep(0.01)
    assert feed.stop(5)
    assert len(seen) == n


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_frame_comes_as_it_was_sent(dtype):
    frame = np.arange(12).reshape(3, 4).astype(dtype)
    message = decoded(encoded(Frames(numbers=[7], frames=frame[None], positions=[[1.5, -2]], unit="um")))
    assert message.numbers == [7]
    assert message.frames.dtype == frame.dtype
    assert (message.frames[0] == frame).all()
    assert message.positions.tolist() == [[1.5, -2.0]]
    assert message.unit == "um"


def test_everything_else_comes_as_it_was_sent():
    mask = np.eye(3, 4, dtype=bool)
    stated = facts({"photon_energy_eV": 8000.0, "saturation_counts": 65535, "nothing": 1.0})
    start = decoded(encoded(Start(metadata=stated, bad_pixels=mask, centre=(5, 6), n_frames=9)))
    assert start.metadata == {"photon_energy_eV": 8000.0, "saturation_counts": 65535.0}
    assert (start.bad_pixels == mask).all()
    assert (start.centre, start.n_frames) == ((5, 6), 9)
    places = decoded(encoded(Positions(numbers=[3, 4], positions=[[0, 1], [2, 3]], unit="px")))
    assert (places.numbers, places.positions.tolist(), places.unit) == ([3, 4], [[0, 1], [2, 3]], "px")
    assert decoded(encoded(End())) == End()


@pytest.mark.rule("LIVE-007")
@pytest.mark.parametrize(
    "parts",
    [
        [],
        [b""],
        [b"\x80\x04."],
        [b"[" * 100_000],
        [b'{"type": ["frame"]}'],
        [b'{"type": "frame"}', b""],
        [json.dumps({"type": "frame", "number": 1, "dtype": "|O8", "shape": [1, 1]}).encode(), bytes(8)],
        [json.dumps({"type": "frame", "number": 1, "dtype": "<u2", "shape": [2, 2]}).encode(), bytes(7)],
        [json.dumps({"type": "frame", "number": 1, "dtype": "<u2", "shape": [1 << 60, 0]}).encode(), b""],
        [json.dumps({"type": "frame", "number": 1.5, "dtype": "<u2", "shape": [1, 1]}).encode(), bytes(2)],
        [json.dumps({"type": "positions", "numbers": [1], "positions": [[10**400, 1]]}).encode()],
        [json.dumps({"type": "positions", "numbers": [1, 2], "positions": [[1, 1]]}).encode()],
        [json.dumps({"type": "positions", "numbers": [1], "positions": [[1, 1]], "unit": "__"}).encode()],
        [json.dumps({"type": "start", "shape": [2, 2]}).encode(), bytes(3)],
    ],
)
def test_what_is_no_message_is_refused_and_not_raised(parts):
    assert isinstance(decoded(parts), Refused)


@pytest.mark.rule("LIVE-011")
def test_frames_come_over_a_socket_and_the_end_ends_it(sender):
    socket, address = sender
    seen = []
    feed = Feed(address, open_source(f"zmq:{address}", "frames"), lambda message, _: seen.append(message))
    feed.start()
    frame = np.arange(6, dtype=np.uint16).reshape(1, 2, 3)
    for number in range(200):
        socket.send_multipart(encoded(Frames(numbers=[number], frames=frame)))
    socket.send_multipart([b"nonsense"])
    socket.send_multipart(encoded(End()))
    gathered(feed, seen, 202)
    assert [message.numbers for message in seen[:200]] == [[number] for number in range(200)]
    assert isinstance(seen[200], Refused)
    assert feed.is_over
    assert feed.has_ended
    assert feed.error is None


@pytest.mark.rule("LIVE-011")
def test_while_nothing_is_taken_the_sender_waits(sender):
    socket, address = sender
    taken, go_on = [], threading.Event()

    def take(message, _):
        go_on.wait(20)
        taken.append(message)

    feed = Feed(address, open_source(f"zmq:{address}", "frames"), take)
    feed.start()
    socket.setsockopt(zmq.SNDTIMEO, 300)
    parts = encoded(Frames(numbers=[0], frames=np.zeros((1, 256, 256), dtype=np.uint8)))
    sent, waits = 0, False
    while sent < 20_000 and not waits:
        try:
            socket.send_multipart(parts)
            sent += 1
        except zmq.Again:
            waits = True
    assert waits
    go_on.set()
    gathered(feed, taken, sent, 20)


@pytest.mark.rule("LIVE-011")
def test_a_tee_hands_every_message_on_unchanged(sender, free_address):
    socket, address = sender
    with zmq.Context() as context, context.socket(zmq.PULL) as writer:
        tee = free_address
        seen = []
        source = open_source(f"zmq:{address}", "frames", tee=tee)
        feed = Feed(address, source, lambda message, _: seen.append(message))
        feed.start()
        parts = [[b"part one %d" % number, b"part two"] for number in range(10)]
        for message in parts:
            socket.send_multipart(message)
        until = time.monotonic() + 10
        while not feed.waits_for and time.monotonic() < until:
            time.sleep(0.01)
        assert tee in feed.waits_for
        writer.connect(tee)
        writer.setsockopt(zmq.RCVTIMEO, 10_000)
        assert [writer.recv_multipart() for _ in parts] == parts
        gathered(feed, seen, 10)


@pytest.mark.parametrize(
    ("address", "gives"),
    [("zmq", "frames"), ("zmq:", "frames"), ("zmg:tcp://a:1", "frames"), ("zmq:tcp://a", "positions"),
     ("zmq:http://a:80", "frames"), ("zmq:tcp://a:99999", "frames")],
)  # fmt: skip
def test_an_address_that_makes_no_sense_is_refused(address, gives):
    with pytest.raises(ConfigError) as caught:
        open_source(address, gives)
    assert [problem.field for problem in caught.value.problems] == [gives]


def test_a_source_whose_extra_is_missing_names_it(monkeypatch):
    monkeypatch.setattr(source_registry, "find_spec", lambda name: None)
    with pytest.raises(ConfigError) as caught:
        open_source("zmq:tcp://localhost:1", "frames")
    assert "ptycho-torch-core[live]" in caught.value.problems[0].hint


def test_every_kind_of_source_states_what_it_gives():
    assert sources()
    for kind in sources():
        assert set(kind.gives) <= {"frames", "positions"}
        assert kind.form.startswith(f"{kind.name}:")
        assert not kind.modules or kind.extra
