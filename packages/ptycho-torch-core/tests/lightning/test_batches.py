"""Batches of one order, dealt out to processes."""

from __future__ import annotations

from itertools import chain

import pytest

from ptycho_torch.lightning.batches import SharedBatches


def _all(n_rows, batch_size, n_processes, **more):
    return [
        SharedBatches((n_rows,), batch_size, process=process, n_processes=n_processes, **more)
        for process in range(n_processes)
    ]


@pytest.mark.rule("RUN-061")
@pytest.mark.parametrize(
    ("n_rows", "batch_size", "n_processes"), [(25, 8, 2), (24, 8, 3), (7, 2, 4), (1, 1, 2)]
)
def test_processes_share_the_batches_of_one_order(n_rows, batch_size, n_processes):
    (whole,) = _all(n_rows, batch_size, 1, seed=3)
    expected = list(whole)
    assert sorted(chain(*expected)) == list(range(n_rows))
    parts = _all(n_rows, batch_size, n_processes, seed=3)
    dealt = [list(part) for part in parts]
    assert {len(batches) for batches in dealt} == {len(whole)}
    for number, rows in enumerate(expected):
        real = []
        for part, batches in zip(parts, dealt, strict=True):
            mine, total = part.rows_of(number)
            assert total == len(rows)
            # One that has no part repeats a row, so that all take the same steps.
            assert len(batches[number]) == max(mine, 1)
            real += batches[number][:mine]
        assert sorted(real) == sorted(rows)


def test_the_order_is_that_of_the_epoch_and_not_of_what_came_before():
    (first,) = _all(20, 6, 1, seed=1)
    orders = [list(first) for _ in range(3)]
    assert orders[0] != orders[1] != orders[2]
    (second,) = _all(20, 6, 1, seed=1)
    second.set_epoch(2)
    # Made and dropped, as loaders with persistent workers do.
    iter(second)
    assert list(second) == orders[2]


def test_without_a_seed_rows_come_as_they_are():
    (plain,) = _all(5, 2, 1, seed=None)
    assert list(plain) == [[0, 1], [2, 3], [4]] == list(plain)
