"""What the tests of benchmarks share."""

from __future__ import annotations

import importlib
import json
import runpy
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
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


@pytest.fixture
def own(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], ModuleType]]:
    """Modules by name of the benchmark in the folder ``HERE`` of a test; they are forgotten afterwards."""
    here: Path = request.module.HERE
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.syspath_prepend(str(here))
    before = set(sys.modules)
    yield importlib.import_module
    for name in (set(sys.modules) - before) & {path.stem for path in here.glob("*.py")}:
        del sys.modules[name]


@pytest.fixture
def command(
    own: object, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., None]:
    """Run that benchmark with arguments."""
    here: Path = request.module.HERE

    def run(*arguments: object) -> None:
        monkeypatch.setattr(sys, "argv", [here.name, *map(str, arguments)])
        runpy.run_path(str(here), run_name="__main__")

    return run
