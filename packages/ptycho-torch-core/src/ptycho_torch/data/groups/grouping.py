"""Groups of neighbouring scan positions, seen by the network as channels of one sample.

A group is ``C = gridsize ** 2`` different frames: a seed frame and ``C - 1`` of the frames nearest
to it. A group holds frame numbers, so frames are stored once however many groups they are in.

Which groups are made
    The frames to work on and the seeds are those of :func:`~ptycho_torch.data.groups.sampling.choose_frames`;
    neighbours come from the frames to work on, and from the scan of the seed. The pool of a seed is
    its nearest frames; its members are drawn from the pool with the seed of the random choice.

No group twice
    Two groups never hold the same set of frames. Where two seeds would make the same group, members
    are drawn again so that as many seeds as possible have a group of their own (a maximum matching
    between seeds and sets). With a pool of ``C`` frames or more every seed gets one: each seed has
    at least ``C`` sets to choose from and each set belongs to at most ``C`` seeds, so Hall's
    condition holds. With a pool of exactly ``C - 1`` a seed has one set only, and a shortage is
    filled with the groups of frames that were not chosen as seeds.

Oversampling
    Makes several distinct groups around a seed: first one for every frame, then a second one, and
    so on, each time another combination from the pool.
"""

from __future__ import annotations

import logging
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
from ptycho_torch.data.groups.sampling import Indices, choose_frames
from ptycho_torch.errors import DataError, ShapeError, fault

__all__ = ["Groups", "channel_order", "covering_groups", "make_groups"]

logger = logging.getLogger(__name__)

Floats = npt.NDArray[np.float64]

_MOST_COMBINATIONS = 2**62  # numbers of combinations are added in int64
_MOST_COUNTED = 2**22  # sets counted one by one for a message; beyond it the message states a bound


@dataclass(frozen=True, kw_only=True)
class Groups:
    """Groups of frames, in the order of their seeds.

    Attributes
    ----------
    frames
        int64, ``(n_groups, C)``: frame numbers, channels ordered as :func:`channel_order` says.
    seeds
        int64, ``(n_groups,)``: the frame each group was made around, one of its members.
    centres
        float64, ``(n_groups, 2)``, ``[y, x]`` in px: mean of the positions of the group.
    offsets
        float64, ``(n_groups, C, 2)``, ``[y, x]`` in px: position − centre.
    """

    frames: Indices
    seeds: Indices
    centres: Floats
    offsets: Floats

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def n_channels(self) -> int:
        """Frames per group, ``C``."""
        return int(self.frames.shape[1])


@dataclass(frozen=True)
class _Candidates:
    """Sets that could become groups: ``seed (m,)``, ``turn (m,)`` and ``members (m, C)``, ascending."""

    seed: Indices
    turn: Indices
    members: Indices


class _Neighbourhood:
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

    def candidates(self, seeds: Indices, n_turns: int) -> _Candidates:
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
        return _Candidates(members[:, 0].copy(), turn, np.sort(members, axis=1))

    def _nearest(self, rows: Indices) -> Indices:
        """Rows of the ``pool`` frames nearest to each of ``rows``, without itself, nearest first."""
        if self.pool == 0:
            return np.empty((len(rows), 0), dtype=np.int64)
        found = self._tree.query(self._points[rows], k=self.pool + 1)[1].reshape(len(rows), -1)
        # Among coincident positions the frame itself may come late or not at all: it is moved to
        # the end and the end is cut off.
        last = np.argsort(found == rows[:, None], axis=1, kind="stable")
        return np.take_along_axis(found, last, axis=1)[:, : self.pool].astype(np.int64)


def _match(candidates: _Candidates) -> Indices:
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


def _gather(parts: Sequence[_Candidates]) -> _Candidates:
    return _Candidates(
        np.concatenate([part.seed for part in parts]),
        np.concatenate([part.turn for part in parts]),
        np.concatenate([part.members for part in parts]),
    )


def _one_per_seed(
    scans: Sequence[_Neighbourhood], seeds: Indices, frames: Indices, wanted: int, priority: Indices
) -> _Candidates:
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


def _several_per_seed(
    scans: Sequence[_Neighbourhood], frames: Indices, wanted: int, priority: Indices
) -> _Candidates:
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


def _pick(candidates: _Candidates, rows: Indices) -> _Candidates:
    """The given rows in the order of their seeds."""
    rows = rows[np.lexsort((candidates.turn[rows], candidates.seed[rows]))]
    return _Candidates(candidates.seed[rows], candidates.turn[rows], candidates.members[rows])


def channel_order(positions: Floats) -> Indices:
    """Order of the channels of each group: rows from top to bottom, each from left to right.

    Positions are ranked by ``y`` and cut into ``g`` rows of ``g``; each row is ranked by ``x``. On a
    raster this is row-major order, and it stays so when positions jitter by less than half a step,
    which ranking by ``(y, x)`` alone would not. Ties in ``y`` fall back to ``x`` and the reverse;
    coincident positions keep the order in which they come.

    Parameters
    ----------
    positions
        Float, ``(n_groups, g * g, 2)``, ``[y, x]`` in px.

    Returns
    -------
    ndarray
        int64, ``(n_groups, g * g)``: channel ``c`` is the position at index ``[:, c]`` of it.

    Raises
    ------
    ShapeError
        If the groups do not have a square number of positions.

    Examples
    --------
    >>> channel_order(np.array([[[9.0, 0.2], [0.1, 9.0], [0.0, 9.5], [0.3, 0.0]]]))[0].tolist()
    [1, 2, 3, 0]
    """
    side = math.isqrt(positions.shape[1]) if positions.ndim == 3 else 0
    if positions.ndim != 3 or positions.shape[2] != 2 or side * side != positions.shape[1]:
        raise ShapeError("positions", "(n_groups, g * g, 2)", positions.shape)
    y, x = positions[..., 0], positions[..., 1]
    order = np.lexsort((x, y), axis=-1).reshape(len(positions), side, side)
    flat = order.reshape(len(positions), -1)
    y, x = (np.take_along_axis(a, flat, axis=1).reshape(order.shape) for a in (y, x))
    within = np.lexsort((y, x), axis=-1)
    return np.take_along_axis(order, within, axis=2).reshape(len(positions), -1).astype(np.int64)


def _check(positions: Floats, scan_index: Indices, gridsize: int, n_groups: int | None, pool: int) -> None:
    if positions.ndim != 2 or positions.shape[1] != 2 or len(positions) == 0:
        raise ShapeError("positions", "(n, 2) with n >= 1, [y, x] in px", positions.shape)
    if not np.isfinite(positions).all():
        bad = np.flatnonzero(~np.isfinite(positions).all(axis=1))
        raise DataError(
            fault("positions", f"{len(bad)} are not finite, the first at index {bad[0]}; leave them out")
        )
    if scan_index.shape != (len(positions),):
        raise ShapeError("scan_index", f"({len(positions)},), one per position", scan_index.shape)
    problems = []
    if gridsize < 1:
        problems.append(Problem("gridsize", gridsize, "at least 1"))
    if n_groups is not None and n_groups < 1:
        problems.append(Problem("n_groups", n_groups, "at least 1, or none for all there are"))
    if pool < gridsize**2 - 1:
        expected = f"at least {gridsize**2 - 1}, because a group is {gridsize**2} frames"
        problems.append(Problem("neighbor_count", pool, expected, "raise it or lower gridsize"))
    if problems:
        raise ConfigError(problems)


def _too_many(wanted: int, found: str, oversampling: bool) -> ConfigError:
    what = "distinct groups there are" if oversampling else "distinct groups, one per frame"
    hint = "use none for one per frame" + ("" if oversampling else ", or oversampling for several per frame")
    return ConfigError(Problem("n_groups", wanted, f"at most {found}, the {what}", hint))


def make_groups(
    positions: Floats,
    *,
    gridsize: int,
    n_groups: int | None,
    neighbor_count: int,
    seed: int,
    sequential: bool = False,
    n_subsample: int | None = None,
    oversampling: bool = False,
    pool_size: int | None = None,
    scan_index: npt.ArrayLike | None = None,
) -> Groups:
    """Make groups of neighbouring frames.

    Parameters
    ----------
    positions
        float64, ``(n, 2)``, ``[y, x]`` in px.
    gridsize
        ``g``: a group is ``g * g`` frames.
    n_groups
        How many; ``None`` makes one per frame, as far as they differ.
    neighbor_count
        Nearest frames, the seed not counted, from which members are drawn.
    seed
        Seed of every random choice.
    sequential
        True: seeds and the ``n_subsample`` frames are the first in scan order; members are drawn
        at random in either case.
    n_subsample
        First draw this many frames; neither seeds nor members come from the others.
    oversampling
        Allow several distinct groups around one seed where ``n_groups`` asks for more than one per
        frame. Without that need it changes nothing.
    pool_size
        Takes the place of ``neighbor_count`` as the number of nearest frames, if given.
    scan_index
        Integer, ``(n,)``: the scan of each frame; groups never mix scans. One scan if not given.

    Returns
    -------
    Groups
        In the order of their seeds. With ``gridsize = 1`` the frames are those that
        :func:`~ptycho_torch.data.groups.sampling.choose_frames` chooses.

    Raises
    ------
    ConfigError
        If more groups are asked for than exist (the message says how many there are), if the pool
        or every scan is too small for a group, or if more frames are to be drawn than exist.
    DataError, ShapeError
        If a position is not finite, or an array has the wrong shape.
    """
    positions = np.asarray(positions, dtype=np.float64)
    scan = np.zeros(len(positions), np.int64) if scan_index is None else np.asarray(scan_index)
    pool = neighbor_count if pool_size is None else pool_size
    _check(positions, scan, gridsize, n_groups, pool)
    frames = choose_frames(len(positions), None, n_subsample=n_subsample, sequential=sequential, seed=seed)
    rng = np.random.default_rng([seed, 1])
    scans = _neighbourhoods(positions, frames, scan, pool, gridsize, rng)
    wanted = len(frames) if n_groups is None else n_groups
    n_seeds = min(wanted, len(frames))
    seeds = choose_frames(len(positions), n_seeds, n_subsample=n_subsample, sequential=sequential, seed=seed)
    priority = np.arange(len(positions)) if sequential else rng.permutation(len(positions))
    made = _one_per_seed(scans, seeds, frames, wanted, priority)
    if oversampling and n_groups is not None and len(made.seed) < n_groups:
        most = sum(scan.n_combinations * len(scan.frames) for scan in scans)
        if n_groups > most > _MOST_COUNTED:
            raise _too_many(n_groups, f"about {most}", oversampling)
        made = _several_per_seed(scans, frames, n_groups, priority)
    if n_groups is not None and len(made.seed) < n_groups:
        raise _too_many(n_groups, str(len(made.seed)), oversampling)
    order = channel_order(positions[made.members])
    members = np.take_along_axis(made.members, order, axis=1)
    centres = positions[members].mean(axis=1)
    offsets = positions[members] - centres[:, None]
    return Groups(frames=members, seeds=made.seed, centres=centres, offsets=offsets)


def _neighbourhoods(
    positions: Floats, frames: Indices, scan: npt.NDArray, pool: int, gridsize: int, rng: np.random.Generator
) -> list[_Neighbourhood]:
    """One neighbourhood per scan that has enough frames for a group."""
    size = gridsize**2
    order = np.argsort(scan[frames], kind="stable")
    _, starts = np.unique(scan[frames][order], return_index=True)
    parts = np.split(frames[order], starts[1:])
    large = [part for part in parts if len(part) >= size]
    if not large:
        most = max(len(part) for part in parts)
        expected = f"groups that fit into a scan, of which the largest has {most} frames"
        raise ConfigError(Problem("gridsize", gridsize, expected, f"a group is {size} frames of one scan"))
    lost = len(frames) - sum(len(part) for part in large)
    if lost:
        logger.warning("%d frames are in scans of fewer than %d frames and make no group", lost, size)
    return [_Neighbourhood(positions, part, pool, size, rng) for part in large]


def covering_groups(
    positions: npt.NDArray[np.float64],
    n_channels: int,
    *,
    scan_index: npt.NDArray[np.int64] | None = None,
) -> Groups:
    """One group around every frame, made of its nearest neighbours.

    Parameters
    ----------
    positions
        Float64, ``(n, 2)``, ``[y, x]`` in px.
    n_channels
        Frames per group, a square number.
    scan_index
        int64, ``(n,)``: groups never mix scans.

    Raises
    ------
    ConfigError
        If there are fewer frames than one group needs.
    """
    return make_groups(
        positions,
        gridsize=math.isqrt(n_channels),
        n_groups=None,
        # One more than a group needs: then every frame has a group of its own.
        neighbor_count=n_channels,
        seed=0,
        scan_index=scan_index,
    )
