"""Parts of a run that has to end in time, scans for them, and the clock of a device."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench_record import spread, write_record

from ptycho_torch.data.scan.contract import Scan
from ptycho_torch.data.simulation.simulate import simulate_scene

STEP_PX = {32: 3.0, 64: 6.0, 128: 12.0, 256: 24.0}

Rows = Iterator[dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Where the parts are run, and how large."""

    device: str
    quick: bool
    rounds: int
    ptychi_python: str | None = None


Parts = Mapping[str, tuple[Callable[[Setting], Rows], float]]
"""What yields the rows of a part, and about how many seconds it takes on an H200."""


def run(parts: Parts, setting: Setting, seconds: float, output: Path) -> dict[str, Any]:
    """Run parts while there is time; the record is written after every row.

    Parameters
    ----------
    parts
        In the order of their worth.
    setting
        For all of them.
    seconds
        A part is begun only where its time is left of these, and ended after the row that oversteps them.
    output
        Record.
    """
    began = time.perf_counter()
    record: dict[str, Any] = {"device": setting.device, "quick": setting.quick, "parts": {}, "left_out": {}}
    for name, (rows_of, needed) in parts.items():
        left = seconds - (time.perf_counter() - began)
        if left < needed and not setting.quick:
            record["left_out"][name] = f"{left:.0f} s were left, it takes about {needed:.0f} s"
            write_record(output, record)
            continue
        part: dict[str, Any] = {"rows": [], "whole": False}
        record["parts"][name] = part
        since = time.perf_counter()
        for row in rows_of(setting):
            part["rows"].append(row)
            part["wall_s"] = time.perf_counter() - since
            print(f"{name}: {row}", flush=True)
            write_record(output, record)
            if time.perf_counter() - began > seconds and not setting.quick:
                break
        else:
            part["whole"] = True
        write_record(output, record)
    return record


def wait_for(device: str) -> None:
    """Until the device has done what it was given."""
    if device == "cuda":
        torch.cuda.synchronize()


def wall_s(work: Callable[[], Any], device: str) -> float:
    """Wall time of a call, the work of the device included."""
    wait_for(device)
    began = time.perf_counter()
    work()
    wait_for(device)
    return time.perf_counter() - began


def rates(work: Callable[[], Any], count: float, setting: Setting) -> dict[str, float]:
    """How many per second a function works through, after one call that does not count."""
    work()
    return spread([count / wall_s(work, setting.device) for _ in range(setting.rounds)])


def peak_bytes(device: str) -> int | None:
    """Most memory that tensors took on the device since the count was last reset; None on the processor."""
    return torch.cuda.max_memory_allocated() if device == "cuda" else None


def forget_peak(device: str) -> None:
    """Reset the count of :func:`peak_bytes`."""
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def scan_of(n_pixels: int, n_frames: int, side: int = 32) -> Scan:
    """A lines scan of about ``n_frames`` frames, copies of one of ``side`` × ``side`` frames side by side.

    What it shows does not matter for the time.
    """
    step = STEP_PX[n_pixels]
    tile = simulate_scene("lines", N=n_pixels, grid=(side, side), step_px=step, jitter_px=step / 4, seed=1)
    rows = max(1, round((n_frames / side**2) ** 0.5))
    columns = max(1, round(n_frames / side**2 / rows))
    starts = np.array([(i, j) for i in range(rows) for j in range(columns)]) * side * step
    n_copies = len(starts)
    return replace(
        tile,
        diffraction=np.tile(tile.diffraction, (n_copies, 1, 1)),
        positions=(tile.positions + starts[:, None]).reshape(-1, 2),
        positions_nominal=None,
        frame_index=np.arange(n_copies * side**2),
        scan_index=np.zeros(n_copies * side**2, dtype=np.int64),
        object_truth=None,
        object_truth_origin=None,
    )
