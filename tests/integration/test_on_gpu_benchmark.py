"""The benchmark of a GPU, in its small form on a processor: no part may be stale when a GPU is there."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from ptycho_torch.lightning import compiling

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
HERE = BENCHMARKS / "on_gpu"


@pytest.fixture(autouse=True)
def backend(monkeypatch: pytest.MonkeyPatch) -> None:
    """What compiles networks is left as it was found."""
    monkeypatch.setattr(compiling, "BACKEND", compiling.BACKEND)


def test_every_part_runs(command, tmp_path) -> None:
    target = tmp_path / "record.json"
    command("--quick", "--output", target)
    record = json.loads(target.read_text())
    parts = record["parts"]
    assert not record["left_out"]
    assert all(part["whole"] for part in parts.values())
    network, solver = parts["agreement"]["rows"]
    assert network["object_difference"] == solver["object_difference"] == 0
    speeds, row = parts["refine"]["rows"]
    assert row["memory_allows_per_s"] == speeds["bytes_per_s"]["device"] / row["bytes_per_frame_epoch"]
    assert row["whole_call_per_s"] > 0
    assert parts["error against time"]["rows"][0]["error"] < 0.3
    assert parts["memory"]["rows"][-1]["fits"]
    assert {row["network"] for row in parts["prediction, N = 64"]["rows"]} == {"as it is", "compiled"}
    assert all(row["error_with_steps"] < 0.3 for row in parts["half precision"]["rows"])


def test_without_a_gpu_it_is_refused(command, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(SystemExit):
        command("--output", tmp_path / "record.json")
    assert "--quick" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_part_that_would_not_end_in_time_is_left_out(own, tmp_path, monkeypatch) -> None:
    """A part that oversteps its time ends after a row; the next ones are named as left out."""
    parts = own("parts")
    clock = iter(range(0, 10_000, 10))
    monkeypatch.setattr(parts, "time", SimpleNamespace(perf_counter=lambda: float(next(clock))))
    setting = parts.Setting(device="cpu", quick=False, rounds=1)
    target = tmp_path / "record.json"
    record = parts.run(
        {
            "short": (lambda how: iter([{"row": 1}]), 20.0),
            "endless": (lambda how: ({"row": number} for number in range(1000)), 50.0),
            "too long": (lambda how: iter([{"row": 1}]), 500.0),
        },
        setting,
        200.0,
        target,
    )
    assert record["parts"]["short"]["whole"]
    assert not record["parts"]["endless"]["whole"]
    assert 1 < len(record["parts"]["endless"]["rows"]) < 20
    assert list(record["left_out"]) == ["too long"]
    assert json.loads(target.read_text())["left_out"] == record["left_out"]


@pytest.mark.parametrize(("n_frames", "expected"), [(16, 16), (70, 64)])
def test_a_scan_is_copied_side_by_side(own, n_frames, expected) -> None:
    scan = own("parts").scan_of(32, n_frames, side=4)
    assert scan.n_frames == len(scan.positions) == expected
    assert len({tuple(position) for position in scan.positions.tolist()}) == expected
