"""Two commands that know of each other by an address: a scan that is played becomes what it is offline."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ptycho_torch.data.formats.npz import save_scan
from ptycho_torch.data.simulation.simulate import simulate_scene
from ptycho_torch.live.replay.schedule import Disturbances, schedule
from ptycho_torch_cli import live, refine

pytest.importorskip(
    "dectris", reason="dectris-compression is compiled when it is installed, which takes a C compiler"
)

WRONG = {"drop": 0.2, "duplicate": 0.2, "shuffle": 7, "late_positions_s": 0.05, "seed": 4}
QUICK = ["--epochs", "2", "--accelerator", "cpu", "--quiet"]


def free_address() -> str:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{taken.getsockname()[1]}"


def object_in(folder: Path) -> np.ndarray:
    with np.load(folder / "reconstruction.npz") as archive:
        return archive["object"]


@pytest.mark.rule("LIVE-001", "LIVE-021")
def test_a_scan_played_as_by_a_detector_becomes_the_object_of_refine(tmp_path: Path) -> None:
    scan = simulate_scene("lines", N=32, grid=(6, 5), step_px=4.0, jitter_px=1.0, photons=1e5, seed=3)
    save_scan(tmp_path / "scan.npz", scan)
    frames, table = free_address(), tmp_path / "stage.csv"
    words = ["scan.npz", "--to", frames, "--protocol", "dectris", "--positions-to", f"csv:{table}"]
    words += ["--rate", "500", "--drop", "0.2", "--duplicate", "0.2", "--shuffle", "7"]
    words += ["--late-positions", "0.05", "--seed", "4", "--quiet"]
    detector = subprocess.Popen([sys.executable, "-m", "ptycho_torch_cli", "replay", *words], cwd=tmp_path)
    try:
        sources = ["--frames", f"dectris:{frames}", "--positions", f"csv:{table}"]
        probe = ["--probe", str(tmp_path / "scan.npz")]
        argv = [*sources, *probe, "--output-dir", str(tmp_path / "live")]
        assert live.main([*argv, *QUICK]) == 0
        assert detector.wait(30) == 0
    finally:
        detector.kill()
    events = schedule(scan.n_frames, 500.0, Disturbances(**WRONG), positions_alone=True)
    sent = [event.row for event in events if event.what == "frame"]
    counters = json.loads((tmp_path / "live" / "live.json").read_text())["counters"]
    assert counters["received"] == len(sent)
    assert counters["joined"] == len(set(sent))
    assert counters["duplicate"] == len(sent) - len(set(sent)) > 0
    assert counters["lost"] == 30 - len(set(sent)) > 0
    save_scan(tmp_path / "came.npz", scan.take(sorted(set(sent))))
    assert (
        refine.main(["--data", str(tmp_path / "came.npz"), "--output-dir", str(tmp_path / "offline"), *QUICK])
        == 0
    )
    assert np.array_equal(object_in(tmp_path / "live"), object_in(tmp_path / "offline"))
