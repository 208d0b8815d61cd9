"""Frames in a file must read like an array, in any process, without being loaded."""

from __future__ import annotations

import multiprocessing
import operator
import pickle
import tracemalloc
from concurrent.futures import ProcessPoolExecutor

import h5py
import numpy as np
import pytest

from ptycho_torch.data.scan.domain import to_counts
from ptycho_torch.data.scan.hdf5_frames import HDF5Frames
from ptycho_torch.data.scan.lazy import ConvertedFrames, scaled_frames, take_frames
from ptycho_torch.errors import DataError

N_FRAMES, SIZE = 23, 12


@pytest.fixture
def values():
    return np.random.default_rng(0).poisson(9.0, size=(N_FRAMES, SIZE, SIZE)).astype(np.uint16)


@pytest.fixture(params=[None, (1, SIZE, SIZE), (5, 4, 7)], ids=["contiguous", "one frame", "many frames"])
def path(request, tmp_path, values):
    path = tmp_path / "frames.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("group/patterns", data=values, chunks=request.param)
    return path


@pytest.fixture
def frames(path):
    return HDF5Frames(path, "group/patterns")


INDICES = [
    4,
    -1,
    slice(None),
    slice(3, 17, 4),
    slice(None, None, -1),
    np.array([5, 2, 2, 22, 3, 4, 5]),
    np.array([[7], [0]]),
    [3, -2],
    np.arange(N_FRAMES) % 3 == 0,
    np.array([], dtype=np.int64),
]


@pytest.mark.parametrize("index", INDICES, ids=str)
def test_an_index_means_what_it_means_for_an_array(frames, values, index):
    found = frames[index]
    assert found.dtype == values.dtype
    np.testing.assert_array_equal(found, values[index])


def test_shape_is_known_without_reading(frames, values):
    assert (frames.shape, frames.dtype, frames.ndim) == (values.shape, values.dtype, 3)
    assert (len(frames), frames.size, frames.nbytes) == (N_FRAMES, values.size, values.nbytes)


def test_an_index_beyond_the_end_is_refused(frames):
    with pytest.raises(IndexError):
        frames[N_FRAMES]


def test_becomes_an_array_with_a_copy_only(frames, values):
    np.testing.assert_array_equal(np.asarray(frames, dtype=np.float64), values)
    with pytest.raises(ValueError, match="without a copy"):
        frames.__array__(copy=False)


@pytest.mark.parametrize("chosen", [np.array([9, 1, 1]), np.arange(N_FRAMES) > 19], ids=["numbers", "mask"])
def test_taken_frames_are_taken_again(frames, values, chosen):
    np.testing.assert_array_equal(take_frames(frames, chosen).take([2, 0, 1])[:], values[chosen][[2, 0, 1]])


def test_cropped_frames_are_the_centre(frames, values):
    cropped = frames.crop(8).crop(6)
    np.testing.assert_array_equal(cropped[[4, 1]], values[[4, 1], 3:9, 3:9])
    assert cropped.shape == (N_FRAMES, 6, 6)


@pytest.mark.parametrize("domain", ["counts", "amplitude"])
def test_converts_like_an_array(frames, values, domain):
    bad = np.zeros((SIZE, SIZE), dtype=bool)
    bad[2, 3] = True
    converted = to_counts(frames, domain, bad_pixels=bad)
    expected = to_counts(values, domain, bad_pixels=bad)
    assert isinstance(converted, ConvertedFrames)
    assert converted.dtype == expected.dtype
    for index in (3, slice(2, 9), np.array([[4, 2], [0, 4]])):
        np.testing.assert_array_equal(converted[index], expected[index])
    np.testing.assert_array_equal(converted.totals(), expected.sum(axis=(1, 2), dtype=np.float64))
    np.testing.assert_array_equal(converted.take([5, 3]).totals(), converted.totals()[[5, 3]])


def test_scaled_frames_have_scaled_totals(frames, values):
    counts = to_counts(frames, "counts")
    before = scaled_frames(counts, 0.3).totals()
    counts.totals()
    scaled = scaled_frames(counts, 0.3)
    np.testing.assert_array_equal(scaled[:4], values[:4].astype(np.float32) * np.float32(0.3))
    np.testing.assert_array_equal(scaled[:4], scaled_frames(values, 0.3)[:4])
    np.testing.assert_allclose(scaled.totals(), before, rtol=1e-6)


def test_crop_belongs_before_the_conversion(frames):
    with pytest.raises(TypeError, match="before they are converted"):
        to_counts(frames, "counts").crop(4)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_other_processes_open_the_file_for_themselves(frames, values, method):
    counts = to_counts(frames, "counts")
    wanted = [np.array([3, 0]), np.array([9, 2, 9])]
    np.testing.assert_array_equal(counts[wanted[0]], values[wanted[0]])
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(method)) as pool:
        found = list(pool.map(operator.getitem, [counts, counts], wanted, timeout=60))
    for block, index in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(block, values[index])
    np.testing.assert_array_equal(counts[wanted[1]], values[wanted[1]])


def test_a_pickled_stack_reads_the_same(frames, values):
    copy = pickle.loads(pickle.dumps(frames.take([8, 2]).crop(4)))
    np.testing.assert_array_equal(copy[:], values[[8, 2], 4:8, 4:8])


def test_a_closed_stack_opens_again(frames, values):
    frames.close()
    np.testing.assert_array_equal(frames[1], values[1])


def test_a_file_that_changed_is_refused(path, frames):
    frames.close()
    with h5py.File(path, "a") as file:
        file["more"] = np.zeros(1000)
    with pytest.raises(DataError, check=lambda error: error.names == ("",) and error.source == path):
        frames[0]


def test_other_ranks_are_refused(path):
    with h5py.File(path, "a") as file:
        file["flat"] = np.zeros((4, 4))
    with pytest.raises(DataError, check=lambda error: error.names == ("flat",)):
        HDF5Frames(path, "flat")


def test_damaged_frames_are_named(tmp_path, values):
    path = tmp_path / "damaged.h5"
    with h5py.File(path, "w") as file:
        data = file.create_dataset("patterns", data=values, chunks=(1, SIZE, SIZE), compression="gzip")
        place = data.id.get_chunk_info(7).byte_offset
    with path.open("rb+") as stream:
        stream.seek(place)
        stream.write(b"\xff" * 40)
    frames = HDF5Frames(path, "patterns")
    np.testing.assert_array_equal(frames[6], values[6])
    with pytest.raises(DataError, check=lambda error: error.names == ("patterns",)):
        frames[[8, 7]]


@pytest.mark.rule("DATA-014")
def test_memory_follows_what_is_read(tmp_path):
    path = tmp_path / "long.h5"
    n, size = 1000, 32
    with h5py.File(path, "w") as file:
        data = file.create_dataset(
            "patterns", shape=(n, size, size), dtype=np.uint16, chunks=(32, size, size)
        )
        for start in range(0, n, 500):
            data[start : start + 500] = 1
    counts = to_counts(HDF5Frames(path, "patterns"), "counts")
    order = np.random.default_rng(0).permutation(n)
    tracemalloc.start()
    try:
        total = sum(int(counts[order[start : start + 16]].sum()) for start in range(0, n, 16))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert total == counts.size
    assert peak < counts.nbytes / 8


def test_frames_packed_together_are_read_together_once(tmp_path, values, monkeypatch):
    path = tmp_path / "packed.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("patterns", data=values, chunks=(5, SIZE, SIZE))
    frames = HDF5Frames(path, "patterns")
    fetched = []
    fetch = HDF5Frames._fetch
    monkeypatch.setattr(HDF5Frames, "_fetch", lambda *a: (fetched.append(a[1:3]), fetch(*a))[1])
    for row in range(N_FRAMES):
        np.testing.assert_array_equal(frames[row], values[row])
    assert fetched == [(0, 5), (5, 10), (10, 15), (15, 20), (20, 23)]
    fetched.clear()
    np.testing.assert_array_equal(frames[1:22], values[1:22])
    assert fetched == [(1, 22)]


def test_many_frames_packed_together_in_a_large_file_are_warned_of(tmp_path, caplog):
    for together in (8, 9):
        path = tmp_path / f"{together}.h5"
        with h5py.File(path, "w") as file:
            # Nothing is written, so the file stays small.
            file.create_dataset(
                "patterns", shape=(2000, 512, 512), dtype=np.uint16, chunks=(together, 64, 64)
            )
        HDF5Frames(path, "patterns")
    assert [record.args[1] for record in caplog.records] == [9]
