"""Ways in which frames and positions come."""

from __future__ import annotations

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
