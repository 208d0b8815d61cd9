"""Ways in which frames and positions come."""

from __future__ import annotations

import socket
import threading

import numpy as np
import pytest


def deliver(live, scan, *, order="in order", delay="together", lost=(), unplaced=(), twice=0.0, seed=0):
    """Send the frames of a scan one by one, numbered from 100 on; returns the rows that came whole.

    Parameters
    ----------
    lost, unplaced
        Rows whose frame, or whose position, never comes.
    twice
        Share of frames and positions that come again.
    """
    rng = np.random.default_rng(seed)
    rows = np.arange(scan.n_frames)
    rows = {"in order": rows, "backwards": rows[::-1], "shuffled": rng.permutation(rows)}[order]
    frames = [("frame", row) for row in rows if row not in lost]
    places = [("position", row) for row in rows if row not in unplaced]
    if delay == "positions first":
        events = places + frames
    elif delay == "frames first":
        events = frames + places
    else:
        lag = 9 if delay == "positions lag" else 0
        times = [(at, event) for at, event in enumerate(frames)]
        times += [(at + lag + 0.5, event) for at, event in enumerate(places)]
        events = [event for _, event in sorted(times, key=lambda item: item[0])]
    again = [event for event in events if rng.random() < twice]
    for number, (kind, row) in enumerate(events + again):
        if kind == "frame":
            live.add_frames([100 + row], scan.diffraction[row : row + 1])
        else:
            live.add_positions([100 + row], scan.positions[row : row + 1])
        if number % 7 == 0:
            live.advance()
    return np.array([row for row in range(scan.n_frames) if row not in lost and row not in unplaced])


@pytest.fixture
def delivered():
    return deliver


@pytest.fixture
def offline(tmp_path):
    """The scan of some rows as a job reads it from a file."""
    from ptycho_torch.data.formats.npz import save_scan
    from ptycho_torch.data.reading import read_scan

    def read(scan, rows, **how):
        path = tmp_path / "offline.npz"
        save_scan(path, scan.take(rows))
        wanted = {"n_pixels": None, "measurement_domain": "auto", "nphotons": 1e9}
        return read_scan(path, **wanted, **how)

    return read


class Sender:
    """A detector that sends our own message: binds, and sends in a thread."""

    def __init__(self):
        import zmq

        self.zmq, self.context = zmq, zmq.Context()
        self.socket = self.context.socket(zmq.PUSH)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.SNDTIMEO, 180_000)
        self.address = f"zmq:tcp://127.0.0.1:{self.socket.bind_to_random_port('tcp://127.0.0.1')}"
        self.thread = None

    def send(self, messages):
        """Send typed messages, or parts as they are, one after the other."""
        from ptycho_torch.live.wire import encoded

        for message in messages:
            parts = message if isinstance(message, list) else encoded(message)
            self.socket.send_multipart(parts)

    def begin(self, messages):
        """Send in a thread, and return at once."""
        self.thread = threading.Thread(target=self.send, args=(messages,))
        self.thread.start()

    def close(self):
        if self.thread is not None:
            self.thread.join(200)
        self.context.destroy(linger=0)


@pytest.fixture
def sender():
    pytest.importorskip("zmq")
    made = Sender()
    yield made
    made.close()


@pytest.fixture
def messages():
    """Frames of a scan, each with its position unless told otherwise."""
    from ptycho_torch.live.messages import Frames

    def make(scan, rows=None, *, placed=True, unit="px"):
        for row in range(scan.n_frames) if rows is None else rows:
            place = scan.positions[row : row + 1] if placed else None
            yield Frames(
                numbers=[row],
                frames=scan.diffraction[row : row + 1],
                positions=place,
                unit=unit if placed else None,
            )

    return make


@pytest.fixture
def live(tmp_path, cpu):
    """Payload of a live scan: ``live(frames, positions, **overrides)``."""
    from ptycho_torch.config_factory import create_live_payload

    def make(frames, positions=None, *, name="live", execution=None, **overrides):
        overrides = {"refine_epochs": 4, **overrides}
        return create_live_payload(
            frames,
            tmp_path / name,
            overrides,
            positions_from=positions,
            execution_config=cpu(**(execution or {})),
        )

    return make


@pytest.fixture
def free_address():
    """An address of this machine at which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{taken.getsockname()[1]}"
