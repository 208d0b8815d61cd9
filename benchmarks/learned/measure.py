"""Error against processor time of the solver with learned stages and without, side by side."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from bench_record import write_record
from kinds import MEASURED, OTHER_PROBES, SEEN, scan_of
from slow_phases import FAULTS, STEPS_PX
from stages import Begin, row_of
from training import loaded

Row = dict[str, float]
EPOCHS = (5, 10, 20, 40)
EPOCHS_LEARNED = (5, 10, 20)
FIRST_SEED = 31337
WITH_FAULTS = ("lines", "natural", "leaves", "camera")
WITH_PROBES = ("natural", "camera")
OTHER_FAULTS = ("probe blurred", "positions 2 px")


class Cell(NamedTuple):
    """One scan that is measured, and whether all trainings are, or one of each stage in turn."""

    kind: str
    step_px: int
    photons: float
    fault: str
    seed: int
    all_trainings: bool = False

    @property
    def name(self) -> str:
        return (
            f"{self.kind}, step {self.step_px} px, {self.photons:.0e} photons, {self.fault}, seed {self.seed}"
        )


def cells(quick: bool) -> list[Cell]:
    """All trainings on one scan of each kind, one in turn on others; what tells most comes first."""
    if quick:
        return [Cell("natural", 6, 1e6, "none", FIRST_SEED, True)]

    def some(kinds: Iterable[str], steps: Iterable[int], photons: float, fault: str = "none") -> list[Cell]:
        return [Cell(kind, step_px, photons, fault, FIRST_SEED) for step_px in steps for kind in kinds]

    return [
        *(Cell(kind, 6, 1e6, "none", FIRST_SEED, True) for kind in MEASURED),
        *some(MEASURED, STEPS_PX[1:], 1e6),
        *(cell for fault in OTHER_FAULTS for cell in some(WITH_FAULTS, (6, 12), 1e6, fault)),
        *(cell for fault in OTHER_PROBES for cell in some(WITH_PROBES, (6,), 1e6, fault)),
        *some(MEASURED, (6, 12), 1e4),
        *some(MEASURED, (6,), 1e3),
        *(Cell(kind, 6, 1e6, "none", FIRST_SEED + n) for n in range(1, 5) for kind in MEASURED),
        *some(MEASURED, (16, 22), 1e4),
        *some(MEASURED, (22,), 1e3),
    ]


def chosen(
    stages: dict[str, tuple[dict[str, Any], Begin]], cell: Cell, number: int
) -> dict[str, tuple[dict[str, Any], Begin]]:
    """All trainings, or one per stage, another one from cell to cell."""
    if cell.all_trainings:
        return stages
    per_stage: dict[str, list[str]] = {}
    for name, (facts, _) in stages.items():
        per_stage.setdefault(facts["stage"], []).append(name)
    names = [some[number % len(some)] for some in per_stage.values()]
    return {name: stages[name] for name in names}


def at_equal_time(rows: Sequence[Row], others: Sequence[Row]) -> list[float]:
    """Errors of rows as shares of those of others, interpolated by logarithms, where both have times."""
    times, errors = (np.log([row[name] for row in others]) for name in ("cpu_s", "error"))
    return [
        row["error"] / math.exp(float(np.interp(math.log(row["cpu_s"]), times, errors)))
        for row in rows
        if times[0] <= math.log(row["cpu_s"]) <= times[-1]
    ]


def time_to_equal_error(rows: Sequence[Row], others: Sequence[Row]) -> list[float]:
    """Times that others need to the errors of rows, as multiples of those of rows.

    Others that start below an error count with their first time, others that never get there with their last:
    the multiple is then at most, or at least, what stands here.
    """
    best = np.minimum.accumulate([row["error"] for row in others])
    times = np.log([row["cpu_s"] for row in others])
    return [
        math.exp(float(np.interp(-math.log(row["error"]), -np.log(best), times))) / row["cpu_s"]
        for row in rows
    ]


def measured(cell: Cell, stages: dict[str, tuple[dict[str, Any], Begin]], side: int | None) -> dict[str, Any]:
    """The solver, and each stage with it, over numbers of epochs."""
    scan = scan_of(cell.kind, cell.step_px, cell.photons, cell.seed, cell.fault, side)
    settings = FAULTS[cell.fault]
    numbers, learned = ((2, 4), (2, 3)) if side is not None else (EPOCHS, EPOCHS_LEARNED)
    solver = [row_of(scan, epochs, None, **settings) for epochs in numbers]
    found = {}
    for name, (facts, begin) in stages.items():
        rows = [row_of(scan, epochs, begin, **settings) for epochs in learned]
        found[name] = {
            "stage": facts["stage"],
            "training_seed": facts["seed"],
            "rows": rows,
            "error_at_equal_epochs": [
                row["error"] / other["error"]
                for row in rows
                for other in solver
                if row["epochs"] == other["epochs"]
            ],
            "error_at_equal_time": at_equal_time(rows, solver),
            "time_to_equal_error": time_to_equal_error(rows, solver),
        }
    return {**cell._asdict(), "seen": cell.kind in SEEN, "solver": solver, "learned": found}


def trainings(paths: Iterable[Path]) -> dict[str, tuple[dict[str, Any], Any]]:
    """Stages by the names of their files."""
    return {path.stem: loaded(path) for path in paths}


def held(path: Path) -> dict[str, Any]:
    """What a record holds already."""
    if not path.exists():
        return {}
    record: dict[str, Any] = json.loads(path.read_text())
    record.pop("machine", None)
    return record


def measure(arguments: argparse.Namespace) -> None:
    """All cells that the record does not hold."""
    record = held(arguments.output)
    every = trainings(arguments.weights)
    stages = {name: one for name, one in every.items() if one[0]["stage"] != "last"}
    record.setdefault("trainings", {}).update({name: facts for name, (facts, _) in every.items()})
    cases: dict[str, Any] = record.setdefault("cases", {})
    for number, cell in enumerate(cells(arguments.quick)):
        if cell.name in cases:
            continue
        case = measured(cell, chosen(stages, cell, number), 5 if arguments.quick else None)
        cases[cell.name] = case
        shown = {
            name: [round(value, 2) for value in one["error_at_equal_time"]]
            for name, one in case["learned"].items()
        }
        print(cell.name, shown, flush=True)
        write_record(arguments.output, record)
