"""Two tables joined by frame number, and honest counters."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptycho_torch.errors import ShapeError
from ptycho_torch.live.arrivals import Arrivals, Window


def marked(number, side=4, dtype=np.uint16):
    """A frame that shows its number."""
    return np.full((1, side, side), number, dtype=dtype)


@pytest.mark.rule("LIVE-002")
@given(
    st.lists(st.tuples(st.sampled_from("fp"), st.integers(0, 12)), max_size=60),
)
def test_what_is_joined_depends_on_the_numbers_alone(events):
    arrivals = Arrivals()
    for kind, number in events:
        if kind == "f":
            arrivals.add_frames([number], marked(number))
        else:
            arrivals.add_positions([number], [(number, -number)])
    frames, places = ({n for k, n in events if k == kind} for kind in "fp")
    joined = np.sort(arrivals.joined())
    assert joined.tolist() == sorted(frames & places)
    if len(joined):
        assert (arrivals.frames(joined)[:][:, 0, 0] == joined).all()
        assert (arrivals.positions(joined) == np.stack([joined, -joined], axis=1)).all()
    found = arrivals.counters()
    assert found.received == sum(kind == "f" for kind, _ in events)
    assert found.received == (
        found.joined + found.waiting_for_position + found.duplicate + found.refused_frames
    )
    assert found.waiting_for_frame == len(places - frames)
    assert found.lost == (max(frames) - min(frames) + 1 - len(frames) if frames else 0)
    assert found.duplicate_positions == sum(kind == "p" for kind, _ in events) - len(places)


@pytest.mark.rule("LIVE-003")
def test_a_gap_is_lost_until_its_frame_comes_late():
    arrivals = Arrivals()
    for number in (5, 6, 9):
        arrivals.add_frames([number], marked(number))
    assert (arrivals.counters().lost, arrivals.counters().late) == (2, 0)
    arrivals.add_frames([7], marked(7))
    assert (arrivals.counters().lost, arrivals.counters().late) == (1, 1)


@pytest.mark.rule("LIVE-003")
def test_announced_frames_that_did_not_come_are_lost_once_the_source_has_ended():
    arrivals = Arrivals()
    arrivals.announce(10)
    arrivals.add_frames([0, 1], np.concatenate([marked(0), marked(1)]))
    assert arrivals.counters().lost == 0
    assert arrivals.counters(ended=True).lost == 8


@pytest.mark.rule("LIVE-003")
@pytest.mark.parametrize(
    ("numbers", "frames", "why"),
    [
        ([-1], marked(1), "a frame number that is no whole number"),
        ([1.5], marked(1), "a frame number that is no whole number"),
        ([True], marked(1), "a frame number that is no whole number"),
        ([2**60], marked(1), "a frame number that is no whole number"),
        ([90_000_000], marked(1), "a frame number far from all others"),
        ([3], marked(1).astype(complex), "frames of complex128"),
        ([3], marked(1, side=5), "frames of 5 px, the first had 4"),
        ([3], np.zeros((1, 4, 6), np.uint16), "frames of 4 x 6 px are not square; state their size N"),
        ([3], marked(1, dtype=np.uint32), "frames of uint32, the first was uint16"),
    ],
)
def test_what_cannot_be_used_is_counted_by_its_reason(numbers, frames, why):
    arrivals = Arrivals()
    arrivals.add_frames([2], marked(2))
    assert arrivals.add_frames(numbers, frames) == 0
    found = arrivals.counters()
    assert dict(found.refused) == {why: 1}
    assert (found.received, found.refused_frames) == (2, 1)


@pytest.mark.parametrize(
    ("place", "why"),
    [
        ((np.nan, 0), "a position that is no number"),
        ((np.inf, 0), "a position that is no number"),
        ((1, 1), "another position for the same frame"),
    ],
)
def test_positions_that_cannot_be_used_are_counted(place, why):
    arrivals = Arrivals()
    arrivals.add_positions([0], [(0, 1)])
    assert arrivals.add_positions([0], [place]) == 0
    assert dict(arrivals.counters().refused) == {why: 1}
    assert arrivals.counters().positions == 1


def test_arrays_that_do_not_fit_each_other_are_a_mistake_of_the_caller():
    arrivals = Arrivals()
    with pytest.raises(ShapeError) as caught:
        arrivals.add_frames([1, 2], marked(1))
    assert caught.value.name == "frames"
    with pytest.raises(ShapeError) as caught:
        arrivals.add_positions([1], [1.0, 2.0])
    assert caught.value.name == "positions"


def test_a_square_is_cut_around_the_beam():
    frame = np.arange(60, dtype=np.uint8).reshape(1, 6, 10)
    arrivals = Arrivals(Window(N=4, centre=(3, 6)))
    arrivals.add_frames([0], frame, np.zeros((1, 2)))
    assert (arrivals.frames(arrivals.joined())[0] == frame[0, 1:5, 4:8]).all()
    outside = Arrivals(Window(N=4, centre=(1, 6)))
    assert outside.add_frames([0], frame) == 0
    assert list(outside.counters().refused) == ["frames of 6 x 10 px hold no 4 x 4 px around (1, 6)"]
