"""The benchmark of the propagation, in its quick form, and its record."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def test_the_benchmark_runs(tmp_path: Path) -> None:
    target = tmp_path / "record.json"
    script = BENCHMARKS / "propagation.py"
    done = subprocess.run(
        [sys.executable, str(script), "--quick", "--output", str(target)],
        capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = json.loads(target.read_text())["near_field"]["lines"]
    assert len(rows) == 5
    assert all(row["error"] > 0 for row in rows.values())


def test_the_record_holds_what_the_guide_says() -> None:
    rows = json.loads((BENCHMARKS / "results" / "propagation.json").read_text())["near_field"]
    errors = {scene: [row["error"] for row in found.values()] for scene, found in rows.items()}
    assert [round(error, 2) for error in errors["lines"]] == [0.02, 0.02, 0.10, 0.06, 0.02]
    for _, _, *near in errors.values():
        assert near == sorted(near, reverse=True)
