"""Small sets of whole numbers: made by their number, compared by their content."""

from __future__ import annotations

import math

import numpy as np

from ptycho_torch.data.groups.sampling import Indices

__all__ = ["combinations_by_rank", "set_numbers"]


def combinations_by_rank(ranks: Indices, n_items: int, n_chosen: int) -> Indices:
    """Combinations by number in lexicographic order: ``(len(ranks), n_chosen)`` ascending items."""
    n_combinations = math.comb(n_items, n_chosen)
    if n_combinations < len(ranks):
        return combinations_by_rank(np.arange(n_combinations, dtype=np.int64), n_items, n_chosen)[ranks]
    combinations = np.zeros((len(ranks), n_chosen), dtype=np.int64)
    missing = np.full(len(ranks), n_chosen)
    left = ranks.copy()
    for item in range(n_items):
        # How many combinations go on with this item, by the number of items still missing.
        counts = [math.comb(n_items - 1 - item, k - 1) if k else 0 for k in range(n_chosen + 1)]
        with_item = np.array(counts, dtype=np.int64)[missing]
        taken = np.flatnonzero(left < with_item)
        left -= np.where(left < with_item, 0, with_item)
        combinations[taken, n_chosen - missing[taken]] = item
        missing[taken] -= 1
    return combinations


def set_numbers(members: Indices) -> Indices:
    """One number per row, equal for equal rows and different for different rows; ``(m,)``."""
    bits = max(1, int(members.max()).bit_length())
    width = max(1, 62 // bits)
    numbers = np.zeros(len(members), dtype=np.int64)
    for first in range(0, members.shape[1], width):
        packed = np.zeros(len(members), dtype=np.int64)
        for column in members[:, first : first + width].T:
            packed = (packed << bits) | column
        distinct, packed = np.unique(packed, return_inverse=True)
        # Both factors are at most m, so the product stays far inside int64.
        numbers = np.unique(numbers * len(distinct) + packed.reshape(-1), return_inverse=True)[1].reshape(-1)
    return numbers
