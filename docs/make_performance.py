"""Write the page on performance, and its figure, from the records in benchmarks/results.

`nox -s bench` measures what this machine can measure in minutes, and then runs this.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

__all__ = ["draw", "main", "page"]

HERE = Path(__file__).resolve().parent
RECORDS = HERE.parent / "benchmarks" / "results"
FIGURE = HERE / "images" / "error_against_time.png"

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
EPOCH = """## What an epoch of `refine` costs

A frame needs one pair of transforms for each mode of the probe. An epoch costs so many times these
transforms, with the steps that a C compiler makes fast, and with those of torch, which are used where there
is no compiler, on a GPU and in double precision:

"""
SIZES = """## How the cost grows with the number of frames

Processor time per frame, frames of 32 px. Whatever falls has a fixed cost that more frames share; nothing
grows faster than the scan.

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


def _ratio(theirs: dict[str, float], ours: dict[str, float]) -> str:
    told = [f"{point['error']:.4f} after {point['cpu_s']:.3g} s" for point in (theirs, ours)]
    return f"{theirs['cpu_s'] / ours['cpu_s']:.0f} times ({told[0]}; `refine` {told[1]})"


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
        "times the transforms: it is\n  made anew for each frame.\n"
        "- Two processes share the work of one machine at an efficiency of about 0.7 "
        "(`benchmarks/scale_out.md`).\n"
    )


def page() -> str:
    """The page, in Markdown."""
    return (
        f"{INTRODUCTION}\n\n{ERROR}{_against_peers()}{EPOCH}{_epochs()}{SIZES}{_sizes()}{NETWORKS}{_networks()}"
        f"{START}{_start()}{LOST}{_lost()}"
    )


def draw() -> Figure:
    """Error against processor time, one panel per scene."""
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    results = _record("refine_vs_ptychi")["results"]
    panels = figure.subplots(1, len(results), sharey=True)
    for panel, result in zip(panels, results, strict=True):
        curves = {"refine": result["refine"], **{SOLVERS[name]: result["ptychi"][name] for name in SOLVERS}}
        for name, curve in curves.items():
            ordered = sorted(curve, key=lambda point: point["cpu_s"])
            panel.loglog(
                [point["cpu_s"] for point in ordered], [point["error"] for point in ordered], ".-", label=name
            )
        panel.axhline(result["flat"], color="0.7", linestyle=":")
        panel.set(title=SCENES[result["scene"]], xlabel="processor time (s)")
        panel.grid(alpha=0.3, which="both")
    panels[0].set_ylabel("error")
    panels[-1].legend(fontsize=8)
    FigureCanvasAgg(figure)
    return figure


def main() -> None:
    """Write both."""
    (HERE / "performance.md").write_text(page(), encoding="utf-8")
    draw().savefig(FIGURE, dpi=90, metadata={"Software": None})


if __name__ == "__main__":
    main()
