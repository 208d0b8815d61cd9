"""Whatever is killed at whatever moment, and whatever comes next in its folder: nothing is lost or mixed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.rule("RUN-047", "RUN-057")
def test_every_command_killed_at_every_step_and_followed_by_every_other(tmp_path):
    worker = Path(__file__).with_name("crash_matrix.py")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    # Thousands of small files are written, which a file system in memory does several times as fast.
    memory = Path("/dev/shm")
    folder = memory / f"ptycho-{os.getpid()}" if os.access(memory, os.W_OK) else tmp_path
    folder.mkdir(exist_ok=True)
    try:
        run = subprocess.run(
            [sys.executable, str(worker), str(folder)],
            capture_output=True, text=True, env=environment, timeout=500, check=False,
        )  # fmt: skip
    finally:
        shutil.rmtree(folder)
    assert run.returncode == 0, run.stderr
    report = json.loads(run.stdout)
    assert report["faults"] == []
    assert report["kills"] > 300
    assert report["followers"] > 2000
