"""The benchmark of constraints, in its quick form, and its record."""

from __future__ import annotations


def test_the_benchmark_runs(quick_record) -> None:
    cases = quick_record("constraints")["cases"]
    assert all(error > 0 for rows in cases.values() for row in rows.values() for error in row.values())


def test_the_record_holds_what_the_guide_says(record) -> None:
    cases = record("constraints")["cases"]
    lines = {name: row for name, row in cases["penalties"].items() if name.startswith("lines")}
    assert len(lines) == 2
    assert all(min(row, key=row.__getitem__).startswith("total variation") for row in lines.values())
    assert all(row["phase"] < 0.9 * row["none"] for row in cases["phase only, true"].values())
    assert all(row["phase"] > 1.5 * row["none"] for row in cases["phase only, false"].values())
    assert all(row["24 px"] < row["none"] for row in cases["support of the probe"].values())
