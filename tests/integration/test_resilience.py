"""Attacks on the commands: some of those that `benchmarks/resilience` makes by the thousand."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

CAMPAIGN = Path(__file__).resolve().parents[2] / "benchmarks" / "resilience"


def _report(target: Path, *words: str) -> dict:
    done = subprocess.run(
        [sys.executable, str(CAMPAIGN), *words, "--seed", "7", "--json", str(target)],
        capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert target.exists(), done.stderr[-2000:]
    return json.loads(target.read_text())


@pytest.mark.rule("EMB-015", "DATA-122")
def test_every_reader_and_command_reads_or_refuses_and_does_nothing_else(tmp_path: Path) -> None:
    report = _report(tmp_path / "report.json", "mutations", "--count", "40")
    assert report["faults"] == []
    assert report["cases"] >= 35
    refused = [name for name, counts in report["counts"].items() if counts["refused"]]
    assert {"bundle", "checkpoint", "npz", "json"} <= set(refused)


@pytest.mark.rule("RUN-048")
def test_a_conversion_that_is_killed_leaves_nothing_that_the_next_one_does_not_clear(tmp_path: Path) -> None:
    report = _report(tmp_path / "report.json", "kills", "--only", "convert", "--count", "6")
    assert report["faults"] == []
    assert report["counts"]["convert"]["kills"] == 6


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """The judge of the campaign, at work on a reader of the test: returns what it found."""
    monkeypatch.syspath_prepend(CAMPAIGN)
    from damage import Trap
    from kinds import Kind
    from mutations import judge

    (tmp_path / "case").mkdir()
    file, trap = tmp_path / "case" / "file", tmp_path / "executed"
    file.write_bytes(pickle.dumps(Trap(trap)))

    def found(reader) -> list[str]:
        kind = Kind(original="file", mutations=(), share=1, readers=lambda: [reader], commands=lambda *_: [])
        return judge(kind, tmp_path, tmp_path / "case", file, 0, trap)[0]

    return found


def _executes(path: Path) -> None:
    pickle.loads(path.read_bytes())


def _writes_beside(path: Path) -> None:
    path.with_name("other").write_text("out")


def _crashes(path: Path) -> None:
    raise RecursionError("too deep")


@pytest.mark.rule("EMB-015")
@pytest.mark.parametrize(
    ("reader", "found"),
    [
        (_executes, "a payload was executed"),
        (_writes_beside, "a reader wrote something"),
        (_crashes, "_crashes: RecursionError: too deep"),
    ],
)
def test_the_judge_sees_what_a_bad_reader_does(judged, reader, found: str) -> None:
    [fault] = judged(reader)
    assert fault.startswith(found)


def test_the_judge_lets_a_good_reader_pass(judged) -> None:
    assert judged(Path.read_bytes) == []
