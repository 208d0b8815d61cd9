"""The benchmark of the first subsets, in its quick form."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "refine_subsets.py"


def _run(target: Path) -> dict:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--quick", "--output", str(target)],
        capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(target.read_text())


def test_the_benchmark_runs_and_goes_on_from_its_record(tmp_path: Path) -> None:
    record = _run(tmp_path / "record.json")
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
    assert _run(tmp_path / "record.json")["cases"] == record["cases"]
