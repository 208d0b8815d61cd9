"""Every writer on a disk that is full: an error that says so, nothing half written, no process that dies."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("fill_disk.py")
WRITERS = 12


def attempts(place, elsewhere, how):
    elsewhere.mkdir()
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(place), str(elsewhere), how],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def check(found, number):
    for name, room, outcome, left in found:
        if outcome == ["written"]:
            assert left, (name, room)
            continue
        assert outcome[0] == number, (name, room, outcome)
        assert "MB" in outcome[1], (name, room, outcome)
        assert not [entry for entry in left if entry.endswith(".tmp")], (name, room, left)
        # Pictures are two files, of which the first may be whole.
        assert left in ([], ["amplitude.png"]), (name, room, left)


@pytest.mark.rule("RUN-083")
@pytest.mark.skipif(sys.platform == "win32", reason="limits on file sizes are those of POSIX")
def test_writers_survive_a_file_that_may_not_grow(tmp_path):
    place = tmp_path / "place"
    place.mkdir()
    found = attempts(place, tmp_path / "elsewhere", "limit")
    assert len({name for name, *_ in found}) == WRITERS
    refused = {name for name, _, outcome, _ in found if outcome != ["written"]}
    assert len(refused) == WRITERS
    check(found, errno.EFBIG)


@pytest.mark.rule("RUN-083")
def test_writers_survive_a_full_disk(tmp_path):
    place = tmp_path / "place"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=40k", "tmpfs", str(place)]
    if (
        os.name != "posix"
        or os.geteuid()
        or subprocess.run(mount, capture_output=True, check=False).returncode
    ):
        pytest.skip("a small disk can be mounted by root only")
    try:
        found = attempts(place, tmp_path / "elsewhere", "disk")
        check(found, errno.ENOSPC)
        assert any(outcome != ["written"] for _, _, outcome, _ in found)
    finally:
        subprocess.run(["umount", str(place)], check=True)
