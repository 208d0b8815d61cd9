"""The benchmark of the propagation, in its quick form, and its record."""

from __future__ import annotations


def test_the_benchmark_runs(quick_record) -> None:
    record = quick_record("propagation")
    rows = record["near_field"]["lines"]
    assert len(rows) == 5
    assert all(row["error"] > 0 for row in rows.values())
    assert [row["two"]["residual"] > 0 for row in record["thick"].values()] == [True] * 3


def test_the_record_holds_what_the_guide_says(record) -> None:
    rows = record("propagation")["near_field"]
    errors = {scene: [row["error"] for row in found.values()] for scene, found in rows.items()}
    assert [round(error, 2) for error in errors["lines"]] == [0.02, 0.02, 0.10, 0.06, 0.02]
    for _, _, *near in errors.values():
        assert near == sorted(near, reverse=True)


def test_slices_that_are_further_apart_are_told_apart_better(record) -> None:
    rows = record("propagation")["thick"]
    own, swapped = ([row["two"]["slice 0"][which] for row in rows.values()] for which in (0, 1))
    assert own == sorted(own, reverse=True)
    assert [round(error, 2) for error in own] == [0.12, 0.05, 0.02]
    assert all(error > 0.2 for error in swapped)
