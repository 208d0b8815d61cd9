"""A C source becomes a library once, or the log says why it does not."""

from __future__ import annotations

import logging
import os
import stat
import sys

import pytest

from ptycho_torch.native import building

SOURCE = "int doubled(int value) { return 2 * value; }\n"


@pytest.fixture
def source(tmp_path, monkeypatch):
    """A small source, and a folder for libraries that nothing else uses."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "doubling.c"
    path.write_text(SOURCE)
    return path


@pytest.fixture
def counted(tmp_path, monkeypatch):
    """The compiler behind a script that leaves a line for every call; a function that counts them."""
    found = building._compiler()
    if found is None:
        pytest.skip("no C compiler")
    calls, script = tmp_path / "calls", tmp_path / "counted-cc"
    script.write_text(f'#!/bin/sh\necho x >> "{calls}"\nexec {" ".join(found)} "$@"\n')
    script.chmod(0o755)
    monkeypatch.setenv("CC", str(script))
    return lambda: len(calls.read_text().split()) if calls.exists() else 0


def libraries(tmp_path):
    return sorted((tmp_path / "cache" / "ptycho-torch").glob("*"))


def test_a_source_is_compiled_once(source, counted, tmp_path):
    first, second = building.load(source), building.load(source)
    assert first.doubled(21) == second.doubled(21) == 42
    assert counted() == 1
    assert [path.suffix for path in libraries(tmp_path)] == [".so"]


def test_another_source_or_compiler_is_another_library(source, counted, tmp_path, monkeypatch):
    building.load(source)
    source.write_text(SOURCE.replace("2 *", "3 *"))
    assert building.load(source).doubled(14) == 42
    monkeypatch.delenv("CC")
    assert building.load(source).doubled(14) == 42
    assert len(libraries(tmp_path)) == 3


def test_a_folder_that_others_may_write_to_is_not_trusted(source, counted, tmp_path):
    folder = tmp_path / "cache" / "ptycho-torch"
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    assert building.load(source).doubled(21) == 42
    assert libraries(tmp_path) == []


def test_a_cache_that_cannot_be_made_costs_a_compilation_and_no_more(source, counted, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert building.load(source).doubled(21) == 42


@pytest.mark.skipif(sys.platform == "win32", reason="a POSIX command")
def test_a_processor_that_the_compiler_cannot_name_gets_plain_code(source, tmp_path, monkeypatch):
    found = building._compiler()
    if found is None:
        pytest.skip("no C compiler")
    script = tmp_path / "plain-cc"
    script.write_text(
        f'#!/bin/sh\nfor word; do case "$word" in -m*) exit 1;; esac; done\nexec {" ".join(found)} "$@"\n'
    )
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("CC", str(script))
    assert building.load(source).doubled(21) == 42


def test_without_a_compiler_there_is_no_library_and_the_log_says_so(source, monkeypatch, caplog):
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", os.devnull)
    monkeypatch.setattr(building.sysconfig, "get_config_var", lambda name: None)
    with caplog.at_level(logging.INFO):
        assert building.load(source) is None
    assert "doubling.c" in caplog.text


def test_a_source_that_does_not_compile_is_no_library(source, counted, tmp_path, caplog):
    source.write_text("int doubled(int value) { return }\n")
    with caplog.at_level(logging.INFO):
        assert building.load(source) is None
    assert "error" in caplog.text
    assert libraries(tmp_path) == []


def test_a_library_that_cannot_be_loaded_is_none(source, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(building, "_digest", lambda text, compiler: "known")
    folder = tmp_path / "cache" / "ptycho-torch"
    folder.mkdir(parents=True, mode=0o700)
    (folder / "doubling-known.so").write_bytes(b"no library")
    with caplog.at_level(logging.INFO):
        assert building.load(source) is None
    assert "doubling-known.so" in caplog.text
