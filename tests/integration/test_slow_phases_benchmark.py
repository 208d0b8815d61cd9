"""The benchmark of the step for slow phases, in its quick form, and its record."""

from __future__ import annotations

import statistics

import pytest


def test_the_benchmark_runs(quick_record) -> None:
    cases = quick_record("slow_phases")["cases"]
    assert len(cases) == 2
    for case in cases.values():
        assert case["error_at_equal_epochs"] == pytest.approx(
            [fast["error"] / slow["error"] for fast, slow in zip(case["with"], case["without"], strict=True)]
        )


def test_the_record_holds_what_the_page_says(record) -> None:
    found = record("slow_phases")
    cases = list(found["cases"].values())
    plain = [case for case in cases if case["fault"] == "none"]
    assert len(plain) == 72
    for step_px, most in ((6, 0.8), (12, 0.45), (16, 0.57), (22, 0.68)):
        ratios = [
            ratio
            for case in plain
            if (case["photons"], case["step_px"]) == (1e6, step_px)
            for ratio in case["error_at_equal_time"]
        ]
        assert statistics.median(ratios) < most
    # The losses that the page names, and none beyond them.
    assert max(max(case["error_at_equal_epochs"]) for case in plain) < 1.08
    moved = [case for case in cases if case["fault"] == "positions 2 px"]
    assert 1.1 < max(max(case["error_at_equal_epochs"]) for case in moved) < 1.2
