"""Frames in memory and frames in a file offer the same, and what takes the one takes the other."""

from __future__ import annotations

import pickle

import h5py
import numpy as np
import pytest

from ptycho_torch.data.scan import Frames, FrameStack, HDF5Frames
from ptycho_torch.data.scan.checks import frames_first
from ptycho_torch.data.scan.crop import crop_frames
from ptycho_torch.data.scan.domain import to_counts
from ptycho_torch.data.scan.lazy import scaled_frames, take_frames

OFFERED = [name for name in vars(Frames) if name in dir(np.ndarray) and name not in dir(object)]


@pytest.fixture
def both(tmp_path):
    values = np.random.default_rng(2).poisson(30, (7, 8, 8)).astype(np.uint16)
    with h5py.File(tmp_path / "frames.h5", "w") as file:
        file["frames"] = values
    return values, HDF5Frames(tmp_path / "frames.h5", "frames")


def test_arrays_and_stacks_offer_all_of_it(both):
    assert {"shape", "dtype", "ndim", "size", "nbytes", "__len__", "__getitem__", "__array__"} <= {*OFFERED}
    values, stack = both
    assert all(hasattr(frames, name) for frames in both for name in OFFERED)
    for name in ("shape", "dtype", "ndim", "size", "nbytes"):
        assert getattr(values, name) == getattr(stack, name)
    np.testing.assert_array_equal(np.asarray(stack), values)


@pytest.mark.parametrize(
    "change",
    [
        lambda frames: take_frames(frames, [5, 0, 5]),
        lambda frames: scaled_frames(frames, 0.25),
        lambda frames: crop_frames(frames, 4),
        lambda frames: to_counts(frames, "counts", bad_pixels=np.eye(8, dtype=np.bool_)),
        lambda frames: to_counts(frames, "amplitude"),
    ],
)
def test_what_is_done_to_a_stack_stays_in_its_file_and_is_the_same(both, change):
    values, stack = both
    changed = change(stack)
    assert isinstance(changed, FrameStack)
    assert changed.dtype == change(values).dtype
    for frames in (changed, pickle.loads(pickle.dumps(changed))):
        np.testing.assert_array_equal(frames[:], change(values))


def test_the_frame_axis_of_a_file_is_the_first(both):
    _, stack = both
    problems: list[str] = []
    assert frames_first(stack, 8, "frames", "first", problems) is None
    assert len(problems) == 1
