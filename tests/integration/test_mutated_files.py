"""Damaged files: some hundred of those that `benchmarks/mutated_files.py` makes by the thousand."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict:
    target = tmp_path_factory.mktemp("mutated") / "report.json"
    arguments = ["--cases", "100", "--seed", "7", "--json", str(target)]
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "mutated_files.py"), *arguments],
        capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert target.exists(), done.stderr
    return json.loads(target.read_text())


@pytest.mark.rule("EMB-015")
def test_every_reader_reads_or_refuses_and_does_nothing_else(report: dict) -> None:
    assert report["defects"] == []
    assert report["cases"] >= 99


@pytest.mark.parametrize("kind", ["bundle", "npz", "hdf5", "yaml", "toml", "json"])
def test_most_damage_is_noticed(report: dict, kind: str) -> None:
    answers = report["answers"][kind]
    assert answers.get("refused", 0) > answers.get("read", 0) or kind == "hdf5"
    assert answers.get("refused", 0) > 0


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """The judge of the benchmark, at work on a reader of the test: returns what it found."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    from mutated_files import watch as judge
    from mutations import Trap

    (tmp_path / "case").mkdir()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    file, trap = tmp_path / "case" / "file", tmp_path / "executed"
    file.write_bytes(pickle.dumps(Trap(trap)))
    return lambda reader: judge([reader], file, trap)[1]


def _executes(path: Path) -> None:
    pickle.loads(path.read_bytes())


def _writes_beside(path: Path) -> None:
    path.with_name("other").write_text("out")


def _writes_here(path: Path) -> None:
    Path("other").write_text("out")


def _crashes(path: Path) -> None:
    raise RecursionError("too deep")


@pytest.mark.rule("EMB-015")
@pytest.mark.parametrize(
    ("reader", "found"),
    [
        (_executes, "a payload was executed"),
        (_writes_beside, "something was written"),
        (_writes_here, "something was written"),
        (_crashes, "_crashes: RecursionError: too deep"),
    ],
)
def test_the_judge_sees_what_a_bad_reader_does(watch, reader, found: str) -> None:
    assert watch(reader) == [found]


def test_the_judge_lets_a_good_reader_pass(watch) -> None:
    assert watch(Path.read_bytes) == []
