"""The benchmark of a scan in tiles, in its quick form, and its record."""

from __future__ import annotations


def test_the_benchmark_runs(quick_record) -> None:
    found = quick_record("tiles")
    for rows in found["cases"].values():
        for row in rows.values():
            assert row["count"] > 1
            assert 0 < row["tiles"] < 1
    assert [row["tiles"] > 1 for row in found["memory"]] == [False, True, True]
    assert all(row["megabytes"] > 0 for row in found["memory"])


def test_the_record_holds_what_the_guide_says(record) -> None:
    found = record("tiles")
    assert set(found["cases"]) == {"known probe", "fitted probe"}
    for rows in found["cases"].values():
        assert len(rows) == 3
        for row in rows.values():
            assert row["more"] < 0.06
            assert row["tiles_seams"] < 1.15 * row["one_seams"]
    one, large, small = found["memory"]
    assert one["tiles"] == 1
    assert small["megabytes"] < 0.4 * one["megabytes"]
    assert small["megabytes"] < large["megabytes"] < 0.75 * one["megabytes"]
