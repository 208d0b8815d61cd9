"""A channel of EPICS over a real socket, served by the replay."""

from __future__ import annotations

import os
import time

import numpy as np
import pytest

from ptycho_config import ConfigError
from ptycho_torch.live.messages import End, Frames, Refused, Start
from ptycho_torch.live.replay.sender import FrameKind, open_sender
from ptycho_torch.live.source_registry import open_source

FRAMES = np.random.default_rng(2).poisson(3.0, (5, 16, 24)).astype("u2")
KIND = FrameKind(shape=FRAMES.shape[1:], dtype=FRAMES.dtype)


@pytest.fixture(autouse=True)
def only_here(monkeypatch):
    """Channels that nobody outside of this test sees."""
    port = str(20000 + os.getpid() % 20000)
    for name, value in {
        "EPICS_PVA_ADDR_LIST": "127.0.0.1",
        "EPICS_PVA_AUTO_ADDR_LIST": "NO",
        "EPICS_PVA_BROADCAST_PORT": port,
        "EPICS_PVAS_INTF_ADDR_LIST": "127.0.0.1",
        "EPICS_PVAS_BROADCAST_PORT": port,
        "EPICS_PVA_SERVER_PORT": "0",
        "EPICS_PVAS_SERVER_PORT": "0",
    }.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def detector():
    server = open_sender("pva", "TEST:image", "frames", KIND)
    yield server
    server.close()


def connected(server, rest="TEST:image"):
    """A source that hears the channel."""
    source = open_source(f"pva:{rest}", "frames")
    until = time.monotonic() + 10
    early = []
    while (source.waits_for or not server._is_heard.is_set()) and time.monotonic() < until:
        early += source.receive(0.02)
    assert source.waits_for == ""
    return source, early


def received(source, n):
    until, found = time.monotonic() + 10, []
    while len(found) < n and time.monotonic() < until:
        found += source.receive(0.2)
    assert len(found) == n
    return found


def send(server, numbers, frames=FRAMES):
    for number, frame in zip(numbers, frames, strict=True):
        assert server.send(Frames(numbers=[number], frames=frame[None]), lambda: True)


def test_frames_come_with_their_numbers(detector):
    source, early = connected(detector)
    send(detector, range(5))
    found = received(source, 5)
    source.close()
    assert early == []
    assert [message.numbers for message in found] == [[0], [1], [2], [3], [4]]
    assert np.array_equal(np.concatenate([message.frames for message in found]), FRAMES)


def test_numbers_count_from_the_first_and_the_last_is_the_end(detector):
    source, early = connected(detector, "TEST:image,first=101,frames=4")
    send(detector, range(100, 105))
    found = received(source, 6)
    source.close()
    assert [type(message) for message in early + found] == [Start, Refused, *[Frames] * 4, End]
    assert early[0].n_frames == 4
    assert [message.numbers for message in found[1:-1]] == [[0], [1], [2], [3]]


def test_what_the_channel_held_before_is_no_frame(detector):
    first, _ = connected(detector)
    send(detector, [0, 1], FRAMES[:2])
    assert len(received(first, 2)) == 2
    second, early = connected(detector)
    send(detector, [2], FRAMES[2:3])
    found = early + received(second, 1)
    first.close()
    second.close()
    assert [message.numbers for message in found] == [[2]]


@pytest.mark.rule("LIVE-020")
def test_a_value_that_is_no_frame_does_not_end_it(detector):
    source, _ = connected(detector)
    value = detector._array.wrap(FRAMES[0])
    value["dimension"] = [{"size": 7}]
    detector._channel.post(value)
    send(detector, [1], FRAMES[1:2])
    assert [type(message) for message in received(source, 2)] == [Refused, Frames]
    source.close()


def test_a_channel_that_is_not_there_is_waited_for():
    source = open_source("pva:TEST:nobody", "frames")
    assert source.receive(0.05) == []
    assert "TEST:nobody" in source.waits_for
    source.close()
    source.close()
    assert source.receive(0.0) == []


@pytest.mark.parametrize(
    "rest", ["TEST:image,first=x", "TEST:image,frames=0", "TEST:image,last=3", "two words"]
)
def test_another_form_is_refused(rest):
    with pytest.raises(ConfigError):
        open_source(f"pva:{rest}", "frames")


def test_a_name_that_is_none_is_not_served():
    with pytest.raises(ConfigError):
        open_sender("pva", "two words", "frames", KIND)
