"""Batches of one order, dealt out to processes; batches of several parts are never mixed."""

from __future__ import annotations

from itertools import accumulate, chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptycho_torch.lightning.batches import SharedBatches

PARTS = st.lists(st.integers(0, 30), min_size=1, max_size=4).filter(any)
SIZES = st.integers(1, 12)
SEEDS = st.none() | st.integers(0, 2**31)


def _part_of(row, parts):
    return next(number for number, end in enumerate(accumulate(parts)) if row < end)


@pytest.mark.rule("RUN-061")
@given(PARTS, SIZES, st.integers(1, 5), SEEDS, st.integers(0, 3))
def test_processes_share_the_batches_of_one_order(parts, batch_size, n_processes, seed, epoch):
    def dealt(**place):
        sampler = SharedBatches(parts, batch_size, seed=seed, **place)
        sampler.set_epoch(epoch)
        return sampler, list(sampler)

    whole, expected = dealt()
    shares = [dealt(process=process, n_processes=n_processes) for process in range(n_processes)]
    assert {len(batches) for _, batches in shares} == {len(whole)} == {len(expected)}
    for number, rows in enumerate(expected):
        real = []
        for sampler, batches in shares:
            mine, total = sampler.rows_of(number)
            assert total == len(rows)
            # One that has no part repeats a row, so that all take the same steps.
            assert len(batches[number]) == max(mine, 1)
            real += batches[number][:mine]
        assert sorted(real) == sorted(rows)


@pytest.mark.rule("DATA-091")
@given(PARTS, SIZES, SEEDS)
def test_every_row_comes_once_per_epoch_and_no_batch_holds_rows_of_two_parts(parts, batch_size, seed):
    sampler = SharedBatches(parts, batch_size, seed=seed)
    for _ in range(2):
        batches = list(sampler)
        assert sorted(chain(*batches)) == list(range(sum(parts)))
        assert all(len({_part_of(row, parts) for row in batch}) == 1 for batch in batches)
        assert [len(batch) for batch in batches] == [sampler.rows_of(i)[1] for i in range(len(sampler))]


def test_parts_take_turns_in_a_new_order_each_epoch():
    parts = (11, 4, 9)
    sampler = SharedBatches(parts, 4, seed=7)
    orders = [[_part_of(batch[0], parts) for batch in sampler] for _ in range(6)]
    assert len(set(map(tuple, orders))) > 1
    assert any(order != sorted(order) for order in orders)


def test_the_order_is_that_of_the_epoch_and_not_of_what_came_before():
    first = SharedBatches((20,), 6, seed=1)
    orders = [list(first) for _ in range(3)]
    assert orders[0] != orders[1] != orders[2]
    second = SharedBatches((20,), 6, seed=1)
    second.set_epoch(2)
    # Made and dropped, as loaders with persistent workers do.
    iter(second)
    assert list(second) == orders[2]


def test_without_a_seed_rows_come_as_they_are():
    plain = SharedBatches((5,), 2, seed=None)
    assert list(plain) == [[0, 1], [2, 3], [4]] == list(plain)
