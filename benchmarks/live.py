"""Live reconstruction under load: losses, rates, delays, memory, and how good the picture is on the way.

    python benchmarks/live.py --output benchmarks/results/live.json

Frames come over loopback from another process, which runs ``ptycho-torch replay``. Parts that the record
holds already are left as they are.

``memory``
    100 000 small frames as fast as they come, most of them kept on the disk.
``rates``
    Frames of 128 x 128 uint16 at 500 a second, received, unpacked, joined and worked on at the same time.
``picture``
    A scan row by row: error against the truth when 10, 50 and 100 of 100 frames have come, beside that of a
    refinement of the same frames at leisure.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench_record import write_record

from ptycho_config import RefineConfig
from ptycho_torch.data.formats.npz import save_scan
from ptycho_torch.data.scan.contract import Scan
from ptycho_torch.data.simulation.simulate import simulate_scene
from ptycho_torch.live.frame_store import SpillingStore
from ptycho_torch.live.messages import End, Frames
from ptycho_torch.live.replay.play import frame_kind
from ptycho_torch.live.replay.sender import open_sender
from ptycho_torch.live.scan import LiveScan
from ptycho_torch.live.session import Session
from ptycho_torch.live.source_registry import open_source
from ptycho_torch.metrics import compare
from ptycho_torch.models import GeneratorSpec, PatchModel
from ptycho_torch.physics import calibrate
from ptycho_torch.reassembly import StitchedObject
from ptycho_torch.refine import refine

SOURCE_OF = {"zmq": "zmq", "dectris": "dectris", "dectris-v1": "dectris"}
SHARES = (0.1, 0.5, 1.0)
PATIENCE_S = 90.0


def free_address() -> str:
    """An address of this machine that nobody listens at."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{taken.getsockname()[1]}"


@contextmanager
def replayed(scan: Scan, protocol: str, rate: float) -> Iterator[dict[str, str]]:
    """Play a scan from another process; addresses of its frames and positions, as sources."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scan.npz"
        save_scan(path, scan)
        frames, positions = free_address(), free_address()
        command = [sys.executable, "-m", "ptycho_torch_cli", "replay", str(path), "--to", frames]
        command += [
            "--positions-to",
            f"zmq:{positions}",
            "--protocol",
            protocol,
            "--rate",
            str(rate),
            "--quiet",
        ]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            yield {"frames": f"{SOURCE_OF[protocol]}:{frames}", "positions": f"zmq:{positions}"}
            process.wait(30)
        finally:
            process.kill()


def attached(live: LiveScan, addresses: dict[str, str]) -> Session:
    """A session that receives from all addresses."""
    session = Session(live)
    for gives, address in addresses.items():
        session.attach(address, open_source(address, gives), gives)  # type: ignore[arg-type]
    return session


def untrained(scan: Scan) -> PatchModel:
    """The default network with the weights it begins with, which are as fast as any."""
    calibration = calibrate(torch.from_numpy(scan.probe), float(scan.counts_per_frame().mean()))
    torch.manual_seed(0)
    return PatchModel("unrolled", GeneratorSpec(n_pixels=scan.N), calibration)


def work_off(live: LiveScan, seconds: float) -> float:
    """Go on until every frame has had its influence, or the time is up; how long it took."""
    began = time.perf_counter()
    while live.n_used < live.arrivals.n_joined and time.perf_counter() - began < seconds:
        live.advance()
    return time.perf_counter() - began


def rates_of(scan: Scan, protocol: str, model: PatchModel | None, rate: float) -> dict[str, Any]:
    """What becomes of a scan that comes at a rate, and how fast it is worked on meanwhile."""
    live = LiveScan(model=model, probe=scan.probe, config=RefineConfig())
    with replayed(scan, protocol, rate) as addresses:
        session = attached(live, addresses)
        cpu = time.process_time()
        ended = session.run()
        cpu = time.process_time() - cpu
    counted = live.counters(ended=True)
    times = live.arrivals.times(live.arrivals.joined())
    seconds = float(np.ptp(times))
    used = live.n_used
    rest_cpu = time.process_time()
    rest = work_off(live, PATIENCE_S)
    rest_cpu = time.process_time() - rest_cpu
    return {
        "ended": ended,
        "received": counted.received,
        "joined": counted.joined,
        "lost": counted.lost,
        "refused": sum(counted.refused.values()),
        "received_per_s": counted.received / seconds,
        "used_when_over": used,
        "seconds_until_all_used": rest,
        "used_per_s": live.n_used / (seconds + rest),
        "used_per_cpu_s": live.n_used / (cpu + rest_cpu),
        "delay_s": session.state()["delay_s"],
        "receiver_cpu_s": cpu,
    }


def rates(arguments: argparse.Namespace) -> dict[str, Any]:
    """Every protocol without a network, and the default network once."""
    side = arguments.side
    scan = simulate_scene("lines", N=arguments.n_pixels, grid=(side, side), step_px=8.0, photons=1e5, seed=1)
    network = untrained(scan)
    cases: list[tuple[str, PatchModel | None]] = [(protocol, None) for protocol in SOURCE_OF]
    found = {}
    for protocol, model in [*cases, ("dectris", network)]:
        name = f"{protocol}, {'refined' if model is None else 'predicted by unrolled'}"
        found[name] = rates_of(scan, protocol, model, arguments.rate)
        print(name, found[name], flush=True)
    return {"frames": scan.n_frames, "N": scan.N, "rate": arguments.rate, "cases": found}


def resident_mb() -> float:
    """Resident memory of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return float("nan")


def send_many(address: str, n_frames: int, n_pixels: int) -> None:
    """Send frames of a small scan again and again, with the positions of a large raster."""
    scan = simulate_scene("lines", N=n_pixels, grid=(20, 20), step_px=4.0, photons=1e5, seed=1)
    columns = round(n_frames**0.5)
    sender = open_sender("zmq", address, "frames", frame_kind(scan))
    for number in range(n_frames):
        row = slice(number % scan.n_frames, number % scan.n_frames + 1)
        place = np.array([divmod(number, columns)]) * 2.0
        message = Frames(numbers=[number], frames=scan.diffraction[row], positions=place, unit="px")
        sender.send(message, lambda: True)
    sender.send(End(), lambda: True)
    sender.close()


def memory(arguments: argparse.Namespace) -> dict[str, Any]:
    """Resident memory while many frames come, which are worked on at the same time."""
    scan = simulate_scene("lines", N=32, grid=(20, 20), step_px=4.0, photons=1e5, seed=1)
    address = free_address()
    rows: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        store = partial(SpillingStore, Path(folder) / "frames.npy", 32 << 20)
        live = LiveScan(probe=scan.probe, make_store=store)
        command = [sys.executable, __file__, "--send", address, str(arguments.many)]
        process = subprocess.Popen(command)
        session = attached(live, {"frames": f"zmq:{address}"})
        with watched(partial(note_memory, live, rows, arguments.many // 10)):
            session.run()
        process.wait(30)
        counted = live.counters(ended=True)
    for row in rows:
        print(row, flush=True)
    # By then the memory for frames is full.
    first, last = next(row for row in rows if row["frames"] >= arguments.many / 5), rows[-1]
    grown = (last["resident_mb"] - first["resident_mb"]) * 2**20 / (last["frames"] - first["frames"])
    return {
        "frames": arguments.many,
        "frame_bytes": 2 * scan.N**2,
        "in_memory_mb": 32,
        "received": counted.received,
        "lost": counted.lost,
        "seconds": last["seconds"],
        "bytes_per_frame": grown,
        "rows": rows,
    }


def note_memory(live: LiveScan, rows: list[dict[str, float]], every: int) -> None:
    """Add a row whenever so many more frames have come."""
    count = live.counters().received
    if count >= every * (1 + int(rows[-1]["frames"] // every if rows else 0)):
        rows.append({"frames": count, "resident_mb": resident_mb(), "seconds": time.perf_counter() - STARTED})


STARTED = time.perf_counter()


@contextmanager
def watched(look: Callable[[], None]) -> Iterator[None]:
    """Look at something all the time, in a thread, while a block runs."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.05):
            look()

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        look()


def error_of(found: StitchedObject, scan: Scan) -> float:
    """Complex normalised RMSE against the truth, where the frames so far cover it well."""
    report = compare(
        found.object, scan.object_truth, weight=found.weight, origin=found.origin,
        truth_origin=scan.object_truth_origin, probe_diameter=scan.N / 4, frc=False,
    )  # fmt: skip
    return float(report.scores.complex_nrmse)


def flat(found: StitchedObject) -> StitchedObject:
    """An object without anything in it, as large as another."""
    return dataclasses.replace(found, object=np.ones_like(found.object))


def picture(arguments: argparse.Namespace) -> dict[str, Any]:
    """Errors of the pictures that are there when a share of the frames has come."""
    scan = simulate_scene("lines", N=64, grid=(24, 24), step_px=6.0, jitter_px=1.0, photons=1e6, seed=7)
    live = LiveScan(probe=scan.probe)
    seen: dict[float, StitchedObject] = {}
    with replayed(scan, "dectris", arguments.pace) as addresses:
        session = attached(live, addresses)

        def look() -> None:
            for share in SHARES:
                if share not in seen and live.arrivals.n_joined >= share * scan.n_frames:
                    found = session.picture
                    if found is not None:
                        seen[share] = found.object

        with watched(look):
            session.run()
    rows = []
    for share in SHARES:
        offline = refine(scan.take(range(round(share * scan.n_frames)))).object
        live_error, offline_error = error_of(seen[share], scan), error_of(offline, scan)
        rows.append({"share": share, "live": live_error, "offline": offline_error})
        print(rows[-1], flush=True)
    began = time.perf_counter()
    while time.perf_counter() - began < arguments.rest and live.advance():
        pass
    settled, settled_after_s = live.snapshot(), time.perf_counter() - began
    finished = live.finish().object
    expected = refine(scan).object
    return {
        "frames": scan.n_frames,
        "N": scan.N,
        "frames_per_s": arguments.pace,
        "rows": rows,
        "delay_s": session.state()["delay_s"],
        "flat": error_of(flat(expected), scan),
        "settled": None if settled is None else error_of(settled, scan),
        "settled_after_s": settled_after_s,
        "finished": error_of(finished, scan),
        "finished_equals_offline": bool(np.array_equal(finished.object, expected.object)),
    }


PARTS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "memory": memory,
    "rates": rates,
    "picture": picture,
}


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--side", type=int, default=50, help="rows and columns of the scan for the rates")
    parser.add_argument("--n-pixels", type=int, default=128)
    parser.add_argument("--rate", type=float, default=500.0, help="frames per second")
    parser.add_argument("--pace", type=float, default=10.0, help="frames per second of the picture")
    parser.add_argument("--rest", type=float, default=15.0, help="seconds of work after the last frame of it")
    parser.add_argument("--many", type=int, default=100_000, help="frames for the memory")
    parser.add_argument("--send", nargs=2, metavar=("ADDRESS", "FRAMES"), help=argparse.SUPPRESS)
    parser.add_argument("--quick", action="store_true", help="small cases, to see that everything runs")
    parser.add_argument("--output", type=Path, default=Path("live.json"))
    arguments = parser.parse_args()
    if arguments.send:
        send_many(arguments.send[0], int(arguments.send[1]), 32)
        return
    torch.set_num_threads(1)
    if arguments.quick:
        arguments.side, arguments.n_pixels, arguments.many = 12, 32, 2000
        arguments.pace, arguments.rest = 200.0, 1.0
    record = json.loads(arguments.output.read_text()) if arguments.output.exists() else {}
    for name in arguments.parts:
        if name not in record:
            cpu = time.process_time()
            record[name] = PARTS[name](arguments)
            record[name]["cpu_s"] = time.process_time() - cpu
            write_record(arguments.output, record)


if __name__ == "__main__":
    main()
