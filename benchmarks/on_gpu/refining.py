"""`refine` on a device: frame-epochs per second beside what its memory allows, memory, error against time."""

from __future__ import annotations

import itertools
import time
from typing import Any

import numpy as np
import torch
from bench_record import spread
from parts import STEP_PX, Rows, Setting, forget_peak, peak_bytes, rates, scan_of, wall_s
from refine_vs_ptychi import prepare, run_ours, run_theirs

from ptycho_torch.data.scan.contract import Scan
from ptycho_torch.data.simulation.simulate import simulate_scene
from ptycho_torch.refine import refine
from ptycho_torch.refine.frames import FrameSource

# Complex values that go through memory for a pixel of a frame in an epoch of one mode, where every step is a
# kernel of its own and the probe stays in the cache: patch read and wave written, two transforms that read
# and write, a comparison that reads and writes, and a gradient that is read and added to the canvas.
_COMPLEX_PASSES = 2 + 4 + 2 + 3
_BYTES = 8
_EPOCHS = 10


def least_bytes(scan: Scan) -> int:
    """Bytes that an epoch moves through the memory of the device for a frame, if nothing is moved twice."""
    counted: int = scan.diffraction.dtype.itemsize
    return scan.N**2 * (_BYTES * _COMPLEX_PASSES + counted)


def bandwidth(setting: Setting) -> dict[str, float]:
    """Bytes per second of a copy on the device, read and written, and from host memory to it."""
    n_bytes = 2**24 if setting.quick else 2**31
    source = torch.empty(n_bytes, dtype=torch.uint8, device=setting.device)
    target = torch.empty_like(source)
    host = torch.empty(n_bytes, dtype=torch.uint8)
    found = {
        "device": rates(lambda: target.copy_(source), 2 * n_bytes, setting)["median"],
        "from_host": rates(lambda: target.copy_(host), n_bytes, setting)["median"],
    }
    if setting.device == "cuda":
        pinned = host.pin_memory()
        found["from_page_locked_host"] = rates(lambda: target.copy_(pinned), n_bytes, setting)["median"]
    return found


def loading(scan: Scan, setting: Setting, together: int = 1024) -> dict[str, float]:
    """Frames per second that come from host memory to the device, as `refine` reads them."""
    source = FrameSource(scan, 1.0, torch.device(setting.device), torch.float32)
    parts = np.array_split(np.arange(scan.n_frames), max(1, scan.n_frames // together))

    def whole() -> None:
        for part in parts:
            source.load(part)

    return rates(whole, scan.n_frames, setting)


def refinement(setting: Setting) -> Rows:
    """Frame-epochs per second of epochs in subsets and of those that take all frames at once."""
    speeds = bandwidth(setting)
    yield {"bytes_per_s": speeds}
    sizes = {32: (25, 5)} if setting.quick else {64: (65536, 32), 128: (16384, 16), 256: (4096, 8)}
    for n_pixels, (n_frames, side) in sizes.items():
        scan, times = scan_of(n_pixels, n_frames, side), [0.0]

        def look(epoch: int, n_epochs: int, residual: float, times: list[float] = times) -> None:
            times.append(time.perf_counter())

        def whole(scan: Scan = scan, look: Any = look) -> None:
            refine(scan, epochs=_EPOCHS, tolerance=0, error_bars="none", device=setting.device, progress=look)

        forget_peak(setting.device)
        whole()
        times.clear()
        took = wall_s(whole, setting.device)
        steps = [scan.n_frames / (later - earlier) for earlier, later in itertools.pairwise(times)]
        limit = speeds["device"] / least_bytes(scan)
        yield {
            "N": n_pixels,
            "frames": scan.n_frames,
            "epochs_in_subsets_per_s": spread(steps[: _EPOCHS // 2]),
            "last_epochs_per_s": spread(steps[-2:]),
            "whole_call_per_s": _EPOCHS * scan.n_frames / took,
            "loading_alone_per_s": loading(scan, setting),
            "bytes_per_frame_epoch": least_bytes(scan),
            "memory_allows_per_s": limit,
            "share_of_the_limit": spread(steps)["median"] / limit,
            "peak_bytes": peak_bytes(setting.device),
        }


def memory(setting: Setting) -> Rows:
    """Memory that `refine` takes for 100,000 frames of 128 px, or for as many as fit."""
    n_pixels, n_frames, side = (32, 16, 4) if setting.quick else (128, 100_000, 16)
    while True:
        scan = scan_of(n_pixels, n_frames, side)
        forget_peak(setting.device)
        row = {"N": n_pixels, "frames": scan.n_frames, "bytes_of_frames": scan.diffraction.nbytes}
        try:
            took = wall_s(
                lambda scan=scan: refine(scan, epochs=2, error_bars="none", device=setting.device),
                setting.device,
            )
        except torch.cuda.OutOfMemoryError:
            yield {**row, "fits": False}
            n_frames //= 2
            continue
        yield {**row, "fits": True, "wall_s": took, "peak_bytes": peak_bytes(setting.device)}
        return


def against_ptychi(setting: Setting) -> Rows:
    """Error against wall time on 784 frames of 64 px, of `refine` and of Pty-Chi on the same device."""
    if setting.quick:
        scan = simulate_scene("natural", N=32, grid=(5, 5), step_px=STEP_PX[32], jitter_px=0.0, seed=3)
    else:
        scan = prepare("natural", 3, None)
    epochs = (5,) if setting.quick else (5, 10, 20, 40, 60, 100, 250)
    # Once for nothing: the first call of every kernel costs more.
    run_ours(scan, None, epochs[0], device=setting.device)
    for count in epochs:
        yield {"program": "refine", **run_ours(scan, None, count, device=setting.device)}
    if setting.ptychi_python is None:
        return
    weight = refine(scan, epochs=1).object.weight
    budget, last = (20.0, 10) if setting.quick else (20.0, 10**6)
    # Small batches leave a GPU idle: their best on a processor, and eight times as many frames together.
    for solver, larger in itertools.product(("lsqml", "autodiff"), (1, 8)):
        rows = run_theirs(
            scan, solver, setting.ptychi_python, budget, last, weight, device=setting.device, larger=larger
        )
        for row in rows:
            yield {"program": f"Pty-Chi {solver}", "times_the_batch": larger, **row}
