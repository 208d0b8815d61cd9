"""Which frames are used: each once, in scan order, the same for the same seed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ptycho_config import ConfigError
from ptycho_torch.data.groups.sampling import choose_frames, shares, split_validation


@pytest.mark.rule("DATA-060")
@given(st.none() | st.integers(1, 40), st.none() | st.integers(1, 40), st.integers(0, 99), st.booleans())
def test_frames_are_distinct_sorted_and_as_many_as_asked_for(n_groups, n_subsample, seed, sequential):
    assume(n_groups is None or n_subsample is None or n_groups <= n_subsample)
    chosen = choose_frames(40, n_groups, n_subsample=n_subsample, seed=seed, sequential=sequential)
    wanted = n_groups or n_subsample or 40
    assert chosen.dtype == np.int64
    assert len(chosen) == len(set(chosen.tolist())) == wanted
    assert (np.diff(chosen) > 0).all()
    assert 0 <= chosen[0] <= chosen[-1] < 40


def test_the_seed_decides_the_choice():
    assert choose_frames(100, 10, seed=1).tolist() == choose_frames(100, 10, seed=1).tolist()
    assert choose_frames(100, 10, seed=1).tolist() != choose_frames(100, 10, seed=2).tolist()


def test_every_frame_has_the_same_chance():
    hits = np.bincount(np.concatenate([choose_frames(10, 5, seed=s) for s in range(400)]), minlength=10)
    # Binomial: 200 expected, standard deviation 10.
    assert abs(hits - 200).max() < 50


@pytest.mark.rule("DATA-060")
def test_groups_come_from_the_subsample():
    few = choose_frames(50, 5, n_subsample=20, seed=3)
    assert set(few) <= set(choose_frames(50, None, n_subsample=20, seed=3))


def test_the_first_frames_when_sequential():
    assert choose_frames(40, 6, sequential=True, seed=9).tolist() == list(range(6))
    assert choose_frames(40, None, n_subsample=8, sequential=True).tolist() == list(range(8))


def test_more_than_there_is_is_refused_with_the_number():
    with pytest.raises(
        ConfigError, check=lambda error: error.fields == ("n_groups",) and "40" in error.problems[0].expected
    ):
        choose_frames(40, 41)
    with pytest.raises(
        ConfigError, check=lambda error: error.fields == ("n_groups",) and "10" in error.problems[0].expected
    ):
        choose_frames(40, 12, n_subsample=10)
    with pytest.raises(ConfigError) as caught:
        choose_frames(40, 99, n_subsample=50)
    assert {problem.field for problem in caught.value.problems} == {"n_groups", "n_subsample"}


@pytest.mark.rule("DATA-092")
@given(
    st.lists(st.integers(1, 3) | st.integers(1, 5000), min_size=1, max_size=8),
    st.integers(1, 20) | st.integers(1, 2000),
)
def test_scans_get_groups_in_proportion_to_their_frames(sizes, total):
    assume(total >= len(sizes))
    divided = shares(total, sizes)
    assert sum(divided) == total
    assert min(divided) >= 1
    for share, size in zip(divided, sizes, strict=True):
        for other, larger in zip(divided, sizes, strict=True):
            assert size > larger or share <= other + 1
        if min(sizes) * total >= sum(sizes):  # nobody needs more than his share to have one
            assert abs(share - size * total / sum(sizes)) < 1


@pytest.mark.parametrize("name", ["n_groups", "n_subsample"])
def test_what_cannot_be_shared_is_blamed_on_its_setting(name):
    with pytest.raises(ConfigError) as caught:
        shares(2, [10, 10, 10], name=name)
    [problem] = caught.value.problems
    assert (problem.field, problem.value) == (name, 2)


@pytest.mark.rule("DATA-062")
@given(
    st.lists(st.integers(0, 500), min_size=1, max_size=60, unique=True).map(sorted).map(np.array),
    st.just(0.0) | st.floats(0, 1, exclude_max=True),
    st.integers(0, 99),
)
def test_the_parts_make_up_the_whole(frames, fraction, seed):
    n = len(frames)
    train, aside = split_validation(frames, fraction, seed=seed)
    np.testing.assert_array_equal(np.sort(np.concatenate([train, aside])), frames)
    assert (np.diff(train) > 0).all()
    assert (np.diff(aside) > 0).all()
    assert len(train) >= 1
    assert len(aside) == (0 if fraction == 0 else min(n - 1, max(1, round(fraction * n))))


def test_the_split_depends_on_its_seed_only():
    frames = np.arange(50)
    first, again, other = (split_validation(frames, 0.2, seed=seed)[1].tolist() for seed in (1, 1, 2))
    assert first == again != other
