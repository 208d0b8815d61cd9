"""Learned stages: what they may not change, trainings of seconds, and the published record."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ptycho_torch.refine import refine

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
HERE = BENCHMARKS / "learned"


@pytest.fixture
def scan(own):
    return own("kinds").scan_of("natural", 6, 1e6, 3, side=5)


def test_without_a_stage_it_is_refine(own, scan) -> None:
    plain = own("stages").run(scan, 4, None).object
    result = refine(scan, epochs=4, tolerance=0, error_bars="none").object
    assert np.array_equal(plain.object, result.object)


@pytest.mark.parametrize("name", ["canvas", "coarse"])
def test_an_untrained_network_leaves_the_solver_as_it_is(own, scan, name) -> None:
    module, stages = own(name), own("stages")
    network = getattr(module, f"{name}_net")()
    stage_of = getattr(module, name.capitalize())
    made = stages.run(scan, 4, lambda solver: stage_of(network, solver)).object
    assert np.allclose(made.object, stages.run(scan, 4, None).object.object, atol=1e-6)


def test_numbers_of_one_and_zero_are_the_momentum_of_the_solver(own, scan) -> None:
    momentum, stages = own("momentum"), own("stages")
    made = stages.run(scan, 6, lambda solver: momentum.Momentum(momentum.own(), solver)).object
    assert np.allclose(made.object, stages.run(scan, 6, None).object.object, atol=1e-4)
    less = momentum.own() * 0.5
    other = stages.run(scan, 6, lambda solver: momentum.Momentum(less, solver)).object
    assert not np.allclose(made.object, other.object, atol=1e-3)


@pytest.mark.parametrize(("name", "share"), [("canvas", 0.15), ("coarse", 0.98)])
def test_the_right_answer_takes_the_error_away(own, scan, name, share) -> None:
    """All of it on the canvas; of slow phases alone, what there is of them."""
    module, stages = own(name), own("stages")
    solver, most = stages.begun(scan)
    truth, (light, _) = stages.laid_truth(solver, scan), stages.shares(solver)
    stage = getattr(module, name.capitalize())(getattr(module, f"{name}_net")(), solver, truth)
    for number in range(2):
        _, started = stages.passed(solver, number, most)
        seen = stage.look(solver, number, started)
    assert seen is not None
    before = float(stages.log_error(solver.unknowns.object.now, truth, light).exp())
    made = stage.moved(solver, seen[0].target * seen[0].taper, seen[1])
    assert float(stages.log_error(made, truth, light).exp()) < share * before


def test_mirrored_and_conjugated_examples_are_of_the_mirrored_and_conjugated_object(own, scan) -> None:
    stages, canvas = own("stages"), own("canvas")
    solver, most = stages.begun(scan)
    stage = canvas.Canvas(canvas.canvas_net(), solver, stages.laid_truth(solver, scan))
    example = stage.after(solver, 0, stages.passed(solver, 0, most)[1])
    calls = iter([0.9, 0.9, 0.1])
    other = example.other(SimpleNamespace(random=lambda: next(calls)))
    assert torch.equal(other.planes[0], example.planes[0])
    assert torch.equal(other.planes[1], -example.planes[1])
    assert torch.equal(other.target[1], -example.target[1])


def test_stages_are_trained_and_measured(command, tmp_path) -> None:
    files = [tmp_path / f"{stage}_1.pt" for stage in ("canvas", "coarse", "momentum")]
    for file in files:
        command("train", file.stem.split("_")[0], "--minutes", "0.005", "--output", file)
    target = tmp_path / "learned.json"
    command("measure", *files, "--quick", "--output", target)
    record = json.loads(target.read_text())
    assert record["trainings"]["coarse_1"]["scans"] > 0
    ((_, case),) = record["cases"].items()
    assert set(case["learned"]) == {"canvas_1", "coarse_1", "momentum_1"}
    assert all(row["error"] < 1 for one in case["learned"].values() for row in one["rows"])
    # What is measured already stays.
    command("measure", *files, "--quick", "--output", target)
    assert json.loads(target.read_text())["cases"] == record["cases"]


def test_a_last_step_is_trained_and_measured(command, tmp_path) -> None:
    file, target = tmp_path / "last_1.pt", tmp_path / "learned.json"
    command("train", "last", "--minutes", "0.02", "--output", file)
    command("low-dose", file, "--quick", "--output", target)
    (case,) = json.loads(target.read_text())["low_dose"]
    assert len(case["solver"]) == 6
    assert 0.5 < case["to_best"][0] < 2


def test_the_pages_hold_the_tables_of_the_record(own, record) -> None:
    made = own("tables").tables(record("learned"))
    assert {"dense", "conditions, at equal time", "low dose", "others", "star", "cost"} <= set(made)
    guide = (BENCHMARKS.parent / "docs" / "networks.md").read_text()
    page = (BENCHMARKS / "learned.md").read_text()
    for name, lines in made.items():
        shown = guide if name == "choice" else page
        missing = [line for line in lines if line not in shown]
        assert not missing, name


@pytest.mark.parametrize("stage", ["canvas", "coarse", "momentum"])
def test_no_stage_is_faster_everywhere(own, record, stage) -> None:
    """What the page concludes from its tables."""
    cases, tables = list(record("learned")["cases"].values()), own("tables")
    unseen = tables.at(cases, step_px=6, photons=1e6, fault="none", seen=False)
    assert np.median(tables.ratios(unseen, stage, "time_to_equal_error")) < 1.3
    assert max(tables.ratios(cases, stage, tables.EPOCHS)) > 1.5
