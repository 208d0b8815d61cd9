"""Scans that are played into files."""

from __future__ import annotations

import threading

import h5py
import numpy as np
import pytest

from ptycho_config import ConfigError
from ptycho_torch.live.messages import Frames
from ptycho_torch.live.replay.play import frame_kind, play
from ptycho_torch.live.replay.schedule import Disturbances, schedule
from ptycho_torch.live.replay.sender import open_sender
from ptycho_torch.live.scan import LiveScan
from ptycho_torch.live.session import Session
from ptycho_torch.live.source_registry import open_source


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


def rows_of(path):
    """Frames and positions that are in a file by number, as somebody reads them who did not write them."""
    with h5py.File(path, "r", swmr=True) as file:
        frames, places = file["entry/data/data"], file["entry/positions"]
        written = {
            row: frames[row]
            for row in range(len(frames))
            if frames.id.get_chunk_info_by_coord((row, 0, 0)).byte_offset is not None
        }
        yx = np.stack([places["y"][:], places["x"][:]], axis=1)
    return written, {row: place for row, place in enumerate(yx) if np.isfinite(place).all()}


def test_a_file_grows_and_what_was_not_sent_is_not_there(tiny_scan, tmp_path):
    path, other = tmp_path / "frames.h5", tmp_path / "positions.h5"
    sent = played(tiny_scan, ("hdf5", path), ("hdf5", other), drop=0.2, shuffle=5, duplicate=0.1, seed=3)
    frames, places = rows_of(path)[0], rows_of(other)[1]
    assert len(frames) == sent.distinct_frames < 30
    assert all(np.array_equal(frame, tiny_scan.diffraction[row]) for row, frame in frames.items())
    assert sorted(places) == list(range(30))
    assert all(np.array_equal(place, tiny_scan.positions[row]) for row, place in places.items())


def test_a_file_is_read_while_it_grows(tiny_scan, tmp_path):
    path = tmp_path / "scan.h5"
    sender = open_sender("hdf5", str(path), "frames", frame_kind(tiny_scan))
    for row in (0, 4):
        part = slice(row, row + 1)
        frames = tiny_scan.diffraction[part]
        sender.send(Frames(numbers=[row], frames=frames, positions=tiny_scan.positions[part]), lambda: True)
        seen, places = rows_of(path)
        assert max(seen) == max(places) == row
    assert sorted(seen) == sorted(places) == [0, 4]
    sender.close()


@pytest.mark.parametrize(
    ("protocol", "gives"), [("hdf5", "frames"), ("watch", "frames"), ("csv", "positions")]
)
def test_what_exists_is_left_alone(tiny_scan, tmp_path, protocol, gives):
    path = tmp_path / "there"
    path.write_text("mine")
    with pytest.raises(ConfigError) as caught:
        open_sender(protocol, str(path), gives, frame_kind(tiny_scan))
    assert caught.value.problems[0].value == str(path)
    assert path.read_text() == "mine"


@pytest.mark.rule("LIVE-001")
@pytest.mark.parametrize(
    ("frames_to", "positions_to", "sources"),
    [
        (("hdf5", "scan.h5"), None, ("hdf5:{}/scan.h5", "hdf5:{}/scan.h5:/entry/positions")),
        (("hdf5", "frames.h5"), ("csv", "stage.csv"), ("hdf5:{}/frames.h5", "csv:{}/stage.csv")),
        (("watch", "frames"), ("hdf5", "stage.h5"), ("watch:{}/frames", "hdf5:{}/stage.h5:/entry/positions")),
    ],
)
def test_what_is_played_into_files_is_read_while_it_is(tiny_scan, tmp_path, frames_to, positions_to, sources):
    live = LiveScan(probe=tiny_scan.probe)
    session = Session(live, end_after_s=0.6)
    for address, gives in zip(sources, ("frames", "positions"), strict=True):
        named = address.format(tmp_path)
        session.attach(named, open_source(named, gives), gives)
    kind = frame_kind(tiny_scan)
    senders = [
        open_sender(name, str(tmp_path / path), gives, kind)
        for (name, path), gives in zip(
            (frames_to, positions_to or frames_to), ("frames", "positions"), strict=True
        )
        if positions_to is not None or gives == "frames"
    ]
    events = schedule(30, 200.0, Disturbances(drop=0.2, shuffle=5, seed=3), positions_alone=True)
    thread = threading.Thread(target=play, args=(tiny_scan, events, *senders))
    thread.start()
    session.run()
    thread.join()
    for sender in senders:
        sender.close()
    rows = sorted({event.row for event in events if event.what == "frame"})
    raw = live.raw()
    assert raw.frame_index.tolist() == rows
    assert np.array_equal(raw.diffraction[:], tiny_scan.diffraction[rows])
    assert np.array_equal(raw.positions, tiny_scan.positions[rows])
    assert live.counters().lost == rows[-1] - rows[0] + 1 - len(rows) > 0
