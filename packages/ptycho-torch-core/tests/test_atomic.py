"""A file is complete or unchanged, and nothing is left beside it."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys

import numpy as np
import pytest

from ptycho_torch import atomic
from ptycho_torch.atomic import atomic_path, atomic_write


def test_creates_and_replaces(tmp_path):
    target = tmp_path / "a.json"
    for text in ("one", "two\n"):
        with atomic_write(target, "w") as stream:
            stream.write(text)
        assert target.read_bytes() == text.encode()
    assert list(tmp_path.iterdir()) == [target]


def _write_half(target, error):
    with atomic_write(target) as stream:
        stream.write(b"half of the new")
        raise error


@pytest.mark.rule("DATA-008")
def test_failure_keeps_the_old_file(tmp_path):
    target = tmp_path / "a.bin"
    target.write_bytes(b"old")
    with pytest.raises(ZeroDivisionError):
        _write_half(target, ZeroDivisionError)
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_interrupt_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        _write_half(tmp_path / "a.bin", KeyboardInterrupt)
    assert list(tmp_path.iterdir()) == []


def test_target_is_untouched_until_the_end_and_temporary_matches_no_data_pattern(tmp_path):
    target = tmp_path / "scan.npz"
    with atomic_write(target) as stream:
        np.savez(stream, a=np.arange(3))
        assert not target.exists()
        assert len(list(tmp_path.iterdir())) == 1
        assert not list(tmp_path.glob("*.npz"))
    with np.load(target) as archive:
        np.testing.assert_array_equal(archive["a"], np.arange(3))


@pytest.mark.skipif(os.name != "posix", reason="permission bits are POSIX")
def test_permissions_follow_the_umask(tmp_path):
    with atomic_write(tmp_path / "a") as stream:
        stream.write(b"")
    (tmp_path / "b").write_bytes(b"")
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in "ab"]
    assert modes[0] == modes[1]


@pytest.mark.skipif(os.name != "posix", reason="symbolic links need rights elsewhere")
def test_symbolic_link_stays_a_link(tmp_path):
    real, link = tmp_path / "real", tmp_path / "link"
    real.write_bytes(b"old")
    link.symlink_to(real)
    with atomic_write(link) as stream:
        stream.write(b"new")
    assert link.is_symlink()
    assert real.read_bytes() == b"new"


def test_missing_directory_and_directory_as_target(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such directory"), atomic_write(tmp_path / "no" / "a"):
        pass
    with pytest.raises(IsADirectoryError, match="name of a file"), atomic_write(tmp_path):
        pass


def test_other_modes_are_refused(tmp_path):
    with pytest.raises(ValueError, match="expected 'wb' or 'w', got 'a'"), atomic_write(tmp_path / "x", "a"):
        pass


def test_a_library_writes_to_the_temporary_name(tmp_path):
    target = tmp_path / "result.h5"
    target.write_bytes(b"old")
    with atomic_path(target) as temporary:
        assert temporary.parent == tmp_path
        temporary.write_bytes(b"new")
        assert target.read_bytes() == b"old"
    assert target.read_bytes() == b"new"
    with pytest.raises(RuntimeError, match="stopped"):
        _stop_half_way(target)
    assert target.read_bytes() == b"new"
    assert [path.name for path in tmp_path.iterdir()] == ["result.h5"]


def _stop_half_way(target):
    with atomic_path(target) as temporary:
        temporary.write_bytes(b"half")
        raise RuntimeError("stopped")


def _lose_the_temporary_file(target):
    with atomic_path(target) as temporary:
        temporary.unlink()


@pytest.mark.rule("RUN-056")
def test_an_error_of_the_disk_names_the_file_that_was_asked_for(tmp_path):
    with pytest.raises(FileNotFoundError) as failed:
        _lose_the_temporary_file(tmp_path / "a.bin")
    assert (failed.value.filename, failed.value.filename2) == (str(tmp_path / "a.bin"), None)


WRITER = """
import sys, time
from ptycho_torch.atomic import atomic_write
with atomic_write(sys.argv[1]) as stream:
    stream.write(b"half")
    stream.flush()
    print("at work", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def writer(tmp_path):
    """A process that is writing `scan.npz`."""
    command = [sys.executable, "-c", WRITER, str(tmp_path / "scan.npz")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "at work\n"
        yield process
        process.kill()


@pytest.mark.rule("RUN-048")
@pytest.mark.skipif(os.name != "posix", reason="without locks nobody can tell")
def test_the_next_writer_removes_what_a_killed_one_left_and_nothing_else(tmp_path, writer):
    target, other = tmp_path / "scan.npz", tmp_path / ".scan.npz.notes.tmp"
    other.write_text("mine")
    link = tmp_path / ".scan.npz.1-00000000.tmp"
    link.symlink_to(other)
    [half] = [path for path in tmp_path.glob(".scan.npz.*-*.tmp") if path != link]
    with atomic_write(target) as stream:
        stream.write(b"second")
    assert half.read_bytes() == b"half"
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    with atomic_write(tmp_path / "other.npz") as stream:
        stream.write(b"")
    assert half.exists()
    with atomic_write(target) as stream:
        stream.write(b"third")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [target.name, other.name, link.name, "other.npz"]
    )
    assert other.read_text() == "mine"


def test_a_temporary_file_that_was_taken_for_an_abandoned_one_is_made_again(tmp_path, monkeypatch):
    usual, taken = atomic.take_lock, []

    def late(descriptor):
        if len(taken) < 2:
            taken.extend(tmp_path.iterdir())
            (taken[-1]).unlink()
        return usual(descriptor) if len(taken) != 1 else False

    monkeypatch.setattr(atomic, "take_lock", late)
    with atomic_write(tmp_path / "a") as stream:
        stream.write(b"whole")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert len(taken) == 2


def test_without_locks_of_the_file_system_nothing_is_taken_for_abandoned(tmp_path, monkeypatch):
    left = tmp_path / ".a.1-00000000.tmp"
    left.write_bytes(b"of another machine")

    def none(descriptor, how):
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(atomic.fcntl, "flock", none)
    with atomic_write(tmp_path / "a") as stream:
        stream.write(b"whole")
    assert left.exists()
