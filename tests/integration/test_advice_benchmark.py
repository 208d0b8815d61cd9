"""The benchmark of advice, in its quick form, and its record."""

from __future__ import annotations


def test_the_benchmark_runs(quick_record) -> None:
    found = quick_record("advice")
    assert len(found["clean"]) == len(found["faults"]) == 1
    (clean,) = found["clean"].values()
    assert clean["advised"] == clean["plain"] or clean["flags"]


def test_the_record_holds_what_the_guide_says(record) -> None:
    found = record("advice")
    assert len(found["clean"]) == 12
    assert {row["flags"] for row in found["clean"].values()} == {""}
    faults = found["faults"]
    assert len(faults) == 8
    assert all(row["answers"] for row in faults.values())
    shares = [row["advised"] / row["plain"] for row in faults.values()]
    assert 1 / 10 < min(shares) < 1 / 8
    assert max(shares) < 0.5
