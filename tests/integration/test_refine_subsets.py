"""The benchmark of the first subsets, in its quick form."""

from __future__ import annotations


def test_the_benchmark_runs_and_goes_on_from_its_record(quick_record) -> None:
    record = quick_record("refine_subsets")
    (case,) = record["cases"].values()
    assert set(case) == {"n/32", "n/16", "n/8", "n/4", "n/2", "n/1", "default"}
    (row,) = record["judged"]
    assert 0 < row["default_to_best"] < 3
    assert (
        case[row["best"]]["error"]
        == row["error"]
        == min(case[choice]["error"] for choice in case if choice != "default")
    )
    # What was measured is not measured again: the seconds of another run would differ.
    assert quick_record("refine_subsets")["cases"] == record["cases"]
