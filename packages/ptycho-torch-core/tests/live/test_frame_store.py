"""Frames in memory, in a folder, and in both."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from ptycho_torch.errors import DataError
from ptycho_torch.live.frame_store import FolderStore, MemoryStore, SpillingStore, StoredFrames

DTYPE = np.dtype(np.uint16)


def frames(n, side=6):
    return np.random.default_rng(0).integers(0, 60000, (n, side, side)).astype(DTYPE)


@pytest.fixture(params=["memory", "folder", "both"])
def store(request, tmp_path):
    path = tmp_path / "frames.npy"
    return {
        "memory": lambda: MemoryStore(6, DTYPE),
        "folder": lambda: FolderStore(path, 6, DTYPE),
        "both": lambda: SpillingStore(path, 7 * 72, 6, DTYPE),
    }[request.param]()


def test_frames_are_those_of_an_array(store):
    values = frames(20)
    assert [store.append(frame) for frame in values] == list(range(20))
    slots = np.array([3, 19, 4, 5, 6, 0, 11])
    stack = StoredFrames(store, slots, 6, DTYPE)
    assert (stack[:] == values[slots]).all()
    assert (stack[2] == values[4]).all()
    assert (stack[np.array([[1, 0], [2, 2]])] == values[slots][[[1, 0], [2, 2]]]).all()
    assert (stack.take([5, 1])[:] == values[slots[[5, 1]]]).all()
    assert (stack.crop(4)[1:3] == values[slots][1:3, 1:5, 1:5]).all()
    assert (pickle.loads(pickle.dumps(stack))[:] == values[slots]).all()


def test_only_what_does_not_fit_goes_to_the_file(tmp_path):
    path = tmp_path / "frames.npy"
    store = SpillingStore(path, 7 * 72, 6, DTYPE)
    for frame in frames(7):
        store.append(frame)
    assert not path.exists()
    store.append(frames(1)[0])
    assert path.exists()


@pytest.mark.rule("LIVE-006")
def test_a_file_is_an_array_at_any_time_and_is_taken_up_where_a_killed_process_left_it(tmp_path):
    path, values = tmp_path / "frames.npy", frames(9)
    store = FolderStore(path, 6, DTYPE)
    for frame in values[:5]:
        store.append(frame)
    assert np.load(path).shape == (0, 6, 6)
    store.flush()
    assert (np.load(path) == values[:5]).all()
    store.append(values[5])
    with path.open("ab") as stream:  # half a frame, as a kill leaves it
        stream.write(b"x" * 30)
    again = FolderStore(path, 6, DTYPE)
    assert len(again) == 6
    for frame in values[6:]:
        again.append(frame)
    again.close()
    assert (np.load(path) == values).all()


def test_frames_of_another_kind_are_refused(tmp_path):
    path = tmp_path / "frames.npy"
    FolderStore(path, 6, DTYPE).close()
    for side, dtype in ((8, DTYPE), (6, np.dtype(np.uint32))):
        with pytest.raises(DataError) as caught:
            FolderStore(path, side, dtype)
        assert caught.value.names == ("frames.npy",)
    np.save(path, np.zeros((2, 6, 6), DTYPE))
    with pytest.raises(DataError):
        FolderStore(path, 6, DTYPE)
    path.write_bytes(b"not an array at all" * 40)
    with pytest.raises(DataError):
        FolderStore(path, 6, DTYPE)
