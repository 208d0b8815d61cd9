"""Write the page on performance, and its figures, from the records in benchmarks/results.

`nox -s bench` measures what this machine can measure in minutes, and then runs this.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

__all__ = ["draw_errors", "draw_sizes", "main", "page"]

HERE = Path(__file__).resolve().parent
RECORDS = HERE.parent / "benchmarks" / "results"
IMAGES = HERE / "images"

SOLVERS = {"lsqml": "Pty-Chi LSQML", "epie": "Pty-Chi ePIE", "autodiff": "Pty-Chi autodiff"}
SCENES = {"lines": "lines", "natural": "natural", "random_field": "random field"}

INTRODUCTION = """# Performance

This page is made from the records in `benchmarks/results` by `docs/make_performance.py`. Every figure is a
ratio of two things that were measured in turn on one machine, as processor time of one thread; seconds are
given for scale only. `nox -s bench` measures again what takes minutes; the comparison with Pty-Chi needs an
environment of its own (`benchmarks/refine.md`)."""
ERROR = """## Error against time

Scans of 28 × 28 frames of 64 px with 10⁶ photons each, known probe, flat start. The error is the complex
normalised RMSE against the truth. Batches and steps of Pty-Chi 2.2.0 are the best of about a dozen tried on
the natural scene.

![Error against processor time, for three scenes](images/error_against_time.png)

How much longer a solver of Pty-Chi takes to the error at which it ended than `refine` takes to that error
(`refine` as it was before a C compiler was used; it is faster now by the ratio of the two columns below):

"""
PER_FRAME = """Networks of single frames, trained on another scan of the same kind, with the four classical
steps that follow each prediction, beside the first point of `refine` with no larger error in the same run;
training is not counted. They are the crosses of the figure, whose times are scaled by those of the same
refinement in both runs:

"""
ALONE = """Errors of networks without these steps, and of the steps without a trained network, on a scan of
lines of that size that the network was trained on:

"""
EPOCH = """## What an epoch of `refine` costs

A frame needs one pair of transforms for each mode of the probe. An epoch costs so many times these
transforms, with the steps that a C compiler makes fast, and with those of torch, which are used where there
is no compiler, on a GPU and in double precision:

"""
SIZES = """## How the cost grows with the size of a scan

Processor time per frame. On the left frames of 32 px: whatever falls has a fixed cost that more frames share;
nothing grows faster than the scan. On the right an epoch of `refine` beside the transforms that it needs; the
dotted line grows as N² does.

![Processor time per frame against the number of frames and their size](images/cost_against_size.png)

"""
NETWORKS = """## Networks

Patterns per second of the default network as a multiple of those of `cnn`, the architecture of the
reference, batches of 16:

"""
START = """## Before anything is done

Wall time of a new interpreter, as a multiple of that of `import torch` beside it:

"""
LOST = """## What was lost

- The start from a per-frame network does not pay for a refinement. To 1.1 times the error at which `refine`
  ends from a flat object, with the prediction counted:
"""


def _record(name: str) -> Any:
    return json.loads((RECORDS / f"{name}.json").read_text(encoding="utf-8"))


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n\n"


def _reached(curve: Sequence[dict[str, float]], error: float) -> dict[str, float] | None:
    """First point of a curve with at most this error."""
    return next((point for point in curve if point["error"] <= error), None)


def _against_peers() -> str:
    rows = []
    for result in _record("refine_vs_ptychi")["results"]:
        cells = [SCENES[result["scene"]]]
        for name in SOLVERS:
            last = min(result["ptychi"][name], key=lambda point: point["error"])
            ours = _reached(result["refine"], last["error"])
            cells.append("not reached" if ours is None else _ratio(last, ours))
        rows.append(cells)
    return _table(("scene", *SOLVERS.values()), rows)


def _against_networks() -> str:
    rows = []
    for result in _record("refine_from_network")["results"]:
        network = result["refine_from_network"][0]
        ours = _reached(result["refine"], network["error"])
        cells = [SCENES[result["scene"]], _after(network)]
        rows.append((*cells, "not reached" if ours is None else _after(ours)))
    return _table(("scene", "network and steps", "`refine`"), rows)


def _alone() -> str:
    rows = [
        (
            f"{row['loss']}, {row['epochs']} epochs, {row['cpu_s']:.0f} s",
            f"{row['network_complex_nrmse']:.3f}",
            f"{row['untrained_complex_nrmse']:.3f}",
            f"{row['complex_nrmse']:.3f}",
            f"{row['flat_complex_nrmse']:.3f}",
        )
        for row in _record("network_time_64")["rows"]
    ]
    return _table(("trained with", "network alone", "steps alone", "both", "flat object"), rows)


def _slower(one: Sequence[dict[str, float]], other: Sequence[dict[str, float]]) -> float:
    """How many times as long the first refinement of one run took as the same one in another."""
    same = next(point for point in other if point["epochs"] == one[0]["epochs"])
    return one[0]["cpu_s"] / same["cpu_s"]


def _after(point: dict[str, float]) -> str:
    return f"{point['error']:.4f} after {point['cpu_s']:.3g} s"


def _ratio(theirs: dict[str, float], ours: dict[str, float]) -> str:
    return f"{theirs['cpu_s'] / ours['cpu_s']:.0f} times ({_after(theirs)}; `refine` {_after(ours)})"


def _spread(ratio: dict[str, float]) -> str:
    return f"{ratio['median']:.2f} ({ratio['min']:.2f} to {ratio['max']:.2f})"


def _epochs() -> str:
    rows = [
        (
            row["case"],
            *(_spread(row["times_the_transforms"][kind]) for kind in ("compiled", "torch")),
            f"{row['us_per_frame']['transforms']:.0f} µs, {row['us_per_frame']['compiled']:.0f} µs",
        )
        for row in _record("epoch_cost")["cases"]
    ]
    return _table(("case", "compiled", "torch", "transforms, compiled epoch"), rows)


def _sizes() -> str:
    rows = [
        (
            row["part"],
            f"{row['frames']:,}",
            f"{row['us_per_frame']['median']:.1f} µs",
            f"{row['times_the_smallest']:.2f}",
        )
        for row in _record("cost_curves")["rows"]
    ]
    return _table(("part", "frames", "per frame", "times the smallest"), rows)


def _networks() -> str:
    rows = [
        (str(row["N"]), row["task"], _spread(row["ratio"]))
        for row in _record("network_throughput")["results"]
        if row["clock"] == "cpu_per_s"
    ]
    return _table(("N", "task", "ratio"), rows)


def _start() -> str:
    seconds = _record("start_up")["seconds"]
    torch = seconds["import torch"]["median"]
    rows = [
        (f"`{name}`", f"{found['median'] / torch:.2f}", f"{found['median']:.2f} s")
        for name, found in seconds.items()
    ]
    return _table(("what", "times `import torch`", "median"), rows)


def _lost() -> str:
    rows = []
    for result in _record("refine_from_network")["results"]:
        least = 1.1 * min(point["error"] for point in result["refine"])
        flat, started = (_reached(result[name], least) for name in ("refine", "refine_from_network"))
        told = "not reached" if started is None else f"{started['cpu_s']:.1f} s"
        rows.append(
            f"  {SCENES[result['scene']]}: {told} from a network, {flat['cpu_s']:.1f} s from a flat object."
        )
    moved = next(row for row in _record("epoch_cost")["cases"] if row["case"] == "N = 64, probe moved")
    ratio = moved["times_the_transforms"]["compiled"]["median"]
    return (
        "\n".join(rows)
        + f"\n- A probe that is moved by fractions of a pixel (`sub_pixel: probe`) costs {ratio:.1f} "
        "times the transforms: the light\n  on each frame is read from memory, and made anew where "
        "probe or positions are fitted, or 256 MiB are full.\n"
        "- Two processes share the work of one machine at an efficiency of about 0.7 "
        "(`benchmarks/scale_out.md`).\n"
    )


def page() -> str:
    """The page, in Markdown."""
    return (
        f"{INTRODUCTION}\n\n{ERROR}{_against_peers()}{PER_FRAME}{_against_networks()}{ALONE}{_alone()}"
        f"{EPOCH}{_epochs()}{SIZES}{_sizes()}{NETWORKS}{_networks()}{START}{_start()}{LOST}{_lost()}"
    )


def draw_errors() -> Figure:
    """Error against processor time, one panel per scene."""
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    results = _record("refine_vs_ptychi")["results"]
    networks = {result["scene"]: result for result in _record("refine_from_network")["results"]}
    panels = figure.subplots(1, len(results), sharey=True)
    for panel, result in zip(panels, results, strict=True):
        curves = {"refine": result["refine"], **{SOLVERS[name]: result["ptychi"][name] for name in SOLVERS}}
        for name, curve in curves.items():
            ordered = sorted(curve, key=lambda point: point["cpu_s"])
            panel.loglog(
                [point["cpu_s"] for point in ordered], [point["error"] for point in ordered], ".-", label=name
            )
        other = networks[result["scene"]]
        network, slower = other["refine_from_network"][0], _slower(other["refine"], result["refine"])
        panel.loglog([network["cpu_s"] / slower], [network["error"]], "kx", label="network and steps")
        panel.axhline(result["flat"], color="0.7", linestyle=":")
        panel.set(title=SCENES[result["scene"]], xlabel="processor time (s)")
        panel.grid(alpha=0.3, which="both")
    panels[0].set_ylabel("error")
    panels[-1].legend(fontsize=8)
    FigureCanvasAgg(figure)
    return figure


def draw_sizes() -> Figure:
    """Processor time per frame against the number of frames, and of an epoch against their size."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    rows = _record("cost_curves")["rows"]
    for part in dict.fromkeys(row["part"] for row in rows):
        own = [row for row in rows if row["part"] == part]
        left.loglog(
            [row["frames"] for row in own], [row["us_per_frame"]["median"] for row in own], ".-", label=part
        )
    left.set(xlabel="frames", ylabel="time per frame (µs)")
    sizes = {64: "N = 64", 128: "N = 128", 256: "N = 256"}
    cases = {row["case"]: row["us_per_frame"] for row in _record("epoch_cost")["cases"]}
    for kind in ("torch", "compiled", "transforms"):
        name = "transforms alone" if kind == "transforms" else f"epoch, {kind}"
        right.loglog(list(sizes), [cases[case][kind] for case in sizes.values()], ".-", label=name)
    least = cases["N = 64"]["transforms"]
    right.loglog(list(sizes), [least * (n / 64) ** 2 for n in sizes], ":", color="0.6")
    right.set(xlabel="N (px)", xticks=list(sizes), xticklabels=[str(n) for n in sizes])
    right.minorticks_off()
    for panel in (left, right):
        panel.grid(alpha=0.3, which="both")
        panel.legend(fontsize=8)
    FigureCanvasAgg(figure)
    return figure


def main() -> None:
    """Write all of it."""
    (HERE / "performance.md").write_text(page(), encoding="utf-8")
    for name, draw in (("error_against_time", draw_errors), ("cost_against_size", draw_sizes)):
        draw().savefig(IMAGES / f"{name}.png", dpi=90, metadata={"Software": None})


if __name__ == "__main__":
    main()
