"""Batches that are made ready by threads while earlier ones are worked on."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

__all__ = ["prefetched"]

Item = TypeVar("Item")
Made = TypeVar("Made")


def prefetched(make: Callable[[Item], Made], items: Iterable[Item], *, n_threads: int) -> Iterator[Made]:
    """What ``make`` makes of each item, in order, begun before it is asked for.

    NumPy lets other threads run while it copies and converts arrays, so threads are enough, and nothing has
    to be sent to another process. At most two results per thread wait.

    Parameters
    ----------
    make
        Called in a thread. What it raises is raised where its result is asked for.
    items
        What it is called with.
    n_threads
        How many calls run at once.
    """
    pool = ThreadPoolExecutor(n_threads, thread_name_prefix="prefetch")
    waiting: deque[Future[Made]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(make, item))
            if len(waiting) > 2 * n_threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        # Also when nobody asks for more.
        pool.shutdown(cancel_futures=True)
