"""Batches that threads make ready: order, errors, and an end before the end."""

from __future__ import annotations

import threading

import pytest

from ptycho_torch.prediction.prefetch import prefetched


@pytest.mark.parametrize("n_threads", [1, 4])
@pytest.mark.parametrize("n_items", [0, 1, 50])
def test_results_come_in_order(n_threads, n_items):
    assert list(prefetched(lambda x: 2 * x, range(n_items), n_threads=n_threads)) == [
        2 * x for x in range(n_items)
    ]


def test_work_begins_before_it_is_asked_for_and_does_not_run_away():
    begun, seen = threading.Semaphore(0), []

    def make(item):
        seen.append(item)
        begun.release()
        return item

    results = prefetched(make, range(100), n_threads=2)
    assert next(results) == 0
    for _ in range(5):
        assert begun.acquire(timeout=10)
    assert len(seen) == 5
    results.close()
    assert len(seen) == 5


def test_an_error_is_raised_where_its_result_is_due():
    def make(item):
        if item == 3:
            raise ValueError("frame 3 cannot be read")
        return item

    results, got = prefetched(make, range(10), n_threads=2), []
    with pytest.raises(ValueError, match="frame 3"):
        got.extend(results)
    assert got == [0, 1, 2]


def test_no_thread_is_left_when_nobody_asks_for_more():
    results = prefetched(lambda x: x, range(100), n_threads=3)
    next(results)
    results.close()
    assert not any(thread.name.startswith("prefetch") for thread in threading.enumerate())
