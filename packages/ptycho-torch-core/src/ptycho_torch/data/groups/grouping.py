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
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ptycho_config.errors import ConfigError, Problem
from ptycho_torch.data.groups.candidates import Neighbourhood, one_per_seed, several_per_seed
from ptycho_torch.data.groups.sampling import Indices, choose_frames
from ptycho_torch.errors import DataError, ShapeError, fault

__all__ = ["Groups", "channel_order", "covering_groups", "make_groups"]

logger = logging.getLogger(__name__)

Floats = npt.NDArray[np.float64]

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
    made = one_per_seed(scans, seeds, frames, wanted, priority)
    if oversampling and n_groups is not None and len(made.seed) < n_groups:
        most = sum(scan.n_combinations * len(scan.frames) for scan in scans)
        if n_groups > most > _MOST_COUNTED:
            raise _too_many(n_groups, f"about {most}", oversampling)
        made = several_per_seed(scans, frames, n_groups, priority)
    if n_groups is not None and len(made.seed) < n_groups:
        raise _too_many(n_groups, str(len(made.seed)), oversampling)
    order = channel_order(positions[made.members])
    members = np.take_along_axis(made.members, order, axis=1)
    centres = positions[members].mean(axis=1)
    offsets = positions[members] - centres[:, None]
    return Groups(frames=members, seeds=made.seed, centres=centres, offsets=offsets)


def _neighbourhoods(
    positions: Floats, frames: Indices, scan: npt.NDArray, pool: int, gridsize: int, rng: np.random.Generator
) -> list[Neighbourhood]:
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
    return [Neighbourhood(positions, part, pool, size, rng) for part in large]


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
