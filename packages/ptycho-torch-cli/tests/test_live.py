"""``ptycho-torch live`` as a process: a real socket, a real page, a real signal."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from ptycho_torch.data.opening import open_scan
from ptycho_torch_cli import live

zmq = pytest.importorskip("zmq")


def _state(port: int) -> dict[str, Any]:
    try:
        with urllib.request.urlopen(f"http://localhost:{port}/state", timeout=5) as answer:
            return json.load(answer)
    except (urllib.error.URLError, OSError):
        return {"counters": {"joined": -1}, "picture": 0}


@pytest.mark.rule("LIVE-008")
def test_a_signal_ends_a_live_scan_and_its_result_is_written(scan_file: Path, tmp_path: Path) -> None:
    from ptycho_torch.live.messages import Frames
    from ptycho_torch.live.wire import encoded

    scan = open_scan(scan_file)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with zmq.Context() as context, context.socket(zmq.PUSH) as sender:
        sender.setsockopt(zmq.LINGER, 0)
        sender.setsockopt(zmq.SNDTIMEO, 180_000)
        address = f"zmq:tcp://127.0.0.1:{sender.bind_to_random_port('tcp://127.0.0.1')}"
        words = (
            *(sys.executable, "-m", "ptycho_torch_cli", "live", "--frames", address, "--epochs", "2"),
            *("--output-dir", str(tmp_path / "out"), "--accelerator", "cpu", "--serve", f"127.0.0.1:{port}"),
        )
        with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
            for row in range(scan.n_frames):
                place = scan.positions[row : row + 1]
                frame = Frames(numbers=[row], frames=scan.diffraction[row : row + 1], positions=place)
                sender.send_multipart(encoded(frame))
            until = time.monotonic() + 180
            while time.monotonic() < until:
                state = _state(port)
                if state["counters"]["joined"] == scan.n_frames and state["picture"]:
                    break
                time.sleep(0.1)
            run.send_signal(signal.SIGTERM)
            out, err = run.communicate(timeout=180)
    assert run.returncode == 0, err
    assert "Traceback" not in err
    assert f"{scan.n_frames} joined; interrupted" in out
    record = json.loads((tmp_path / "out" / "live.json").read_text())
    assert record["ended"] == "interrupted"
    assert (tmp_path / "out" / "report.html").is_file()


def test_check_names_the_silent_source_and_fails(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ptycho_torch.workflows.jobs.live_check._WAIT_S", 0.2)
    sources = ["--frames", "zmq:tcp://127.0.0.1:9", "--positions", "grid:2x3,step=1px"]
    assert live.main([*sources, "--check"]) == 1
    out = capsys.readouterr().out
    assert "frames: silent, zmq:tcp://127.0.0.1:9" in out
    assert "positions: 1 start, 1 positions, 1 end in px from grid:2x3,step=1px" in out


def test_without_frames_it_says_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    assert live.main(["--output-dir", "nowhere"]) == 2
    assert "frames_from" in capsys.readouterr().err
