"""What every benchmark records beside its figures, and how it repeats a measurement."""

from __future__ import annotations

import json
import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from ptycho_torch.data import Scan
from ptycho_torch.metrics import compare
from ptycho_torch.reassembly import StitchedObject

__all__ = ["error_of", "machine", "repeat", "spread", "write_record"]


def error_of(scan: Scan, found: StitchedObject) -> float:
    """Complex normalised RMSE of an object against the truth of a scan, after alignment."""
    report = compare(
        found.object, scan.object_truth, weight=found.weight, origin=found.origin,
        truth_origin=scan.object_truth_origin, probe_diameter=scan.N / 2, frc=False,
    )  # fmt: skip
    return report.scores.complex_nrmse


def machine() -> dict[str, Any]:
    """Versions, threads and processor."""
    packages = ("torch", "lightning", "numpy", "scipy", "ptycho-config", "ptycho-torch-core")
    processor = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if "model name" in line
        ]
        processor = names[0] if names else processor
    return {
        "python": platform.python_version(),
        "processor": processor,
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "versions": {name: version(name) for name in packages},
    }


def repeat(candidates: dict[str, Callable[[], int]], *, rounds: int) -> dict[str, list[dict[str, float]]]:
    """Run candidates in turn; each returns how many patterns it worked through.

    Returns
    -------
    dict
        Per candidate one ``{"wall_per_s", "cpu_per_s"}`` per round, in patterns per second.
    """
    for work in candidates.values():
        work()
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, work in candidates.items():
            wall, cpu = time.perf_counter(), time.process_time()
            count = work()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            rows[name].append(
                {
                    "wall_per_s": count / (time.perf_counter() - wall),
                    "cpu_per_s": count / (time.process_time() - cpu),
                }
            )
    return rows


def spread(values: list[float]) -> dict[str, float]:
    """Median, minimum and maximum."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def write_record(path: Path, record: dict[str, Any]) -> None:
    """Write a record with the machine's description as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"machine": machine(), **record}, indent=2) + "\n")
