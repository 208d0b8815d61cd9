"""Rules that hold for every grouping of scan positions."""

from __future__ import annotations

import math
from itertools import combinations, pairwise

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from ptycho_config.errors import ConfigError
from ptycho_torch.data.groups.grouping import channel_order, make_groups
from ptycho_torch.data.groups.sampling import choose_frames
from ptycho_torch.errors import DataError, ShapeError


def raster(height, width, step=4.0):
    return np.stack(np.divmod(np.arange(height * width), width), axis=1) * step


def scans():
    rng = np.random.default_rng(5)
    clusters = rng.uniform(0, 500, (12, 2)).repeat(15, axis=0) + rng.normal(size=(180, 2))
    return {
        "random": rng.uniform(0, 100, (200, 2)),
        "raster": raster(13, 15),
        "jittered raster": raster(12, 12) + rng.uniform(-1, 1, (144, 2)),
        "clusters": clusters,
        "one line": np.stack([np.zeros(60), np.arange(60.0)], axis=1),
        "all in one place": np.full((40, 2), 7.0),
        "pairs in one place": rng.uniform(0, 50, (40, 2)).repeat(2, axis=0),
        "few": rng.uniform(0, 10, (10, 2)),
    }


SCANS = scans()
every_scan = pytest.mark.parametrize("name", SCANS)
every_size = pytest.mark.parametrize(("gridsize", "pool"), [(1, 1), (2, 3), (2, 4), (2, 7), (3, 8), (3, 9)])


def sets_of(groups):
    return [frozenset(row) for row in groups.frames.tolist()]


def distance_ranks(positions, groups, members=None):
    """Among the frames allowed, how many are strictly nearer to the seed than its farthest member."""
    members = np.arange(len(positions)) if members is None else members
    nearer = []
    for seed, row in zip(groups.seeds, groups.frames, strict=True):
        distance = np.linalg.norm(positions[members] - positions[seed], axis=1)
        others = distance[members != seed]
        farthest = np.linalg.norm(positions[row] - positions[seed], axis=1).max()
        nearer.append((others < farthest - 1e-9).sum())
    return np.array(nearer)


@pytest.mark.rule("DATA-070")
@every_scan
@every_size
@pytest.mark.parametrize("sequential", [True, False])
def test_group_rules(name, gridsize, pool, sequential):
    positions = SCANS[name]
    groups = make_groups(
        positions, gridsize=gridsize, n_groups=None, neighbor_count=pool, seed=3, sequential=sequential
    )
    size = gridsize**2
    assert groups.frames.dtype == groups.seeds.dtype == np.int64
    assert groups.frames.shape == (len(groups), size)
    assert groups.n_channels == size
    # The seed is a member, and no frame comes twice in a group.
    assert (groups.frames == groups.seeds[:, None]).sum(axis=1).tolist() == [1] * len(groups)
    assert all(len(s) == size for s in sets_of(groups))
    # No set comes twice, and no seed comes twice.
    assert len(set(sets_of(groups))) == len(groups)
    assert len(set(groups.seeds.tolist())) == len(groups)
    assert (np.diff(groups.seeds) > 0).all()
    # Members are among the nearest: fewer than `pool` frames are strictly nearer than the farthest.
    assert (distance_ranks(positions, groups) < max(pool, 1)).all()
    # Centre and offset.
    assert_allclose(groups.centres, positions[groups.frames].mean(axis=1), atol=1e-12)
    assert_allclose(groups.offsets + groups.centres[:, None], positions[groups.frames], atol=1e-12)
    assert_allclose(groups.offsets.sum(axis=1), 0, atol=1e-9)
    # Channels are in canonical order, up to frames that coincide.
    again = channel_order(positions[groups.frames])
    reordered = np.take_along_axis(positions[groups.frames], again[..., None], axis=1)
    assert_array_equal(reordered, positions[groups.frames])


@every_scan
@every_size
def test_every_frame_gets_its_own_group_if_the_pool_allows(name, gridsize, pool):
    positions = SCANS[name]
    groups = make_groups(positions, gridsize=gridsize, n_groups=None, neighbor_count=pool, seed=0)
    if min(pool, len(positions) - 1) >= gridsize**2:
        assert_array_equal(groups.seeds, np.arange(len(positions)))
    elif gridsize == 1:
        assert_array_equal(groups.frames[:, 0], np.arange(len(positions)))
    else:
        assert 1 <= len(groups) <= len(positions)


@every_scan
@pytest.mark.parametrize("sequential", [True, False])
@pytest.mark.parametrize("n_subsample", [None, 8])
def test_gridsize_one_is_the_choice_of_frames(name, sequential, n_subsample):
    positions = SCANS[name]
    for n_groups in (None, 1, 7):
        groups = make_groups(
            positions,
            gridsize=1,
            n_groups=n_groups,
            neighbor_count=4,
            seed=11,
            sequential=sequential,
            n_subsample=n_subsample,
        )
        chosen = choose_frames(
            len(positions), n_groups, n_subsample=n_subsample, sequential=sequential, seed=11
        )
        assert_array_equal(groups.frames[:, 0], chosen)
        assert_array_equal(groups.centres, positions[chosen])
        assert_array_equal(groups.offsets, np.zeros((len(chosen), 1, 2)))


@every_scan
def test_seeds_are_the_chosen_frames(name):
    positions = SCANS[name]
    groups = make_groups(positions, gridsize=2, n_groups=6, neighbor_count=5, seed=2)
    assert_array_equal(groups.seeds, choose_frames(len(positions), 6, seed=2))


@pytest.mark.rule("DATA-073")
@every_scan
@every_size
def test_the_number_in_the_error_is_the_number_there_is(name, gridsize, pool):
    positions = SCANS[name]
    options = {"gridsize": gridsize, "neighbor_count": pool, "seed": 4}
    there_are = len(make_groups(positions, n_groups=None, **options))
    assert len(make_groups(positions, n_groups=there_are, **options)) == there_are
    for too_many in (there_are + 1, 10 * len(positions)):
        with pytest.raises(ConfigError) as caught:
            make_groups(positions, n_groups=too_many, **options)
        [problem] = caught.value.problems
        assert (problem.field, problem.value) == ("n_groups", too_many)
        assert str(there_are) in problem.expected


def all_groups(positions, size, pool):
    """Every set there is, by brute force; for positions without ties."""
    found = set()
    for seed in range(len(positions)):
        distance = np.linalg.norm(positions - positions[seed], axis=1)
        distance[seed] = -1
        nearest = np.argsort(distance)[1 : pool + 1].tolist()
        found |= {frozenset({seed, *chosen}) for chosen in combinations(nearest, size - 1)}
    return found


@pytest.mark.parametrize(
    ("gridsize", "pool", "n"), [(2, 3, 30), (2, 6, 30), (2, 8, 12), (3, 9, 14), (1, 3, 9)]
)
def test_oversampling_reaches_every_group_and_no_more(gridsize, pool, n):
    positions = np.random.default_rng(n).uniform(0, 100, (n, 2))
    expected = all_groups(positions, gridsize**2, pool)
    options = {"gridsize": gridsize, "neighbor_count": pool, "seed": 1, "oversampling": True}
    groups = make_groups(positions, n_groups=len(expected), **options)
    assert len(groups) == len(expected)
    assert set(sets_of(groups)) == expected
    with pytest.raises(ConfigError, check=lambda error: str(len(expected)) in error.problems[0].expected):
        make_groups(positions, n_groups=len(expected) + 1, **options)


@every_scan
@pytest.mark.parametrize("factor", [1.5, 3])
def test_oversampled_groups_are_distinct_and_spread_over_the_seeds(name, factor):
    positions = SCANS[name]
    wanted = int(factor * len(positions))
    groups = make_groups(positions, gridsize=2, n_groups=wanted, neighbor_count=7, seed=8, oversampling=True)
    assert len(set(sets_of(groups))) == wanted
    assert (groups.frames == groups.seeds[:, None]).any(axis=1).all()
    assert (distance_ranks(positions, groups) < 7).all()
    assert (np.diff(groups.seeds) >= 0).all()
    per_seed = np.bincount(groups.seeds, minlength=len(positions))
    assert per_seed.max() <= 2 * math.ceil(factor) + 2
    # In the last turn some seeds get one more; those are not the first ones of the scan.
    if name == "random" and factor == 1.5:
        extra = np.flatnonzero(per_seed == per_seed.max())
        assert extra.min() < 50
        assert extra.max() > 150


@every_scan
def test_oversampling_changes_nothing_without_need(name):
    positions = SCANS[name]
    for n_groups in (None, 5):
        options = {"gridsize": 2, "n_groups": n_groups, "neighbor_count": 5, "seed": 3}
        plain, allowed = (make_groups(positions, oversampling=flag, **options) for flag in (False, True))
        assert_array_equal(plain.frames, allowed.frames)


def test_a_number_far_beyond_what_exists_is_refused_without_counting():
    positions = np.random.default_rng(0).uniform(0, 100, (300, 2))
    with pytest.raises(ConfigError, check=lambda error: error.fields == ("n_groups",)):
        make_groups(positions, gridsize=4, n_groups=10**15, neighbor_count=40, seed=0, oversampling=True)


def test_pools_with_very_many_combinations():
    positions = np.random.default_rng(0).uniform(0, 100, (150, 2))
    groups = make_groups(positions, gridsize=4, n_groups=400, neighbor_count=45, seed=0, oversampling=True)
    assert len(set(sets_of(groups))) == 400
    assert (distance_ranks(positions, groups) < 45).all()
    with pytest.raises(ConfigError, check=lambda error: error.fields == ("neighbor_pool_size",)):
        make_groups(positions, gridsize=7, n_groups=5, neighbor_count=140, seed=0)


def test_pool_size_takes_the_place_of_the_neighbour_count():
    positions = SCANS["random"]
    options = {"gridsize": 2, "n_groups": None, "seed": 0}
    wide = make_groups(positions, neighbor_count=3, pool_size=12, **options)
    assert_array_equal(wide.frames, make_groups(positions, neighbor_count=12, **options).frames)
    assert distance_ranks(positions, wide).max() > 6


@pytest.mark.parametrize("sequential", [True, False])
def test_frames_outside_the_subsample_are_in_no_group(sequential):
    positions = SCANS["random"]
    groups = make_groups(
        positions, gridsize=2, n_groups=None, neighbor_count=4, seed=6, n_subsample=50, sequential=sequential
    )
    drawn = choose_frames(len(positions), None, n_subsample=50, sequential=sequential, seed=6)
    assert_array_equal(groups.seeds, drawn)
    assert np.isin(groups.frames, drawn).all()
    assert (distance_ranks(positions, groups, members=drawn) < 4).all()


def test_groups_never_mix_scans():
    rng = np.random.default_rng(1)
    positions = rng.uniform(0, 30, (90, 2))
    scan = rng.integers(0, 3, 90) * 10 - 5
    groups = make_groups(
        positions, gridsize=2, n_groups=250, neighbor_count=6, seed=0, oversampling=True, scan_index=scan
    )
    assert (scan[groups.frames] == scan[groups.seeds][:, None]).all()
    assert set(scan[groups.seeds]) == {-5, 5, 15}
    for value in (-5, 5, 15):
        members = np.flatnonzero(scan == value)
        mine = make_groups(positions[members], gridsize=2, n_groups=None, neighbor_count=4, seed=0)
        assert len(mine) == len(members)


def test_scan_too_small_for_a_group_is_left_out_with_a_warning(caplog):
    positions = np.random.default_rng(2).uniform(0, 30, (13, 2))
    scan = np.array([0] * 10 + [1] * 3)
    groups = make_groups(positions, gridsize=2, n_groups=None, neighbor_count=4, seed=0, scan_index=scan)
    assert_array_equal(groups.seeds, np.arange(10))
    assert "3 frames are in scans of fewer than 4 frames" in caplog.text
    # Seeds that fall into the small scan are replaced by others.
    assert (
        len(make_groups(positions, gridsize=2, n_groups=10, neighbor_count=4, seed=0, scan_index=scan)) == 10
    )


def test_same_seed_same_groups_and_another_seed_others():
    positions = SCANS["random"]
    one, same, other = (
        make_groups(positions, gridsize=2, n_groups=None, neighbor_count=6, seed=seed) for seed in (1, 1, 2)
    )
    assert_array_equal(one.frames, same.frames)
    assert (one.frames != other.frames).any(axis=1).mean() > 0.5


def test_members_are_drawn_evenly_from_the_pool():
    positions = np.random.default_rng(9).uniform(0, 300, (3000, 2))
    groups = make_groups(positions, gridsize=2, n_groups=None, neighbor_count=6, seed=0)
    nearer = distance_ranks(positions, groups)
    # Farthest of 3 out of 6: rank r has probability C(r, 2) / C(6, 3) for r = 2 .. 5.
    share = np.bincount(nearer, minlength=6)[2:] / len(groups)
    assert_allclose(share, np.array([1, 3, 6, 10]) / 20, atol=0.04)


def test_smallest_scans():
    square = raster(2, 2)[[3, 1, 0, 2]]
    groups = make_groups(square, gridsize=2, n_groups=None, neighbor_count=4, seed=0)
    assert groups.frames.tolist() == [[2, 1, 3, 0]]
    assert_array_equal(groups.offsets[0], [[-2, -2], [-2, 2], [2, -2], [2, 2]])
    one = make_groups(square[:1], gridsize=1, n_groups=1, neighbor_count=1, seed=0)
    assert one.frames.tolist() == [[0]]
    with pytest.raises(ConfigError, check=lambda error: error.fields == ("gridsize",)):
        make_groups(square[:3], gridsize=2, n_groups=None, neighbor_count=4, seed=0)


def blocks(size, jitter, rng, n=200):
    """Square blocks of a raster with jitter, members in random order, and their row-major rank."""
    ideal = raster(size, size, step=1.0)
    shuffled = np.stack([rng.permutation(size * size) for _ in range(n)])
    moved = ideal[shuffled] + rng.uniform(-jitter, jitter, (n, size * size, 2))
    return moved + rng.uniform(-50, 50, (n, 1, 2)), shuffled


@pytest.mark.rule("DATA-071")
@pytest.mark.parametrize("size", [1, 2, 3, 4])
@pytest.mark.parametrize("jitter", [0.0, 0.2, 0.49])
def test_channel_order_is_row_major_on_a_raster_in_spite_of_jitter(size, jitter):
    positions, rank = blocks(size, jitter, np.random.default_rng(size))
    if jitter == 0:
        positions = np.round(positions)  # exact ties along rows and columns
    ordered = np.take_along_axis(rank, channel_order(positions), axis=1)
    assert_array_equal(ordered, np.broadcast_to(np.arange(size * size), ordered.shape))


@pytest.mark.rule("DATA-071")
@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("ties", [False, True])
def test_channel_order_does_not_depend_on_the_order_that_came(size, ties):
    rng = np.random.default_rng(size)
    positions = rng.uniform(0, 4, (500, size * size, 2))
    if ties:
        positions = np.floor(positions)
    shuffled = rng.permuted(np.tile(np.arange(size * size), (500, 1)), axis=1)
    other = np.take_along_axis(positions, shuffled[..., None], axis=1)
    one, two = (np.take_along_axis(p, channel_order(p)[..., None], axis=1) for p in (positions, other))
    assert_array_equal(one, two)


def test_channels_keep_their_place_on_a_raster():
    groups = make_groups(raster(20, 20), gridsize=2, n_groups=None, neighbor_count=8, seed=0)
    y, x = groups.offsets[..., 0], groups.offsets[..., 1]
    assert (y[:, :2].max(axis=1) <= y[:, 2:].min(axis=1)).all()
    assert all((x[:, left] <= x[:, right]).all() for left, right in pairwise(range(4)) if left != 1)


def test_refusals_name_every_setting():
    positions = SCANS["random"]
    with pytest.raises(ConfigError) as caught:
        make_groups(positions, gridsize=2, n_groups=0, neighbor_count=2, seed=0)
    assert [problem.field for problem in caught.value.problems] == ["n_groups", "neighbor_count"]
    with pytest.raises(
        ConfigError, check=lambda error: error.fields == ("gridsize",) and error.problems[0].value == 0
    ):
        make_groups(positions, gridsize=0, n_groups=1, neighbor_count=2, seed=0)
    with pytest.raises(
        ConfigError, check=lambda error: error.fields == ("n_subsample",) and error.problems[0].value == 201
    ):
        make_groups(positions, gridsize=2, n_groups=1, neighbor_count=4, seed=0, n_subsample=201)


@pytest.mark.parametrize("shape", [(0, 2), (5,), (5, 3)])
def test_positions_of_the_wrong_shape_are_refused(shape):
    with pytest.raises(ShapeError, check=lambda error: error.name == "positions"):
        make_groups(np.zeros(shape), gridsize=1, n_groups=1, neighbor_count=1, seed=0)


def test_arrays_that_do_not_fit_are_refused():
    positions = SCANS["few"].copy()
    with pytest.raises(ShapeError, check=lambda error: error.name == "scan_index"):
        make_groups(positions, gridsize=1, n_groups=1, neighbor_count=1, seed=0, scan_index=[0, 1])
    with pytest.raises(ShapeError, check=lambda error: error.name == "positions"):
        channel_order(np.zeros((3, 5, 2)))
    positions[4, 1] = np.nan
    with pytest.raises(DataError, check=lambda error: error.names == ("positions",)):
        make_groups(positions, gridsize=1, n_groups=1, neighbor_count=1, seed=0)
