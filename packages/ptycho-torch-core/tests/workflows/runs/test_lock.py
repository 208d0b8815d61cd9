"""Two runs never write to one directory at a time, and a dead one holds nobody up."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from ptycho_config import ConfigError
from ptycho_torch.workflows.runs import lock
from ptycho_torch.workflows.runs.directory import RunDirectory
from ptycho_torch.workflows.runs.lock import LOCK_NAME, held_lock, require_nobody_at_work

WORKER = """
import sys, time
from pathlib import Path
from ptycho_torch.workflows.runs.lock import held_lock
with held_lock(Path(sys.argv[1]), "train"):
    print("at work", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def other(tmp_path):
    """A process that holds the lock of the directory."""
    command = [sys.executable, "-c", WORKER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "at work\n"
        yield process
        process.kill()


def _refused(folder):
    with pytest.raises(ConfigError) as refused, held_lock(folder, "infer"):
        pass
    [problem] = refused.value.problems
    assert (problem.field, problem.value) == ("output_dir", str(folder))
    with pytest.raises(ConfigError):
        require_nobody_at_work(folder)
    return str(problem)


@pytest.mark.rule("RUN-045")
def test_the_second_run_is_told_who_is_at_work_until_that_is_dead(tmp_path, other):
    said = _refused(tmp_path)
    assert f"train (process {other.pid} on {socket.gethostname()}, since 2" in said
    for overwrite in (False, True):
        with pytest.raises(ConfigError):
            RunDirectory.check(tmp_path, "infer", ("object",), overwrite=overwrite)
    with pytest.raises(ConfigError):
        RunDirectory.resume(tmp_path, "train", ("object",))
    other.send_signal(signal.SIGKILL)
    other.wait()
    assert (tmp_path / LOCK_NAME).exists()
    with RunDirectory.check(tmp_path, "infer", ("object",), overwrite=False).at_work():
        assert "process" in _refused(tmp_path)
    assert list(tmp_path.iterdir()) == [tmp_path / "incomplete-infer"]


@pytest.mark.rule("RUN-045")
def test_a_run_that_began_meanwhile_is_refused_before_anything_is_written(tmp_path):
    second = RunDirectory.check(tmp_path, "infer", ("object",), overwrite=True)
    with RunDirectory.check(tmp_path, "infer", ("object",), overwrite=True).at_work() as work:
        (work / "object").write_text("first")
        with pytest.raises(ConfigError), second.at_work():
            pass
        assert (work / "object").read_text() == "first"


def _sign(folder, **owner):
    signed = {"pid": os.getpid(), "host": socket.gethostname(), "command": "refine", "since": "then"}
    (folder / LOCK_NAME).write_text(json.dumps(signed | owner))


@pytest.mark.rule("RUN-045")
def test_a_process_of_another_machine_is_named_with_what_to_do(tmp_path):
    _sign(tmp_path, host="beamline-7", pid=12)
    said = _refused(tmp_path)
    assert "refine (process 12 on beamline-7, since then) may be at work" in said
    assert f"remove {LOCK_NAME}" in said
    (tmp_path / LOCK_NAME).unlink()
    with held_lock(tmp_path, "infer"):
        pass


@pytest.mark.parametrize("text", ["", "{", "[]", '{"host": 3}'])
def test_a_lock_that_says_nothing_is_taken_or_refused_in_words(tmp_path, text):
    (tmp_path / LOCK_NAME).write_text(text)
    if "host" in text:
        assert LOCK_NAME in _refused(tmp_path)
        return
    with held_lock(tmp_path, "infer"):
        assert json.loads((tmp_path / LOCK_NAME).read_text())["command"] == "infer"
    assert not (tmp_path / LOCK_NAME).exists()


def test_without_locks_of_the_file_system_the_process_that_is_named_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "take_lock", lambda descriptor: None)
    _sign(tmp_path)
    assert "is at work there" in _refused(tmp_path)
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    _sign(tmp_path, pid=dead.pid)
    with held_lock(tmp_path, "infer"):
        pass


def test_the_lock_goes_when_a_run_fails(tmp_path):
    def fail():
        with held_lock(tmp_path, "infer"):
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert list(Path(tmp_path).iterdir()) == []
