"""Frames become float32 tensors of the right frames, whatever dtype they are kept in."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

from ptycho_torch.data.groups.dataset import GroupDataset, as_is


def _frames(dtype=np.uint16):
    return np.random.default_rng(0).integers(0, 60000, size=(10, 4, 4)).astype(dtype)


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.int64, np.float32, np.float64])
def test_frames_become_float32_and_keep_their_values(dtype):
    frames = _frames(dtype)
    dataset = GroupDataset(frames, np.array([[7], [2], [5]]))
    batch = dataset.__getitems__([2, 0])
    assert batch["counts"].dtype == torch.float32
    assert batch["counts"].shape == (2, 1, 4, 4)
    assert batch["frame"].tolist() == [[5], [7]]
    np.testing.assert_array_equal(batch["counts"][:, 0].numpy(), frames[[5, 7]])
    assert dataset.frames is frames


def test_groups_of_several_frames_keep_their_order():
    dataset = GroupDataset(_frames(), np.array([[3, 1], [0, 9]]))
    batch = dataset[1]
    assert len(dataset) == 2
    assert batch["frame"].tolist() == [[0, 9]]
    np.testing.assert_array_equal(batch["counts"][0].numpy(), dataset.frames[[0, 9]])


def test_a_batch_is_a_copy():
    dataset = GroupDataset(_frames(np.float32), np.array([[0]]))
    before = dataset.frames.copy()
    dataset[0]["counts"].zero_()
    np.testing.assert_array_equal(dataset.frames, before)


def test_workers_can_receive_it():
    dataset = pickle.loads(pickle.dumps(GroupDataset(_frames(), np.array([[0], [1]]))))
    assert pickle.loads(pickle.dumps(as_is)) is as_is
    assert len(dataset) == 2


def test_offsets_go_with_their_groups_and_are_zero_where_there_are_none():
    offsets = np.arange(8.0).reshape(2, 2, 2)
    dataset = GroupDataset(_frames(), np.array([[3, 1], [0, 9]]), offsets)
    batch = dataset.__getitems__([1, 0])
    assert batch["offsets"].dtype == torch.float32
    np.testing.assert_array_equal(batch["offsets"].numpy(), offsets[[1, 0]])
    assert "labels" not in batch
    assert not GroupDataset(_frames(), np.array([[3, 1]]))[0]["offsets"].any()
