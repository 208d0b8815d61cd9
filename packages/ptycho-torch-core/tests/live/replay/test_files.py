"""Scans that are played into files."""

from __future__ import annotations

import numpy as np
import pytest

from ptycho_config import ConfigError
from ptycho_torch.live.replay.play import frame_kind, play
from ptycho_torch.live.replay.schedule import Disturbances, schedule
from ptycho_torch.live.replay.sender import open_sender


def played(scan, frames_to, positions_to, **disturbances):
    senders = [
        open_sender(name, str(path), gives, frame_kind(scan))
        for (name, path), gives in ((frames_to, "frames"), (positions_to, "positions"))
    ]
    events = schedule(scan.n_frames, 1e6, Disturbances(**disturbances), positions_alone=True)
    sent = play(scan, events, *senders)
    for sender in senders:
        sender.close()
    return sent


def test_a_folder_fills_and_a_table_grows(tiny_scan, tmp_path):
    folder, table = tmp_path / "frames", tmp_path / "positions.csv"
    sent = played(tiny_scan, ("watch", folder), ("csv", table), drop=0.2, shuffle=5, duplicate=0.1, seed=3)
    names = sorted(path.name for path in folder.iterdir())
    assert len(names) == sent.distinct_frames < 30
    for name in names:
        assert np.array_equal(np.load(folder / name), tiny_scan.diffraction[int(name[6:12])])
    head, *lines = table.read_text().splitlines()
    assert head == "number,x_px,y_px"
    assert len(lines) == sent.positions > 30
    for line in lines:
        number, x, y = line.split(",")
        assert (float(y), float(x)) == tuple(tiny_scan.positions[int(number)])


@pytest.mark.parametrize(("protocol", "gives"), [("watch", "frames"), ("csv", "positions")])
def test_what_exists_is_left_alone(tiny_scan, tmp_path, protocol, gives):
    path = tmp_path / "there"
    path.write_text("mine")
    with pytest.raises(ConfigError) as caught:
        open_sender(protocol, str(path), gives, frame_kind(tiny_scan))
    assert caught.value.problems[0].value == str(path)
    assert path.read_text() == "mine"
