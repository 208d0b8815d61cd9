"""How long it takes to group scan positions.

Usage: ``python benchmarks/bench_grouping.py [--n 100000] [--repeats 7] [--output grouping.json]``.
Writes JSON with the median, the fastest and the slowest of several runs for each case, and the versions
and machine they ran on.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import scipy

from ptycho_torch.data.groups.grouping import make_groups

CASES: dict[str, dict[str, Any]] = {
    "gridsize 1": {"gridsize": 1, "neighbor_count": 4},
    "gridsize 2": {"gridsize": 2, "neighbor_count": 4},
    "gridsize 2, pool of 8": {"gridsize": 2, "neighbor_count": 8},
    "gridsize 2, pool of 8, four groups per frame": {
        "gridsize": 2,
        "neighbor_count": 8,
        "oversampling": True,
        "per_frame": 4,
    },
    "gridsize 3, pool of 12": {"gridsize": 3, "neighbor_count": 12},
}


def scans(n: int) -> dict[str, np.ndarray]:
    """A random scan, and a raster whose positions tie in distance, of ``n`` positions each."""
    side = int(np.ceil(np.sqrt(n)))
    raster = np.stack(np.divmod(np.arange(n), side), axis=1) * 4.0
    return {"random": np.random.default_rng(0).uniform(0, 4.0 * side, (n, 2)), "raster": raster}


def measure(positions: np.ndarray, case: dict[str, Any], repeats: int) -> dict[str, Any]:
    """Seconds per call, after one call that is not counted."""
    options = dict(case)
    per_frame = options.pop("per_frame", None)
    n_groups = None if per_frame is None else per_frame * len(positions)
    seconds = []
    made = 0
    for run in range(repeats + 1):
        start = time.perf_counter()
        made = len(make_groups(positions, n_groups=n_groups, seed=run, **options))
        seconds.append(time.perf_counter() - start)
    return {
        "n_groups": made,
        "seconds_median": statistics.median(seconds[1:]),
        "seconds_min": min(seconds[1:]),
        "seconds_max": max(seconds[1:]),
    }


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=100_000, help="scan positions")
    parser.add_argument("--repeats", type=int, default=7, help="timed calls per case")
    parser.add_argument("--output", type=Path, help="JSON file to write; standard output if not given")
    args = parser.parse_args(argv)
    record: dict[str, Any] = {
        "n_positions": args.n,
        "repeats": args.repeats,
        "machine": {"system": platform.platform(), "processor": platform.machine()},
        "versions": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "scipy": scipy.__version__,
        },
        "results": [
            {"scan": name, "case": label, **measure(positions, case, args.repeats)}
            for name, positions in scans(args.n).items()
            for label, case in CASES.items()
        ],
    }
    text = json.dumps(record, indent=2)
    if args.output is None:
        sys.stdout.write(text + "\n")
    else:
        args.output.write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
