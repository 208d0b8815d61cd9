"""Resident memory while a scan larger than that memory is opened, shuffled through and gone through in order.

Writes a synthetic scan as diffraction.h5 and product.h5, opens it (every frame is checked), fetches batches
in random order as a training epoch does, then in order as a reconstruction does, and prints JSON with time,
rate and the largest resident size of each phase. The scan is deleted afterwards.

    python benchmarks/bench_large_hdf5.py --gigabytes 10 --directory /path/with/space
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from ptycho_torch.data.contract import Scan
from ptycho_torch.data.lazy import FrameStack
from ptycho_torch.data.ptychodus_files import write_pair
from ptycho_torch.data.reader import open_scan
from ptycho_torch.data.scenes import defocused_probe

GEOMETRY = {
    "photon_energy_eV": 8000.0,
    "detector_object_distance_m": 2.0,
    "detector_pixel_width_m": 75e-6,
    "detector_pixel_height_m": 75e-6,
}


class SyntheticFrames(FrameStack):
    """Poisson noise around a broad peak: a few frames, drawn once, in random order and turned by chance."""

    def __init__(self, n: int, N: int, seed: int) -> None:
        super().__init__()
        self.shape, self.dtype = (n, N, N), np.dtype(np.uint16)
        self.seed = seed
        y, x = np.mgrid[:N, :N] - N // 2
        mean = 40.0 * np.exp(-(x**2 + y**2) / (2 * (N / 8) ** 2))
        self._bank = np.random.default_rng(seed).poisson(mean, size=(256, N, N)).astype(np.uint16)

    def __getitem__(self, index: slice) -> np.ndarray:
        rows = np.arange(self.shape[0])[index]
        generator = np.random.default_rng((self.seed, int(rows[0])))
        chosen = self._bank[generator.integers(len(self._bank), size=len(rows))]
        return chosen[:, :, ::-1] if generator.random() < 0.5 else chosen

    def take(self, indices: np.ndarray) -> FrameStack:
        raise TypeError("synthetic frames are only written")

    def crop(self, N: int) -> FrameStack:
        raise TypeError("synthetic frames are only written")


def resident_bytes() -> int:
    """Memory that is resident now."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("this benchmark reads /proc/self/status and needs Linux")


@contextmanager
def measured(report: dict[str, dict[str, float]], phase: str) -> Iterator[dict[str, float]]:
    """Time and resident size of a phase; the largest is that of the process so far."""
    entry: dict[str, float] = {}
    start = time.perf_counter()
    yield entry
    entry["seconds"] = round(time.perf_counter() - start, 2)
    entry["resident_megabytes_at_end"] = round(resident_bytes() / 1e6)
    entry["largest_resident_megabytes"] = round(
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    )
    report[phase] = entry


def write_scan(folder: Path, n: int, N: int, seed: int) -> None:
    """Write the scan piece by piece."""
    side = int(np.ceil(np.sqrt(n)))
    positions = np.stack(np.divmod(np.arange(n), side), axis=1) * 4.0 + N
    scan = Scan(
        diffraction=SyntheticFrames(n, N, seed),
        positions=positions,
        probe=defocused_probe(N),
        # Empty space of the size of such a scan would be larger than some machines.
        object_truth=np.ones((N, N), dtype=np.complex64),
        metadata=GEOMETRY,
    )
    write_pair(folder, scan)


def run(folder: Path, arguments: argparse.Namespace) -> dict[str, object]:
    """Write, open and go through the scan."""
    N = arguments.size
    phases: dict[str, dict[str, float]] = {}
    if arguments.scan is None:
        with measured(phases, "write"):
            write_scan(folder, max(64, int(arguments.gigabytes * 1e9 / (N * N * 2))), N, arguments.seed)
    with measured(phases, "open and check"):
        scan = open_scan(folder)
    n, N = scan.n_frames, scan.N
    order = np.random.default_rng(arguments.seed).permutation(n)
    with measured(phases, "random batches") as entry:
        total = 0.0
        for start in range(0, n, arguments.batch):
            total += float(scan.diffraction[order[start : start + arguments.batch]].astype(np.float32).mean())
        entry["frames"] = n
    with measured(phases, "in order") as entry:
        for start in range(0, n, arguments.batch):
            total += float(scan.diffraction[start : start + arguments.batch].astype(np.float32).mean())
        entry["frames"] = n
    for phase in ("random batches", "in order"):
        phases[phase]["frames_per_second"] = round(n / phases[phase]["seconds"])
    stored = sum(path.stat().st_size for path in folder.iterdir())
    return {
        "frames": n,
        "N": N,
        "uncompressed_gigabytes": round(n * N * N * 2 / 1e9, 2),
        "stored_gigabytes": round(stored / 1e9, 2),
        "batch": arguments.batch,
        "phases": phases,
        "versions": {"python": platform.python_version(), "numpy": np.__version__, "h5py": h5py.__version__},
    }


def main() -> int:
    """Read the arguments, run, print JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=10.0, help="size of the frames before compression")
    parser.add_argument("--size", type=int, default=128, help="edge of a frame; px")
    parser.add_argument("--batch", type=int, default=16, help="frames fetched together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scan", type=Path, help="read this directory instead of writing a scan")
    parser.add_argument("--directory", type=Path, help="where to put the scan for a while")
    arguments = parser.parse_args()
    if arguments.scan is not None:
        json.dump(run(arguments.scan, arguments), sys.stdout, indent=2)
        print()
        return 0
    folder = Path(tempfile.mkdtemp(prefix="large-scan-", dir=arguments.directory))
    try:
        json.dump(run(folder, arguments), sys.stdout, indent=2)
        print()
    finally:
        shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
