"""Sets of neighbouring frames that could become groups, and the choice among them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching
from scipy.spatial import cKDTree

from ptycho_config.errors import ConfigError, Problem
from ptycho_torch.data.groups.combinations import combinations_by_rank, set_numbers
from ptycho_torch.data.groups.sampling import Indices

__all__ = ["Candidates", "Neighbourhood", "one_per_seed", "several_per_seed"]

Floats = npt.NDArray[np.float64]

_MOST_COMBINATIONS = 2**62  # numbers of combinations are added in int64


@dataclass(frozen=True)
class Candidates:
    """Sets that could become groups: ``seed (m,)``, ``turn (m,)`` and ``members (m, C)``, ascending."""

    seed: Indices
    turn: Indices
    members: Indices


class Neighbourhood:
    """The frames of one scan and the sets that can be made around each of them.

    The combinations of a pool are numbered; a frame starts at a random number and goes on in steps that
    share no factor with their count, so its sets differ from each other until all have been seen.
    """

    def __init__(
        self, positions: Floats, frames: Indices, pool: int, size: int, rng: np.random.Generator
    ) -> None:
        self.frames = frames
        self.size = size
        self.pool = min(pool, len(frames) - 1)
        self.n_combinations = math.comb(self.pool, size - 1)
        if self.n_combinations > _MOST_COMBINATIONS:
            expected = f"a pool with at most 2**62 combinations of {size - 1} frames"
            raise ConfigError(Problem("neighbor_pool_size", pool, expected, "use a smaller pool"))
        self._points = positions[frames]
        self._tree = cKDTree(self._points)
        self._start = rng.integers(0, self.n_combinations, size=len(frames))
        stride = max(1, round(0.618 * self.n_combinations))
        while math.gcd(stride, self.n_combinations) != 1:
            stride += 1
        self._stride = stride

    def candidates(self, seeds: Indices, n_turns: int) -> Candidates:
        """Up to ``n_turns`` different sets around each of ``seeds``, all first ones first."""
        rows = np.flatnonzero(np.isin(self.frames, seeds))
        n_turns = min(n_turns, self.n_combinations)
        steps = np.array(
            [turn * self._stride % self.n_combinations for turn in range(n_turns)], dtype=np.int64
        )
        ranks = (self._start[rows] + steps[:, None]) % self.n_combinations
        slots = combinations_by_rank(ranks.reshape(-1), self.pool, self.size - 1)
        who = np.tile(np.arange(len(rows)), n_turns)
        members = np.empty((len(slots), self.size), dtype=np.int64)
        members[:, 0] = self.frames[rows][who]
        members[:, 1:] = self.frames[self._nearest(rows)[who[:, None], slots]]
        turn = np.repeat(np.arange(n_turns, dtype=np.int64), len(rows))
        return Candidates(members[:, 0].copy(), turn, np.sort(members, axis=1))

    def _nearest(self, rows: Indices) -> Indices:
        """Rows of the ``pool`` frames nearest to each of ``rows``, without itself, nearest first."""
        if self.pool == 0:
            return np.empty((len(rows), 0), dtype=np.int64)
        found = self._tree.query(self._points[rows], k=self.pool + 1)[1].reshape(len(rows), -1)
        # Among coincident positions the frame itself may come late or not at all: it is moved to
        # the end and the end is cut off.
        last = np.argsort(found == rows[:, None], axis=1, kind="stable")
        return np.take_along_axis(found, last, axis=1)[:, : self.pool].astype(np.int64)


def _match(candidates: Candidates) -> Indices:
    """Rows of ``candidates`` such that as many seeds as possible have one, and no set comes twice."""
    if len(candidates.seed) == 0:
        return np.empty(0, dtype=np.int64)
    numbers = set_numbers(candidates.members)
    seeds, who = np.unique(candidates.seed, return_inverse=True)
    # Sorted by seed, then turn: the order in which the matching tries the sets.
    order = np.lexsort((candidates.turn, who))
    ends = np.concatenate([[0], np.cumsum(np.bincount(who))]).astype(np.int32)
    shape = (len(seeds), int(numbers.max()) + 1)
    sets = numbers[order].astype(np.int32)
    graph = csr_array((np.ones(len(order), dtype=np.int8), sets, ends), shape=shape)
    # The matching may reorder the arrays of its argument, so what is compared is our own copy.
    matched = maximum_bipartite_matching(graph.copy(), perm_type="column")
    hit = np.flatnonzero(sets == matched[who[order]])
    # Different turns of a seed are different sets, so a seed hits once at most.
    return order[hit]


def _gather(parts: Sequence[Candidates]) -> Candidates:
    return Candidates(
        np.concatenate([part.seed for part in parts]),
        np.concatenate([part.turn for part in parts]),
        np.concatenate([part.members for part in parts]),
    )


def one_per_seed(
    scans: Sequence[Neighbourhood], seeds: Indices, frames: Indices, wanted: int, priority: Indices
) -> Candidates:
    """A group for each seed; a shortage is filled with groups of other frames, in order of priority."""
    size = scans[0].size
    candidates = _gather([scan.candidates(seeds, size) for scan in scans])
    chosen = _match(candidates)
    if len(chosen) < wanted and len(seeds) < len(frames):
        candidates = _gather([scan.candidates(frames, size) for scan in scans])
        chosen = _match(candidates)
        owner = candidates.seed[chosen]
        chosen = chosen[np.lexsort((priority[owner], ~np.isin(owner, seeds)))]
    return _pick(candidates, chosen[:wanted])


def several_per_seed(
    scans: Sequence[Neighbourhood], frames: Indices, wanted: int, priority: Indices
) -> Candidates:
    """Distinct groups around every frame: all first ones, then all second ones, up to ``wanted``."""
    most_turns = max(scan.n_combinations for scan in scans)
    n_turns = min(most_turns, -(-wanted // len(frames)))
    while True:
        candidates = _gather([scan.candidates(frames, n_turns) for scan in scans])
        order = np.lexsort((priority[candidates.seed], candidates.turn))
        first = np.unique(set_numbers(candidates.members[order]), return_index=True)[1]
        if len(first) >= wanted or n_turns >= most_turns:
            return _pick(candidates, order[np.sort(first)[:wanted]])
        n_turns = min(most_turns, 2 * n_turns)


def _pick(candidates: Candidates, rows: Indices) -> Candidates:
    """The given rows in the order of their seeds."""
    rows = rows[np.lexsort((candidates.turn[rows], candidates.seed[rows]))]
    return Candidates(candidates.seed[rows], candidates.turn[rows], candidates.members[rows])
