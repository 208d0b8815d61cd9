"""The tables of `learned.md`, from the record."""

from __future__ import annotations

import argparse
import json
import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np

Case = dict[str, Any]
STAGES = ("canvas", "coarse", "momentum")
EPOCHS, TIME = "error_at_equal_epochs", "error_at_equal_time"
LOSS = 1.05


def spread(values: Sequence[float]) -> str:
    """Median, and least to most."""
    if not values:
        return ""
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def line(cells: Iterable[object]) -> str:
    """A row of a table."""
    return "| " + " | ".join(map(str, cells)) + " |"


def head(*names: str) -> list[str]:
    """The first two lines of a table."""
    return [line(names), "|" + "---|" * len(names)]


def learned(cases: Iterable[Case], stage: str) -> list[dict[str, Any]]:
    """What one stage did in some cases."""
    return [one for case in cases for one in case["learned"].values() if one["stage"] == stage]


def ratios(cases: Iterable[Case], stage: str, name: str) -> list[float]:
    """All ratios of a stage in some cases."""
    return [value for one in learned(cases, stage) for value in one[name]]


def at(cases: Iterable[Case], **wanted: Any) -> list[Case]:
    """Cases whose entries are as wanted."""
    return [case for case in cases if all(case[name] == value for name, value in wanted.items())]


def main_table(cases: list[Case]) -> list[str]:
    """All trainings where frames are dense and bright, kinds that were trained on and others."""
    compared = ("error after equal passes", "error at equal time", "time to equal error", "loses over 5 %")
    rows = head("stage", "kinds", *compared)
    dense = at(cases, step_px=6, photons=1e6, fault="none")
    for stage in STAGES:
        for seen in (True, False):
            some = at(dense, seen=seen)
            found = [ratios(some, stage, name) for name in (EPOCHS, TIME, "time_to_equal_error")]
            lost = sum(value > LOSS for value in found[1])
            kinds = "seen" if seen else "not seen"
            rows.append(line((stage, kinds, *map(spread, found), f"{lost} of {len(found[1])}")))
    return rows


def trainings_table(cases: list[Case]) -> list[str]:
    """Errors after equal passes per training, kinds not seen."""
    rows = head("stage", *(f"training {seed}" for seed in (1, 2, 3)))
    dense = at(cases, step_px=6, photons=1e6, fault="none", seen=False)
    for stage in STAGES:
        own = learned(dense, stage)
        per_seed = [
            [value for one in own if one["training_seed"] == seed for value in one[EPOCHS]]
            for seed in (1, 2, 3)
        ]
        rows.append(line((stage, *map(spread, per_seed))))
    return rows


def conditions_table(cases: list[Case], name: str) -> list[str]:
    """Errors over faults, doses and steps."""
    rows = head("", "photons", "step, px", "kinds", *STAGES)
    conditions = dict.fromkeys((case["fault"], case["photons"], case["step_px"]) for case in cases)
    for fault, photons, step_px in conditions:
        for seen in (True, False):
            some = at(cases, fault=fault, photons=photons, step_px=step_px, seen=seen)
            found = [spread(ratios(some, stage, name)) for stage in STAGES]
            facts = "" if fault == "none" else fault, f"{photons:.0e}", step_px
            if any(found):
                rows.append(line((*facts, "seen" if seen else "not seen", *found)))
    return rows


def times_table(cases: list[Case]) -> list[str]:
    """Times to equal errors, kinds not seen, over doses and steps."""
    rows = head("photons", "step, px", *STAGES)
    conditions = dict.fromkeys((case["photons"], case["step_px"]) for case in at(cases, fault="none"))
    for photons, step_px in conditions:
        some = at(cases, fault="none", photons=photons, step_px=step_px, seen=False)
        found = [spread(ratios(some, stage, "time_to_equal_error")) for stage in STAGES]
        rows.append(line((f"{photons:.0e}", step_px, *found)))
    return rows


def low_dose_table(cases: list[Case]) -> list[str]:
    """The network at the end as a share of the best penalty of every scan."""
    networks = ("network, half", "network, whole", "loses over 5 %")
    rows = head("photons", "step, px", "kinds", "no penalty", *networks)
    for photons, step_px in dict.fromkeys((case["photons"], case["step_px"]) for case in cases):
        for seen in (True, False):
            some = at(cases, photons=photons, step_px=step_px, seen=seen)
            if not some:
                continue
            best = [min(row["error"] for row in case["solver"]) for case in some]
            plain = [case["solver"][0]["error"] / least for case, least in zip(some, best, strict=True)]
            half, whole = (
                [
                    rows_of[weight]["error"] / least
                    for case, least in zip(some, best, strict=True)
                    for rows_of in case["networks"].values()
                ]
                for weight in ("0.5", "1.0")
            )
            lost = sum(value > LOSS for value in whole)
            rows.append(
                line(
                    (
                        f"{photons:.0e}", step_px, "seen" if seen else "not seen",
                        spread(plain), spread(half), spread(whole), f"{lost} of {len(whole)}",
                    )
                )
            )  # fmt: skip
    return rows


def at_time(rows: Sequence[dict[str, float]], cpu_s: float) -> str:
    """Error at a time, interpolated by logarithms; none before the first one."""
    if not rows or rows[0]["cpu_s"] > cpu_s:
        return "none yet"
    times, errors = (np.log([row[name] for row in rows]) for name in ("cpu_s", "error"))
    return f"{math.exp(float(np.interp(math.log(cpu_s), times, errors))):.4f}"


def others_table(rows_of: list[Case]) -> list[str]:
    """Errors at the times of 10 and 20 epochs of the solver alone."""
    names = ("per_frame", "canvas", "lsqml")
    rows = head("object", "time", "`refine` alone", "per-frame network first", "canvas", "LSQML")
    for case in rows_of:
        for alone in case["solver"][1:3]:
            found = [at_time(case.get(name, []), alone["cpu_s"]) for name in names]
            time = f"{alone['cpu_s']:.1f} s, {alone['epochs']} epochs"
            rows.append(line((case["kind"], time, f"{alone['error']:.4f}", *found)))
    return rows


def choice_table(rows_of: list[Case]) -> list[str]:
    """What the guide on networks shows: errors, and the processor times that they took."""
    rows = head("object", "no network", "a per-frame network first", "a canvas network between passes")
    for case in rows_of:
        found = case["solver"][1:], case["per_frame"][:1] + case["per_frame"][2:], case["canvas"][1:]
        rows.append(line((case["kind"], *map(listed, found))))
    return rows


def longer_table(rows_of: list[Case]) -> list[str]:
    """All that per-frame networks and the other program reached."""
    rows = head("object", "`refine` alone", "per-frame network, then `refine`", "LSQML")
    for case in rows_of:
        found = [listed(case.get(name, [])) for name in ("solver", "per_frame", "lsqml")]
        rows.append(line((case["kind"], *found)))
    return rows


def listed(rows: list[dict[str, float]]) -> str:
    """Errors, each with its time."""
    return "; ".join(f"{row['error']:.4f} ({row['cpu_s']:.1f} s)" for row in rows)


def star_table(stages: dict[str, list[dict[str, float]]]) -> list[str]:
    """Residual and agreement on the measured scan."""
    rows = head("", "epochs", "processor time, s", "residual", "correlation of the phase")
    for name, some in stages.items():
        for row in some:
            found = f"{row['cpu_s']:.1f}", f"{row['residual']:.4f}", f"{row['phase_correlation']:.3f}"
            rows.append(line((name, row["epochs"], *found)))
    return rows


def cost_table(trainings: dict[str, dict[str, Any]]) -> list[str]:
    """What trainings took."""
    rows = head("training", "processor time, min", "scans")
    return rows + [line((name, facts["minutes"], facts["scans"])) for name, facts in trainings.items()]


def tables(record: dict[str, Any]) -> dict[str, list[str]]:
    """Lines of every table that the record has figures for."""
    cases = list(record.get("cases", {}).values())
    makers: dict[str, tuple[Any, Callable[[Any], list[str]]]] = {
        "dense": (cases, main_table),
        "trainings": (cases, trainings_table),
        "times": (cases, times_table),
        "conditions, after equal passes": (cases, partial(conditions_table, name=EPOCHS)),
        "conditions, at equal time": (cases, partial(conditions_table, name=TIME)),
        "low dose": (record.get("low_dose"), low_dose_table),
        "others": (record.get("others"), others_table),
        "choice": (record.get("others"), choice_table),
        "longer": (record.get("others"), longer_table),
        "star": (record.get("star"), star_table),
        "cost": (record.get("trainings"), cost_table),
    }
    return {name: make(held) for name, (held, make) in makers.items() if held}


def show(arguments: argparse.Namespace) -> None:
    """Print the tables of a record."""
    for name, lines in tables(json.loads(arguments.record.read_text())).items():
        print(f"\n## {name}\n", *lines, sep="\n")
