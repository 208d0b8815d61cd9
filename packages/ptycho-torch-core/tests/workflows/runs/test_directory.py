"""An output directory is never overwritten by accident and never left half replaced."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from ptycho_config import ConfigError
from ptycho_torch.workflows.runs import place
from ptycho_torch.workflows.runs.directory import RunDirectory, resolved_config

NAMES = ("model", "logs", "figure")


def _write(folder, text, names=NAMES):
    for name in names:
        if name == "logs":
            (folder / name).mkdir(exist_ok=True)
            (folder / name / "metrics").write_text(text)
        else:
            (folder / name).write_text(text)


def _content(folder):
    """Text of every visible file."""
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in folder.rglob("*")
        if not path.is_dir() and not path.name.startswith(".")
    }


def _run(folder, text, names=NAMES, command="train", *, overwrite=False, may_write=NAMES):
    run = RunDirectory.check(folder, command, may_write, overwrite=overwrite, resumable=command == "train")
    with run.at_work() as work:
        _write(work, text, names)
        return run.publish()


def _fail(run, error, name="model"):
    with run.at_work() as work:
        (work / name).write_text("half")
        raise error


def _refused(folder, command="train", names=NAMES, **more):
    with pytest.raises(ConfigError) as refused:
        RunDirectory.check(folder, command, names, **{"overwrite": False, **more})
    [problem] = refused.value.problems
    assert (problem.field, problem.value) == ("output_dir", str(folder))
    return str(problem)


@pytest.fixture
def old(tmp_path):
    folder = tmp_path / "run"
    _run(folder, "old")
    (folder / "notes.txt").write_text("mine")
    return folder


OLD = {"model": "old", "logs/metrics": "old", "figure": "old", "notes.txt": "mine"}
NEW = dict.fromkeys(OLD, "new") | {"notes.txt": "mine"}


def test_checking_writes_nothing(tmp_path):
    RunDirectory.check(tmp_path / "a" / "b", "train", NAMES, overwrite=False)
    assert list(tmp_path.iterdir()) == []


def test_a_place_where_no_folder_can_be_made_is_refused(tmp_path, monkeypatch):
    run = RunDirectory.check(tmp_path / "a", "train", NAMES, overwrite=False)

    def mkdir(self, **_):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self))

    monkeypatch.setattr(Path, "mkdir", mkdir)
    with pytest.raises(ConfigError, check=lambda error: error.fields == ("output_dir",)), run.at_work():
        pass


def test_resuming_is_offered_where_checkpoints_are(tmp_path):
    _run(tmp_path, "x", ("figure",))
    assert "--resume" not in _refused(tmp_path)
    names = (*NAMES, "checkpoints")
    run = RunDirectory.check(tmp_path / "b", "train", names, overwrite=False, resumable=True)
    with run.at_work() as work:
        (work / "checkpoints").mkdir()
    assert "--resume" in _refused(tmp_path / "b", names=names)


def test_into_an_empty_place_a_run_that_can_be_resumed_writes_directly(tmp_path):
    run = RunDirectory.check(tmp_path / "a" / "b", "train", NAMES, overwrite=False, resumable=True)
    with run.at_work() as work:
        assert work == tmp_path / "a" / "b"
        _write(work, "new", ("figure", "model"))
        assert run.publish() == (run.path / "model", run.path / "figure")


def test_other_runs_leave_nothing_when_they_fail(tmp_path):
    run = RunDirectory.check(tmp_path / "a" / "b", "infer", NAMES, overwrite=False)
    assert run.work == tmp_path / "a" / "b" / "incomplete-infer"
    with pytest.raises(KeyboardInterrupt):
        _fail(run, KeyboardInterrupt())
    assert list(tmp_path.iterdir()) == []


def test_files_of_other_kinds_do_not_matter(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    _run(tmp_path, "new")
    assert _content(tmp_path)["notes.txt"] == "mine"


@pytest.mark.rule("RUN-003")
def test_results_of_another_run_are_refused_by_name(old):
    assert "it holds model, logs, figure" in _refused(old)
    assert _content(old) == OLD


@pytest.mark.rule("RUN-004")
def test_old_results_stay_until_the_new_ones_are_complete(old):
    run = RunDirectory.check(old, "train", NAMES, overwrite=True, resumable=True)
    with run.at_work() as work:
        _write(work, "new")
        assert {name: _content(old)[name] for name in OLD} == OLD
        assert run.publish() == tuple(old / name for name in NAMES)
    assert _content(old) == NEW
    assert [path.name for path in old.iterdir() if path.name.startswith(".")] == [".run-train.json"]


def test_old_results_without_a_successor_go(old):
    assert _run(old, "new", ("model",), overwrite=True) == (old / "model",)
    assert _content(old) == {"model": "new", "notes.txt": "mine"}


def test_a_run_that_failed_leaves_the_old_results_and_is_cleared_by_the_next(old):
    failed = RunDirectory.check(old, "train", NAMES, overwrite=True, resumable=True)
    with pytest.raises(RuntimeError):
        _fail(failed, RuntimeError())
    assert {name: _content(old)[name] for name in OLD} == OLD
    run = RunDirectory.check(old, "train", NAMES, overwrite=True, resumable=True)
    with run.at_work() as work:
        assert [path.name for path in work.iterdir()] == [".run-train.json"]
        _write(work, "new")
        run.publish()
    assert _content(old) == NEW


def test_a_file_in_the_way_is_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    assert "this is a file" in _refused(tmp_path / "file", overwrite=True)
    assert "is a file" in _refused(tmp_path / "file" / "below", overwrite=True)


def test_a_place_that_cannot_be_written_is_refused(tmp_path, monkeypatch):
    # The superuser may write anywhere, so the answer of the system is played.
    asked = []
    monkeypatch.setattr(place.os, "access", lambda path, mode: asked.append((path, mode)))
    assert "read-only" in _refused(tmp_path / "a" / "b")
    assert asked == [(tmp_path, os.W_OK)]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.rule("RUN-041", "RUN-042")
@pytest.mark.parametrize("name", ["logs", "figure", "incomplete-train"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_what_no_run_recorded_is_refused_and_stays(tmp_path, name, overwrite):
    (tmp_path / name).mkdir()
    (tmp_path / name / "thesis.tex").write_text("mine")
    assert name in _refused(tmp_path, overwrite=overwrite, resumable=True)
    assert _content(tmp_path) == {f"{name}/thesis.tex": "mine"}


def test_overwriting_beside_what_somebody_put_into_a_working_folder_is_refused(old):
    run = RunDirectory.check(old, "train", NAMES, overwrite=True, resumable=True)
    with pytest.raises(RuntimeError):
        _fail(run, RuntimeError(), "thesis.tex")
    assert "thesis.tex" in _refused(old, overwrite=True, resumable=True)
    assert (old / "incomplete-train" / "thesis.tex").read_text() == "half"


@pytest.mark.rule("RUN-042")
@pytest.mark.parametrize("name", ["incomplete-train", "model", ".run-train.json", ".run.lock"])
def test_a_link_out_of_the_folder_is_refused_and_not_followed(tmp_path, name):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "model").write_text("mine")
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / name).symlink_to(outside)
    assert name in _refused(folder, overwrite=True, resumable=True)
    assert (folder / name).is_symlink()
    assert _content(outside) == {"model": "mine"}


def test_a_result_that_became_a_link_is_replaced_and_its_target_stays(old, tmp_path):
    outside = tmp_path / "outside"
    (old / "logs").rename(outside)
    (old / "logs").symlink_to(outside)
    _run(old, "new", overwrite=True)
    assert (outside / "metrics").read_text() == "old"
    assert not (old / "logs").is_symlink()
    assert _content(old) == NEW


@pytest.mark.rule("RUN-046")
@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "a/b", "..", "C:x", 3])
def test_a_record_that_names_a_path_is_refused(old, tmp_path, name):
    (tmp_path / "outside").write_text("mine")
    record = old / ".run-train.json"
    content = json.loads(record.read_text())
    record.write_text(json.dumps(content | {"names": {**content["names"], "model": name}}))
    assert ".run-train.json" in _refused(old, overwrite=True, resumable=True)
    assert (tmp_path / "outside").read_text() == "mine"
    assert _content(old) == OLD


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": "ptycho-torch run", "version": 99}', "null"])
def test_a_damaged_record_is_refused(old, text):
    (old / ".run-train.json").write_text(text)
    assert ".run-train.json" in _refused(old, overwrite=True, resumable=True)
    assert _content(old) == OLD


SHARED = ("resolved_config.json", "report.html", "object")


@pytest.mark.rule("RUN-043")
def test_what_every_command_writes_takes_the_name_of_the_command_beside_that_of_another(tmp_path):
    _run(tmp_path, "train", SHARED[:2], may_write=SHARED[:2])
    files = _run(tmp_path, "infer", SHARED, "infer", may_write=SHARED)
    assert [path.name for path in files] == ["resolved_config-infer.json", "report-infer.html", "object"]
    expected = {
        "resolved_config.json": "train",
        "report.html": "train",
        "resolved_config-infer.json": "infer",
        "report-infer.html": "infer",
        "object": "infer",
    }
    assert _content(tmp_path) == expected
    assert resolved_config(tmp_path, "train") == tmp_path / "resolved_config.json"
    assert resolved_config(tmp_path, "infer") == tmp_path / "resolved_config-infer.json"
    _run(tmp_path, "again", SHARED, "infer", overwrite=True, may_write=SHARED)
    assert _content(tmp_path) == {
        name: "again" if text == "infer" else text for name, text in expected.items()
    }


@pytest.mark.rule("RUN-044")
@pytest.mark.parametrize("overwrite", [False, True])
def test_results_of_another_command_are_not_replaced(tmp_path, overwrite):
    _run(tmp_path, "infer", SHARED, "infer", may_write=SHARED)
    said = _refused(tmp_path, "refine", SHARED, overwrite=overwrite)
    assert "object of infer" in said
    assert set(_content(tmp_path).values()) == {"infer"}


@pytest.mark.rule("RUN-048")
def test_unfinished_files_of_killed_runs_are_cleared_by_the_next(old):
    ours = [
        old / ".model.123-0123abcd.tmp",
        old / "logs" / ".metrics.9.tmp",
        old / "..run-train.json.7-0123abcd.tmp",
    ]
    others = [old / ".thesis.123-0123abcd.tmp", old / ".model.tmp", old / "notes.tmp"]
    for path in (*ours, *others):
        path.write_text("half")
    _run(old, "x", ("scores",), "evaluate", may_write=("scores",))
    assert [path.exists() for path in ours] == [False] * 3
    assert [path.exists() for path in others] == [True] * 3


@pytest.mark.rule("RUN-056")
def test_a_disk_error_names_the_directory_that_was_given(tmp_path):
    for name, expected in (("run/.model.12.tmp", "run"), ("scan.npz", "scan.npz")):
        run = RunDirectory.check(tmp_path / "run", "train", NAMES, overwrite=True, resumable=True)
        with pytest.raises(PermissionError) as failed:
            _fail(run, PermissionError(errno.EACCES, "denied", str(tmp_path / name)))
        assert failed.value.filename == str(tmp_path / expected)
