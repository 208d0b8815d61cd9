"""Batches of several parts: never mixed, every row once, the same sizes in every epoch and process."""

from __future__ import annotations

import numpy as np
import pytest

from ptycho_torch.lightning.batches import SharedBatches

PARTS = (11, 4, 9)
ENDS = np.cumsum(PARTS)


def _batches(**changes):
    return SharedBatches(PARTS, 4, **{"seed": 7, **changes})


@pytest.mark.rule("DATA-091")
def test_no_batch_holds_rows_of_two_parts():
    for batch in _batches():
        assert len(set(np.searchsorted(ENDS, batch, side="right"))) == 1


@pytest.mark.parametrize("seed", [None, 7])
def test_every_row_comes_once(seed):
    rows = [row for batch in _batches(seed=seed) for row in batch]
    assert sorted(rows) == list(range(24))


def test_parts_take_turns_in_a_new_order_each_epoch():
    sampler = _batches()
    orders = [[int(np.searchsorted(ENDS, batch[0], side="right")) for batch in sampler] for _ in range(6)]
    assert len(set(map(tuple, orders))) > 1
    assert any(order != sorted(order) for order in orders)


def test_sizes_are_those_that_are_announced():
    sampler = _batches()
    for _ in range(3):
        sizes = [len(batch) for batch in sampler]
        assert sizes == [sampler.rows_of(i)[1] for i in range(len(sampler))]


def test_processes_share_every_batch():
    whole, shares = _batches(), [_batches(process=i, n_processes=2) for i in range(2)]
    for number, (batch, *parts) in enumerate(zip(whole, *shares, strict=True)):
        mine = [part[: share.rows_of(number)[0]] for part, share in zip(parts, shares, strict=True)]
        assert sorted(mine[0] + mine[1]) == sorted(batch)
