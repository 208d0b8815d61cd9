"""Batches: seeded, complete, and the same however they are loaded."""

from __future__ import annotations

import multiprocessing
import time
from itertools import chain

import numpy as np
import pytest
import torch

from ptycho_torch.data.groups.dataset import GroupDataset
from ptycho_torch.lightning import ScanDataModule


def _module(cpu, *, n_validation=4, seed=0, **execution):
    frames = np.arange(20 * 16, dtype=np.uint16).reshape(20, 4, 4)
    train = GroupDataset(frames, np.arange(16)[:, None])
    validation = GroupDataset(frames, np.arange(16, 16 + n_validation)[:, None])
    return ScanDataModule(train, validation, batch_size=6, execution=cpu(**execution), seed=seed)


def _order(loader):
    return [batch["frame"].flatten().tolist() for batch in loader]


def test_every_frame_comes_once_per_epoch_in_a_new_order(cpu):
    loader = _module(cpu).train_dataloader()
    first, second = _order(loader), _order(loader)
    assert [len(batch) for batch in first] == [6, 6, 4]
    assert sorted(chain(*first)) == sorted(chain(*second)) == list(range(16))
    assert first != second


def test_the_order_depends_on_the_seed_and_not_on_the_global_one(cpu):
    torch.manual_seed(1)
    first = _order(_module(cpu, seed=5).train_dataloader())
    torch.manual_seed(2)
    assert _order(_module(cpu, seed=5).train_dataloader()) == first
    assert _order(_module(cpu, seed=6).train_dataloader()) != first


def test_loading_leaves_the_global_random_state_alone(cpu):
    module = _module(cpu)
    before = torch.get_rng_state()
    _order(module.train_dataloader())
    _order(module.val_dataloader())
    assert torch.equal(torch.get_rng_state(), before)


def test_validation_comes_in_order_or_not_at_all(cpu):
    assert _order(_module(cpu).val_dataloader()) == [[16, 17, 18, 19]]
    assert _module(cpu, n_validation=0).val_dataloader() == []


@pytest.mark.rule("RUN-019")
# torch says so of two workers on a machine with one processor; how many there are does not matter here.
@pytest.mark.filterwarnings("ignore:This DataLoader will create 2 worker processes:UserWarning")
def test_workers_load_the_same_batches_in_other_processes(cpu, monkeypatch):
    alone = _module(cpu).train_dataloader()
    expected = [list(alone) for _ in range(2)]

    def refuse(self, indices):
        raise AssertionError("a batch was loaded in the main process")

    # Workers import the class anew and do not see this.
    monkeypatch.setattr(GroupDataset, "__getitems__", refuse)
    settings = {"num_workers": 2, "persistent_workers": True, "prefetch_factor": 1}
    together = _module(cpu, **settings).train_dataloader()
    for ours in expected:
        theirs = list(together)
        assert len(multiprocessing.active_children()) == 2
        for mine, other in zip(ours, theirs, strict=True):
            assert torch.equal(mine["counts"], other["counts"])
            assert torch.equal(mine["frame"], other["frame"])
    with pytest.raises(AssertionError, match="main process"):
        list(alone)


@pytest.mark.rule("RUN-081")
@pytest.mark.parametrize("stated", [{}, {"persistent_workers": True}, {"persistent_workers": False}])
def test_loading_processes_stay_between_epochs_unless_told_otherwise(cpu, stated):
    loader = _module(cpu, num_workers=1, prefetch_factor=1, **stated).train_dataloader()

    def worker():
        batches = iter(loader)
        next(batches)
        [process] = multiprocessing.active_children()
        list(batches)
        return process.pid

    assert (worker() == worker()) is stated.get("persistent_workers", True)


@pytest.mark.parametrize("ahead", [1, 3])
def test_so_many_batches_are_prepared_ahead(cpu, ahead):
    loader = _module(cpu, num_workers=1, prefetch_factor=ahead).train_dataloader()
    batches = iter(loader)
    ready = batches._worker_result_queue
    # A process that starts on one busy processor takes its time.
    deadline = time.monotonic() + 300
    while ready.qsize() < ahead and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.2)
    assert ready.qsize() == ahead
    assert len(list(batches)) == 3


def test_page_locked_memory_without_a_gpu_is_said_to_be_none(cpu):
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.warns(UserWarning, match="pin_memory"):
        _order(_module(cpu, pin_memory=True).train_dataloader())


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_batches_lie_in_page_locked_memory(cpu):
    for batch in _module(cpu, pin_memory=True).train_dataloader():
        assert batch["counts"].is_pinned()
