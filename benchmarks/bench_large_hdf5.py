"""Resident memory while a scan larger than that memory is opened, trained on and reconstructed.

Writes a synthetic scan as diffraction.h5 and product.h5, in frames as large as a detector delivers them, and
opens it cropped to the size that is solved (every frame is checked). Then it fetches batches in random order
and in order; or, with --train, trains one whole epoch and reconstructs from all frames with the commands of
the package, each in a process of its own that reads and checks every frame again. Prints JSON with time, rate
and the largest resident size of each phase. The scan is deleted afterwards.

    python benchmarks/bench_large_hdf5.py --gigabytes 10 --directory /path/with/space
    python benchmarks/bench_large_hdf5.py --gigabytes 10 --train --json results/large_hdf5.json

With --inspect the frames are packed, and looked through by `ptycho-torch inspect` with all diagnoses, beside
the same frames read once by h5py and added up:

    python benchmarks/bench_large_hdf5.py --gigabytes 10 --inspect --json results/large_inspect.json
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
from bench_record import write_record

from ptycho_torch.data.hdf5.product import write_product
from ptycho_torch.data.opening import open_scan
from ptycho_torch.data.scan.contract import Scan
from ptycho_torch.data.scan.geometry import DETECTOR_PIXEL, ScanGeometry
from ptycho_torch.data.scan.lazy import FrameStack
from ptycho_torch.data.simulation.scenes import defocused_probe

GEOMETRY = {
    "photon_energy_eV": 8000.0,
    "detector_object_distance_m": 2.0,
    "detector_pixel_width_m": 75e-6,
    "detector_pixel_height_m": 75e-6,
}


class SyntheticFrames(FrameStack):
    """Poisson noise around a broad peak: a few frames, drawn once, in turn. Nothing is kept of the others."""

    def __init__(self, n: int, detector: int, N: int, seed: int) -> None:
        super().__init__()
        self.shape, self.dtype = (n, detector, detector), np.dtype(np.int32)
        y, x = np.mgrid[:detector, :detector] - detector // 2
        mean = 40.0 * np.exp(-(x**2 + y**2) / (2 * (N / 8) ** 2))
        size = (32, detector, detector)
        self.bank = np.random.default_rng(seed).poisson(mean, size=size).astype(self.dtype)

    def __getitem__(self, index: slice) -> np.ndarray:
        return self.bank[np.arange(self.shape[0])[index] % len(self.bank)]

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


def write_scan(folder: Path, n: int, detector: int, N: int, seed: int, *, packed: bool = False) -> None:
    """Write the pair; the frames as raw chunks of one frame each, because packing them would take longest.

    Steps are four pixels of the object that is solved, whose pixels are larger than those of the detector's.
    """
    side = int(np.ceil(np.sqrt(n)))
    frames = SyntheticFrames(n, detector, N, seed)
    scan = Scan(
        diffraction=frames,
        positions=(np.stack(np.divmod(np.arange(n), side), axis=1) * 4.0 + N) * detector / N,
        probe=defocused_probe(detector),
        # Empty space of the size of such a scan would be larger than some machines.
        object_truth=np.ones((detector, detector), dtype=np.complex64),
        metadata=GEOMETRY,
    )
    with h5py.File(folder / "diffraction.h5", "w") as file:
        file["indexes"] = np.arange(n)
        patterns = file.create_dataset(
            "patterns",
            shape=frames.shape,
            dtype=frames.dtype,
            chunks=(1, detector, detector),
            compression="lzf" if packed else None,
        )
        for name in DETECTOR_PIXEL:
            patterns.attrs[name] = GEOMETRY[name]
        chunks = _packed(folder, frames.bank) if packed else [frame.tobytes() for frame in frames.bank]
        for number in range(n):
            patterns.id.write_direct_chunk((number, 0, 0), chunks[number % len(chunks)])
    geometry = ScanGeometry.from_entries(GEOMETRY, detector)
    with h5py.File(folder / "product.h5", "w") as file:
        write_product(file, scan, geometry, np.arange(n))


def _packed(folder: Path, frames: np.ndarray) -> list[bytes]:
    """Frames as chunks that HDF5 has packed."""
    with h5py.File(folder / "packed.h5", "w") as file:
        data = file.create_dataset("frames", data=frames, chunks=(1, *frames.shape[1:]), compression="lzf")
        file.flush()
        chunks = [data.id.read_direct_chunk((number, 0, 0))[1] for number in range(len(frames))]
    (folder / "packed.h5").unlink()
    return chunks


def read_once(folder: Path) -> None:
    """Add up every frame, 16 at a time, with h5py alone."""
    with h5py.File(folder / "diffraction.h5") as file:
        patterns = file["patterns"]
        for start in range(0, len(patterns), 16):
            patterns[start : start + 16].sum(axis=(1, 2), dtype=np.float64)


def command(report: dict[str, dict[str, float]], phase: str, *words: str) -> None:
    """Run a command of the package; its largest resident size is that of its process."""
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "ptycho_torch_cli", *words], stdout=sys.stderr)
    _, status, usage = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status) != 0:
        raise RuntimeError(f"{phase} failed: {' '.join(words)}")
    report[phase] = {
        "seconds": round(time.perf_counter() - start, 2),
        "processor_seconds": round(usage.ru_utime + usage.ru_stime, 2),
        "largest_resident_megabytes": round(usage.ru_maxrss * 1024 / 1e6),
    }


def train_and_reconstruct(
    folder: Path, work: Path, arguments: argparse.Namespace, report: dict[str, dict[str, float]]
) -> None:
    """One epoch, then the object, over as many groups as were asked for, drawn from the whole file."""
    common = ["--accelerator", arguments.accelerator, "--n-groups", arguments.groups]
    command(
        report, "train one epoch", "train", "--train-data-file", str(folder),
        "--output-dir", str(work / "model"), "--N", str(arguments.size),
        "--nepochs", "1", "--n-filters-scale", str(arguments.filters), "--batch-size", str(arguments.batch),
        "--logger", "none", *common,
    )  # fmt: skip
    command(
        report, "reconstruct", "infer", "--model-path", str(work / "model"), "--test-data", str(folder),
        "--output-dir", str(work / "result"), *common,
    )  # fmt: skip


def go_through(scan: Scan, arguments: argparse.Namespace, report: dict[str, dict[str, float]]) -> None:
    """Every frame once in batches: in random order, then as stored."""
    n, batch = scan.n_frames, arguments.batch
    order = np.random.default_rng(arguments.seed).permutation(n)
    for phase, rows in (("random batches", order), ("in order", np.arange(n))):
        with measured(report, phase) as entry:
            for start in range(0, n, batch):
                scan.diffraction[rows[start : start + batch]].astype(np.float32).mean()
            entry["frames"] = n
        entry["frames_per_second"] = round(n / entry["seconds"])


def run(folder: Path, arguments: argparse.Namespace) -> dict[str, object]:
    """Write, open and go through the scan."""
    N, detector = arguments.size, arguments.detector
    phases: dict[str, dict[str, float]] = {}
    if arguments.scan is None:
        frame_bytes = detector**2 * np.dtype(np.int32).itemsize
        wanted = arguments.frames or int(arguments.gigabytes * 1e9 / frame_bytes)
        with measured(phases, "write"):
            write_scan(folder, max(64, wanted), detector, N, arguments.seed, packed=arguments.inspect)
    if arguments.inspect:
        with measured(phases, "read once") as entry:
            started = time.process_time()
            read_once(folder)
            entry["processor_seconds"] = round(time.process_time() - started, 2)
        command(phases, "inspect", "inspect", str(folder), "--json")
        return record_of(folder, phases, arguments)
    with measured(phases, "open and check"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "frames of .* were cropped")
        scan = open_scan(folder, N=N)
    if arguments.train:
        del scan
        with tempfile.TemporaryDirectory(dir=arguments.directory) as work:
            train_and_reconstruct(folder, Path(work), arguments, phases)
    else:
        go_through(scan, arguments, phases)
    return record_of(folder, phases, arguments)


def record_of(
    folder: Path, phases: dict[str, dict[str, float]], arguments: argparse.Namespace
) -> dict[str, object]:
    """What was measured, and of which scan."""
    stored = sum(path.stat().st_size for path in folder.iterdir())
    with h5py.File(folder / "diffraction.h5") as file:
        n, detector = file["patterns"].shape[:2]
        claimed = file["patterns"].nbytes
    return {
        "frames": n,
        "detector": detector,
        "N": arguments.size,
        "gigabytes": round(claimed / 1e9, 2),
        "stored_gigabytes": round(stored / 1e9, 2),
        "batch": arguments.batch,
        "groups": arguments.groups if arguments.train else None,
        "n_filters_scale": arguments.filters if arguments.train else None,
        "phases": phases,
        "versions": {"python": platform.python_version(), "numpy": np.__version__, "h5py": h5py.__version__},
    }


def main() -> int:
    """Read the arguments, run, print JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=10.0, help="size of all frames")
    parser.add_argument("--detector", type=int, default=512, help="edge of a frame in the file; px")
    parser.add_argument("--size", type=int, default=64, help="edge of the middle that is solved; px")
    parser.add_argument("--batch", type=int, default=16, help="frames fetched together")
    parser.add_argument("--frames", type=int, help="how many frames to write, in place of --gigabytes")
    parser.add_argument("--inspect", action="store_true", help="pack the frames and inspect them")
    parser.add_argument("--train", action="store_true", help="train one epoch and reconstruct")
    parser.add_argument(
        "--groups", default="none", help="how many frames to train on and reconstruct from; none: all"
    )
    parser.add_argument("--filters", type=int, default=1, help="width of the network (n_filters_scale)")
    parser.add_argument("--accelerator", default="cpu")
    parser.add_argument("--json", type=Path, help="write the record there too, with what the machine is")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scan", type=Path, help="read this directory instead of writing a scan")
    parser.add_argument("--directory", type=Path, help="where to put the scan for a while")
    arguments = parser.parse_args()
    folder = arguments.scan or Path(tempfile.mkdtemp(prefix="large-scan-", dir=arguments.directory))
    try:
        record = run(folder, arguments)
    finally:
        if arguments.scan is None:
            shutil.rmtree(folder)
    json.dump(record, sys.stdout, indent=2)
    print()
    if arguments.json is not None:
        write_record(arguments.json, record)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
