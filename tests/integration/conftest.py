"""What the tests of benchmarks share."""

from __future__ import annotations

import json
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def quick_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], dict[str, Any]]:
    """Run a benchmark in its quick form, and read its record: ``quick_record("unknowns")``."""

    def run(name: str) -> dict[str, Any]:
        target, script = tmp_path / f"{name}.json", BENCHMARKS / f"{name}.py"
        monkeypatch.syspath_prepend(str(BENCHMARKS))
        monkeypatch.setattr(sys, "argv", [script.name, "--quick", "--output", str(target)])
        runpy.run_path(str(script), run_name="__main__")
        found: dict[str, Any] = json.loads(target.read_text())
        return found

    return run


@pytest.fixture
def record() -> Callable[[str], dict[str, Any]]:
    """Read the record of a benchmark as it was published."""

    def read(name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((BENCHMARKS / "results" / f"{name}.json").read_text())
        return found

    return read
