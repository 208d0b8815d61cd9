"""The benchmark of the search for positions, in its quick form, and its record."""

from __future__ import annotations


def test_the_benchmark_runs(quick_record) -> None:
    cases = quick_record("positions")["cases"]
    assert len(cases) == 2
    assert all(row["found"]["rms"] < row["stated"]["rms"] for row in cases.values())


def test_the_record_holds_what_the_guide_says(record) -> None:
    cases = record("positions")["cases"]
    sharp = [row for name, row in cases.items() if name.startswith(("lines", "random_field"))]
    assert sharp
    assert max(row["found"]["rms"] for row in sharp) < 0.1
    assert min(row["plain"]["rms"] for row in sharp) > 7.5
    even = [row for name, row in cases.items() if name.startswith("natural")]
    assert even
    known = cases["natural, 10 px, probe known"]
    assert known["settled"]["rms"] < 0.5
    assert known["found"]["beyond_2_px"] < 0.03 * 784
    assert known["settled"]["beyond_2_px"] < 0.34 * known["found"]["beyond_2_px"]
    assert all(row["unsettled"] < 0.1 * 784 for row in even)
