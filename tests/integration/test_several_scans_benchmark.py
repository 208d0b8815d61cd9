"""The benchmark of several scans, in its quick form, and its record."""

from __future__ import annotations


def test_the_benchmark_runs(quick_record) -> None:
    pairs = quick_record("several_scans")["pairs"]
    assert len(pairs) == 4
    for row in pairs.values():
        assert 0 < row["together"] < 1
        assert row["offset_error_px"] < 1


def test_the_record_holds_what_the_guide_says(record) -> None:
    pairs = record("several_scans")["pairs"]
    assert len(pairs) == 24
    for name, row in pairs.items():
        assert row["together"] <= min(row["first_alone"], row["second_alone"]), name
        assert row["offset_error_px"] < 0.1, name
