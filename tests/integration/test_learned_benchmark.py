"""A network between passes: a training of seconds, a measurement of one scan, and the published record."""

from __future__ import annotations

import json
import runpy
import statistics
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def script(monkeypatch):
    """Run the benchmark with arguments, and with tiny scans where it is told to."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))

    def run(*arguments: str) -> None:
        monkeypatch.setattr(sys, "argv", ["learned.py", *arguments])
        runpy.run_path(str(BENCHMARKS / "learned.py"), run_name="__main__")

    return run


def test_a_network_is_trained_and_measured(script, tmp_path) -> None:
    weights, target = tmp_path / "canvas.pt", tmp_path / "learned.json"
    script("train", "--minutes", "0.01", "--output", str(weights))
    script("measure", str(weights), "--quick", "--output", str(target))
    (case,) = json.loads(target.read_text())["cases"]
    assert len(case["network"]) == 1 + len(case["with"])
    assert all(row["error"] < 1 for row in case["network"])


def test_the_record_holds_what_the_page_says(record) -> None:
    cases = record("learned")["cases"]
    assert len(cases) == 18
    shares = {
        (case["step_px"], case["photons"], case["seen"]): statistics.median(
            ratio
            for other in cases
            if (other["step_px"], other["photons"], other["seen"])
            == (case["step_px"], case["photons"], case["seen"])
            for ratio in other["network_to_solver"]
        )
        for case in cases
    }
    assert shares[6, 1e6, False] == pytest.approx(0.95, abs=0.01)
    assert shares[6, 1e6, True] == pytest.approx(1.08, abs=0.01)
    assert shares[12, 1e6, False] == pytest.approx(1.42, abs=0.01)
    assert shares[6, 1e4, True] == pytest.approx(1.03, abs=0.01)
