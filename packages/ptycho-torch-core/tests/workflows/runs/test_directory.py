"""An output directory is never overwritten by accident and never left half replaced."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from ptycho_config import ConfigError
from ptycho_torch.workflows.runs import directory as run_directory
from ptycho_torch.workflows.runs.directory import RunDirectory

NAMES = ("model", "logs", "figure")


def _write(folder, text, names=NAMES):
    for name in names:
        if name == "logs":
            (folder / name).mkdir()
            (folder / name / "metrics").write_text(text)
        else:
            (folder / name).write_text(text)


def _content(folder):
    return {
        str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if not path.is_dir()
    }


@pytest.fixture
def old(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    _write(folder, "old")
    (folder / "notes.txt").write_text("mine")
    return folder


OLD = {"model": "old", "logs/metrics": "old", "figure": "old", "notes.txt": "mine"}


def test_checking_writes_nothing(tmp_path):
    RunDirectory.check(tmp_path / "a" / "b", NAMES, overwrite=False)
    assert list(tmp_path.iterdir()) == []


def test_a_place_where_no_folder_can_be_made_is_refused(tmp_path, monkeypatch):
    run = RunDirectory.check(tmp_path / "a", NAMES, overwrite=False)

    def mkdir(self, **_):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self))

    monkeypatch.setattr(Path, "mkdir", mkdir)
    with pytest.raises(ConfigError, match="a writable place"):
        run.open()


def test_resuming_is_offered_where_checkpoints_are(tmp_path):
    (tmp_path / "figure").touch()
    with pytest.raises(ConfigError) as refused:
        RunDirectory.check(tmp_path, NAMES, overwrite=False)
    assert "--resume" not in str(refused.value)
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(ConfigError, match="--resume"):
        RunDirectory.check(tmp_path, (*NAMES, "checkpoints"), overwrite=False)


def test_into_an_empty_place_a_run_writes_directly(tmp_path):
    run = RunDirectory.check(tmp_path / "a" / "b", NAMES, overwrite=False)
    assert run.open() == tmp_path / "a" / "b"
    _write(run.work, "new", ("figure", "model"))
    assert run.publish() == (run.path / "model", run.path / "figure")


def test_files_of_other_kinds_do_not_matter(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    run = RunDirectory.check(tmp_path, NAMES, overwrite=False)
    run.open()
    _write(tmp_path, "new")
    run.publish()
    assert _content(tmp_path)["notes.txt"] == "mine"


@pytest.mark.rule("RUN-003")
def test_results_of_another_run_are_refused_by_name(old):
    with pytest.raises(ConfigError, match=r"it holds model, logs, figure.*overwrite"):
        RunDirectory.check(old, NAMES, overwrite=False)
    assert _content(old) == OLD


@pytest.mark.rule("RUN-004")
def test_old_results_stay_until_the_new_ones_are_complete(old):
    run = RunDirectory.check(old, NAMES, overwrite=True)
    work = run.open()
    _write(work, "new")
    assert {name: _content(old)[name] for name in OLD} == OLD
    assert run.publish() == tuple(old / name for name in NAMES)
    assert _content(old) == dict.fromkeys(OLD, "new") | {"notes.txt": "mine"}


def test_old_results_without_a_successor_go(old):
    run = RunDirectory.check(old, NAMES, overwrite=True)
    _write(run.open(), "new", ("model",))
    assert run.publish() == (old / "model",)
    assert _content(old) == {"model": "new", "notes.txt": "mine"}


def test_a_run_that_failed_leaves_the_old_results_and_is_cleared_by_the_next(old):
    failed = RunDirectory.check(old, NAMES, overwrite=True)
    (failed.open() / "model").write_text("half")
    assert {name: _content(old)[name] for name in OLD} == OLD
    run = RunDirectory.check(old, NAMES, overwrite=True)
    assert list(run.open().iterdir()) == []
    _write(run.work, "new")
    run.publish()
    assert _content(old) == dict.fromkeys(OLD, "new") | {"notes.txt": "mine"}


def test_a_file_in_the_way_is_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigError, match="this is a file"):
        RunDirectory.check(tmp_path / "file", NAMES, overwrite=True)
    with pytest.raises(ConfigError, match=r"a directory, but .*file is a file"):
        RunDirectory.check(tmp_path / "file" / "below", NAMES, overwrite=True)


def test_a_place_that_cannot_be_written_is_refused(tmp_path, monkeypatch):
    # The superuser may write anywhere, so the answer of the system is played.
    asked = []
    monkeypatch.setattr(run_directory.os, "access", lambda path, mode: asked.append((path, mode)))
    with pytest.raises(ConfigError, match="read-only"):
        RunDirectory.check(tmp_path / "a" / "b", NAMES, overwrite=False)
    assert asked == [(tmp_path, os.W_OK)]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.rule("RUN-057")
@pytest.mark.parametrize("moment", range(1, 5))
def test_a_killed_replacement_is_completed_by_the_next(old, monkeypatch, moment):
    run = RunDirectory.check(old, NAMES, overwrite=True)
    _write(run.open(), "new")
    replace, calls = os.replace, []

    def killed(source, target):
        calls.append(target)
        if len(calls) == moment:
            raise SystemExit
        replace(source, target)

    monkeypatch.setattr(run_directory.os, "replace", killed)
    with pytest.raises(SystemExit):
        run.publish()
    monkeypatch.setattr(run_directory.os, "replace", replace)
    # The first file that takes its name is the mark: without it nothing was replaced yet.
    replaced = moment > 1
    assert run_directory.find_run(old) == (old if replaced else None)
    again = RunDirectory.check(old, NAMES, overwrite=True)
    again.open()
    assert {name: _content(old)[name] for name in OLD} == (
        dict.fromkeys(OLD, "new") | {"notes.txt": "mine"} if replaced else OLD
    )
