"""What a replay sends when."""

from __future__ import annotations

import pytest

from ptycho_config import ConfigError
from ptycho_torch.live.replay.schedule import Disturbances, schedule


def planned(n=200, rate=100.0, alone=True, **how):
    return schedule(n, rate, Disturbances(**how), positions_alone=alone)


def rows(events, what="frame"):
    return [event.row for event in events if event.what == what]


def test_an_undisturbed_scan_comes_in_order_and_in_time():
    events = planned(4)
    assert rows(events) == rows(events, "position") == [0, 1, 2, 3]
    assert [event.at_s for event in events] == [0.0, 0.0, 0.01, 0.01, 0.02, 0.02, 0.03, 0.03]
    assert [event.what for event in events[:2]] == ["frame", "position"]
    assert not any(event.again for event in events)


def test_positions_that_come_with_frames_are_not_sent_alone():
    assert rows(planned(4, alone=False), "position") == []


@pytest.mark.rule("LIVE-021")
def test_the_seed_decides():
    how = {"drop": 0.2, "duplicate": 0.2, "shuffle": 5}
    assert planned(**how, seed=1) == planned(**how, seed=1)
    assert planned(**how, seed=1) != planned(**how, seed=2)


def test_a_share_of_the_frames_is_lost_and_no_position():
    events = planned(1000, drop=0.1)
    assert 850 < len(rows(events)) < 950
    assert rows(events, "position") == list(range(1000))
    # A lost frame takes its time all the same.
    assert [event.at_s for event in events if event.what == "frame"] == [row / 100.0 for row in rows(events)]
    assert planned(50, drop=1.0, alone=False) == []


@pytest.mark.parametrize("what", ["frame", "position"])
def test_a_share_comes_again_after_it_came(what):
    events = [event for event in planned(1000, duplicate=0.1, shuffle=3) if event.what == what]
    again = [event.row for event in events if event.again]
    assert 50 < len(again) < 150
    seen = set()
    for event in events:
        assert event.again == (event.row in seen)
        seen.add(event.row)
    assert seen == set(range(1000))


def test_disorder_is_as_large_as_it_may_be_and_no_larger():
    order = rows(planned(1000, shuffle=6))
    moved = [abs(place - row) for place, row in enumerate(order)]
    assert sorted(order) == list(range(1000))
    assert 3 <= max(moved) <= 6


def test_positions_may_be_late():
    events = planned(10, late_positions_s=0.5)
    assert [event.at_s for event in events if event.what == "position"] == [
        0.5 + row / 100 for row in range(10)
    ]


@pytest.mark.parametrize(
    ("name", "value"),
    [("drop", 1.1), ("drop", -0.1), ("duplicate", float("nan")), ("shuffle", -1), ("late_positions_s", -1.0)],
)
def test_what_cannot_be_is_refused(name, value):
    with pytest.raises(ConfigError) as caught:
        Disturbances(**{name: value})
    assert [problem.field for problem in caught.value.problems] == [name]


@pytest.mark.parametrize("rate", [0.0, -1.0, float("inf")])
def test_a_rate_is_above_zero(rate):
    with pytest.raises(ConfigError):
        planned(rate=rate)
