from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from ptycho_torch_cli.replay import main

pytest.importorskip(
    "dectris", reason="dectris-compression is compiled when it is installed, which takes a C compiler"
)

Receive = Callable[[str, str], list[object]]


@pytest.fixture
def address() -> str:
    """An address of this machine that is free."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{taken.getsockname()[1]}"


@pytest.fixture
def receive() -> Iterator[Receive]:
    """Return a function that receives from a source in a thread; what it has seen is in its list."""
    from ptycho_torch.live.feed import Feed
    from ptycho_torch.live.source_registry import open_source

    feeds = []

    def start(source: str, gives: str) -> list[object]:
        seen: list[object] = []
        feed = Feed(source, open_source(source, gives), lambda message, _: seen.append(message))
        feed.start()
        feeds.append(feed)
        return seen

    yield start
    for feed in feeds:
        feed._thread.join(10)
        assert feed.has_ended
        feed.stop(5)


def frames_of(messages: list[object]) -> list[int]:
    from ptycho_torch.live.messages import Frames

    return [message.numbers[0] for message in messages if isinstance(message, Frames)]


def wait_for_the_end(messages: list[object]) -> None:
    import time

    from ptycho_torch.live.messages import End

    until = time.monotonic() + 10
    while time.monotonic() < until and not (messages and isinstance(messages[-1], End)):
        time.sleep(0.01)
    assert isinstance(messages[-1], End)


def test_a_scan_is_sent_with_its_positions(
    scan_file: Path, address: str, receive: Receive, capsys: pytest.CaptureFixture[str]
) -> None:
    from ptycho_torch.data import load_scan

    seen = receive(f"zmq:{address}", "frames")
    assert main([str(scan_file), "--to", address, "--rate", "3000"]) == 0
    out, err = capsys.readouterr()
    assert re.fullmatch(rf"{scan_file}: sent 30 of 30 frames in [\d.]+ s, [\d.e+]+ frames/s\n", out)
    assert f"waiting for a receiver of frames at {address}" in err.splitlines()
    assert err.splitlines()[-1].startswith("sending: 30/30 frames")
    wait_for_the_end(seen)
    scan = load_scan(scan_file)
    assert frames_of(seen) == list(range(30))
    np.testing.assert_array_equal(np.concatenate([one.frames for one in seen[1:-1]]), scan.diffraction)
    np.testing.assert_array_equal(np.concatenate([one.positions for one in seen[1:-1]]), scan.positions)


@pytest.mark.rule("LIVE-021")
def test_what_goes_wrong_can_be_asked_for(
    scan_file: Path, address: str, receive: Receive, capsys: pytest.CaptureFixture[str]
) -> None:
    how = [
        "--rate",
        "3000",
        "--drop",
        "0.3",
        "--duplicate",
        "0.3",
        "--shuffle",
        "8",
        "--seed",
        "3",
        "--quiet",
    ]
    orders = []
    for _ in range(2):
        seen = receive(f"zmq:{address}", "frames")
        assert main([str(scan_file), "--to", address, *how, "--late-positions", "0.002"]) == 0
        out, err = capsys.readouterr()
        assert err == ""
        wait_for_the_end(seen)
        orders.append(frames_of(seen))
    assert orders[0] == orders[1]
    assert len(set(orders[0])) < 30
    assert len(set(orders[0])) < len(orders[0])
    assert orders[0] != sorted(orders[0])
    twice = len(orders[0]) - len(set(orders[0]))
    assert f"sent {len(set(orders[0]))} of 30 frames, {twice} of them twice, " in out
    assert " positions in " in out


@pytest.mark.parametrize("protocol", ["dectris", "dectris-v1"])
def test_a_detector_is_played_beside_an_encoder(
    scan_file: Path, address: str, receive: Receive, protocol: str
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        encoder = f"zmq:tcp://127.0.0.1:{taken.getsockname()[1]}"
    frames, positions = receive(f"dectris:{address}", "frames"), receive(encoder, "positions")
    argv = [str(scan_file), "--to", address, "--positions-to", encoder, "--protocol", protocol]
    assert main([*argv, "--rate", "3000", "--quiet"]) == 0
    wait_for_the_end(frames)
    wait_for_the_end(positions)
    assert frames_of(frames) == [one.numbers[0] for one in positions[:-1]] == list(range(30))


def test_that_positions_are_not_sent_is_said(
    scan_file: Path, address: str, receive: Receive, capsys: pytest.CaptureFixture[str]
) -> None:
    receive(f"dectris:{address}", "frames")
    argv = [str(scan_file), "--to", address, "--protocol", "dectris", "--rate", "3000", "--quiet"]
    assert main(argv) == 0
    assert "--positions-to" in capsys.readouterr().err


@pytest.mark.parametrize(
    "flags",
    [
        ["--to", "nowhere"],
        ["--to", "tcp://127.0.0.1:5555", "--protocol", "carrier-pigeon"],
        ["--to", "tcp://127.0.0.1:*", "--positions-to", "dectris:tcp://127.0.0.1:*"],
        ["--to", "tcp://127.0.0.1:*", "--positions-to", "nowhere"],
        ["--to", "tcp://127.0.0.1:*", "--drop", "2"],
        ["--to", "tcp://127.0.0.1:*", "--rate", "0"],
        [],
    ],
)
def test_what_cannot_be_is_wrong_usage(
    scan_file: Path, flags: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(scan_file), *flags]) == 2
    assert capsys.readouterr().out == ""


def test_a_file_that_grows_holds_positions_too(scan_file: Path, tmp_path: Path) -> None:
    import h5py

    from ptycho_torch.data import load_scan

    target = tmp_path / "growing.h5"
    argv = [
        str(scan_file),
        "--to",
        str(target),
        "--protocol",
        "hdf5",
        "--rate",
        "1e5",
        "--drop",
        "0.3",
        "--quiet",
    ]
    assert main(argv) == 0
    scan = load_scan(scan_file)
    with h5py.File(target) as file:
        assert len(file["entry/data/data"]) <= 30
        np.testing.assert_array_equal(file["entry/positions/y"], scan.positions[:, 0])
        np.testing.assert_array_equal(file["entry/positions/x"], scan.positions[:, 1])
