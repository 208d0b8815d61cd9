"""The stream of a DECTRIS detector over a real socket."""

from __future__ import annotations

import logging
import time

import numpy as np
import pytest
import zmq

from ptycho_torch.live.codecs import dectris_v1, dectris_v2
from ptycho_torch.live.codecs.packing import Packer
from ptycho_torch.live.messages import End, Frames, Refused, Start
from ptycho_torch.live.source_registry import open_source

pytest.importorskip(
    "dectris", reason="dectris-compression is compiled when it is installed, which takes a C compiler"
)

KNOWN = Start(metadata={"photon_energy_eV": 8000.0}, n_frames=3)
FRAMES = np.random.default_rng(2).poisson(3.0, (3, 16, 24)).astype("u2")


@pytest.fixture
def detector():
    """A PUSH socket that is bound, and its address."""
    with zmq.Context() as context, context.socket(zmq.PUSH) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.SNDTIMEO, 10_000)
        port = socket.bind_to_random_port("tcp://127.0.0.1")
        yield socket, f"tcp://127.0.0.1:{port}"


def series(codec, number=5):
    """Parts of every message of a series."""
    packer = Packer("bslz4")
    yield codec.encode_start(number, KNOWN, FRAMES.shape[1:], FRAMES.dtype)
    for image, frame in enumerate(FRAMES):
        yield codec.encode_image(number, image, frame, packer)
    yield codec.encode_end(number)


def send(socket, messages):
    for message in messages:
        socket.send_multipart([message] if isinstance(message, bytes) else message)


def received(source, n, seconds=10.0):
    """The next messages, as soon as there are ``n``."""
    until, found = time.monotonic() + seconds, []
    while len(found) < n and time.monotonic() < until:
        found += source.receive(0.2)
    assert len(found) == n
    return found


@pytest.fixture
def opened():
    """Opens addresses, and closes what was opened."""
    sources = []

    def open_address(address, **how):
        sources.append(open_source(f"dectris:{address}", "frames", **how))
        return sources[-1]

    yield open_address
    for source in sources:
        source.close()


@pytest.mark.parametrize("codec", [dectris_v1, dectris_v2])
def test_a_series_comes_as_it_was_sent(detector, opened, codec):
    socket, address = detector
    source = opened(address)
    send(socket, series(codec))
    start, *images, end = received(source, 5)
    assert (start.metadata, start.n_frames, end) == (KNOWN.metadata, 3, End())
    assert [image.numbers for image in images] == [[0], [1], [2]]
    assert np.array_equal(np.concatenate([image.frames for image in images]), FRAMES)


def test_messages_of_another_series_are_refused(detector, opened):
    socket, address = detector
    source = opened(address)
    first = list(series(dectris_v2, 5))
    send(
        socket,
        [dectris_v2.encode_end(4), *first[:2], dectris_v2.encode_image(6, 1, FRAMES[0], Packer("none"))],
    )
    send(socket, [dectris_v2.encode_end(6), first[2]])
    found = received(source, 6)
    assert [type(message) for message in found] == [Refused, Start, Frames, Refused, Refused, Frames]
    assert [message.frames for message in found if isinstance(message, Refused)] == [0, 1, 0]


@pytest.mark.rule("LIVE-020")
def test_what_is_no_message_does_not_end_it(detector, opened):
    socket, address = detector
    source = opened(address)
    good = list(series(dectris_v2))
    send(socket, [good[1], b"\x80\x04.", [b"{}", b""], b"", good[1][:-9], good[2]])
    found = received(source, 6)
    assert [type(message) for message in found] == [Frames, Refused, Refused, Refused, Refused, Frames]


def test_everything_is_handed_on_as_it_came(detector, opened, free_address):
    socket, address = detector
    with zmq.Context() as context, context.socket(zmq.PULL) as writer:
        source = opened(address, tee=free_address)
        writer.setsockopt(zmq.RCVTIMEO, 10_000)
        writer.connect(free_address)
        sent = [*series(dectris_v1), [b"nonsense"]]
        send(socket, sent)
        found = received(source, len(sent))
        assert [writer.recv_multipart() for _ in sent] == sent
    assert isinstance(found[-1], Refused)


def test_that_a_file_writer_loses_frames_is_said(detector, opened, caplog, free_address):
    _, address = detector
    with caplog.at_level(logging.WARNING):
        opened(address)
    assert [record.args for record in caplog.records] == [(address,)]
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        opened(address, tee=free_address)
    assert not caplog.records
