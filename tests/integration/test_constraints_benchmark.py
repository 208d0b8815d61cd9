"""The benchmark of constraints, in its quick form, and its record."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def test_the_benchmark_runs(tmp_path: Path) -> None:
    target = tmp_path / "record.json"
    script = BENCHMARKS / "constraints.py"
    done = subprocess.run(
        [sys.executable, str(script), "--quick", "--output", str(target)],
        capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    cases = json.loads(target.read_text())["cases"]
    assert all(error > 0 for rows in cases.values() for row in rows.values() for error in row.values())


def test_the_record_holds_what_the_guide_says() -> None:
    cases = json.loads((BENCHMARKS / "results" / "constraints.json").read_text())["cases"]
    lines = {name: row for name, row in cases["penalties"].items() if name.startswith("lines")}
    assert len(lines) == 2
    assert all(min(row, key=row.__getitem__).startswith("total variation") for row in lines.values())
    assert all(row["phase"] < 0.9 * row["none"] for row in cases["phase only, true"].values())
    assert all(row["phase"] > 1.5 * row["none"] for row in cases["phase only, false"].values())
    assert all(row["24 px"] < row["none"] for row in cases["support of the probe"].values())
