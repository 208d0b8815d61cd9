from __future__ import annotations

import argparse
import logging
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from ptycho_config import MISSING, ConfigError, Problem
from ptycho_torch_cli.console import ProgressDisplay, UsageError, run_command
from ptycho_torch_cli.parsers import CommandParser, add_common_flags


def ended(work: Callable[[argparse.Namespace], int], *argv: str) -> int:
    parser = CommandParser("prog", description="", usage="")
    add_common_flags(parser)
    return run_command(parser, work, argv)


def raising(error: BaseException) -> Callable[[argparse.Namespace], int]:
    def work(args: argparse.Namespace) -> int:
        raise error

    return work


class Stopped(KeyboardInterrupt):
    def __init__(self, checkpoint: Path | None) -> None:
        self.checkpoint = checkpoint


@pytest.mark.rule("CLI-002")
@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UsageError("no"), 2, "prog: no\n"),
        (ConfigError(Problem("N", MISSING, "a number")), 2, "prog: N: missing; expected a number\n"),
        (ValueError("bad data"), 1, "prog: bad data\n"),
        (OSError(28, "disk full"), 1, "prog: [Errno 28] disk full\n"),
        (
            PermissionError(13, "Permission denied", "scan.npz"),
            1,
            "prog: scan.npz: no permission to read or write this; ask its owner for it\n",
        ),
        (MemoryError(), 1, "prog: MemoryError\n"),
        (KeyboardInterrupt(), 130, "prog: interrupted; nothing was kept\n"),
        (Stopped(None), 130, "prog: interrupted; nothing was kept\n"),
        (
            Stopped(Path("last.ckpt")),
            130,
            "prog: interrupted; --resume goes on; the last checkpoint is kept: last.ckpt\n",
        ),
    ],
)
def test_how_a_command_ends(
    error: BaseException, code: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ended(raising(error)) == code
    assert capsys.readouterr() == ("", line)


@pytest.mark.rule("CLI-004")
def test_debug_adds_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(raising(ValueError("bad data")), "--debug") == 1
    err = capsys.readouterr().err
    assert err.startswith("Traceback")
    assert err.endswith("prog: bad data\n")


def test_a_defect_of_the_program_is_not_dressed_up() -> None:
    with pytest.raises(TypeError):
        ended(raising(TypeError("defect")))


NOISE = """
import logging, warnings
from ptycho_torch_cli.console import run_command
from ptycho_torch_cli.parsers import CommandParser, add_common_flags, add_run_flags

def work(args):
    warnings.warn_explicit("use this", DeprecationWarning, "a.py", 1, module="ptycho_torch_cli.shared")
    warnings.warn_explicit("take care", UserWarning, "b.py", 1, module="ptycho_torch.data")
    warnings.warn_explicit("more workers", UserWarning, "c.py", 1, module="lightning.pytorch.trainer")
    warnings.warn_explicit("old call", DeprecationWarning, "d.py", 1, module="torch.onnx")
    logging.getLogger("ptycho_torch.data").info("30 frames")
    return 0

parser = CommandParser("prog", description="", usage="")
add_run_flags(parser)
add_common_flags(parser)
raise SystemExit(run_command(parser, work, None))
"""


@pytest.mark.parametrize(("flags", "more"), [([], "30 frames\n"), (["--quiet"], "")])
def test_our_warnings_and_log_lines_are_seen_and_others_are_not(flags: list[str], more: str) -> None:
    run = subprocess.run(
        [sys.executable, "-c", NOISE, *flags], capture_output=True, text=True, check=False, timeout=60
    )
    assert (run.returncode, run.stdout) == (0, "")
    assert run.stderr == f"DeprecationWarning: use this\nUserWarning: take care\n{more}"


def test_everything_is_put_back(capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("ptycho_torch")
    before = (warnings.formatwarning, list(warnings.filters), logger.handlers[:], logger.level)
    assert ended(lambda args: 0) == 0
    assert before == (warnings.formatwarning, list(warnings.filters), logger.handlers[:], logger.level)


@pytest.mark.rule("CLI-013")
def test_progress_writes_lines_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([0.0, 1.0, 6.0, 7.0, 8.0])
    monkeypatch.setattr("ptycho_torch_cli.console.time.monotonic", lambda: next(clock))
    progress = ProgressDisplay("pattern")
    for done in (10, 20, 70, 80, 90):
        progress(done, 90)
    progress.close()
    assert capsys.readouterr().err.splitlines() == [
        "70/90 patterns  10 patterns/s  2 s left",
        "90/90 patterns  10 patterns/s  0 s left",
    ]


@pytest.mark.rule("CLI-032")
def test_stages_are_told_apart_and_short_ones_say_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([0.0, 1.0, 2.0, 10.0, 20.0, 21.0, 30.0, 31.0])
    monkeypatch.setattr("ptycho_torch_cli.console.time.monotonic", lambda: next(clock))
    progress = ProgressDisplay("pattern", name="predicting")
    reading = progress.stage("reading", "frame")
    for done in (10, 90):
        reading(done, 90)
    for done in (30, 90):
        progress(done, 90)
    stitching = progress.stage("stitching", "pass")
    for done in (1, 2, 10, 20):
        stitching(done, 20)
    progress.close()
    assert capsys.readouterr().err.splitlines() == [
        "predicting: 90/90 patterns  7.5 patterns/s  0 s left",
        "stitching: 10/20 passes  0.9 passes/s  11 s left",
        "stitching: 20/20 passes  1.73 passes/s  0 s left",
    ]


@pytest.mark.rule("CLI-013")
def test_progress_draws_a_bar_on_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    progress = ProgressDisplay("pattern", name="predicting")
    progress(45, 90)
    progress(90, 90)
    progress.close()
    out, err = capsys.readouterr()
    assert out == ""
    assert "predicting: 100%" in err
    assert "patterns/s" in err


def test_a_bar_follows_a_total_that_changes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    progress = ProgressDisplay("trial")
    for done, total in ((0, 1), (3, 40), (7, 9)):
        progress(done, total)
    progress.close()
    assert "7/9" in capsys.readouterr().err


def test_a_warning_is_one_line_though_a_library_formats_warnings_its_own_way() -> None:
    text = """
import warnings
from ptycho_torch_cli.console import run_command
from ptycho_torch_cli.parsers import CommandParser, add_common_flags

def work(args):
    # As Lightning does when it is loaded.
    warnings.formatwarning = lambda message, *_: f"/somewhere.py:7: {message}"
    warnings.warn("the object is flat", UserWarning)
    return 0

parser = CommandParser("prog", description="", usage="")
add_common_flags(parser)
run_command(parser, work, [])
"""
    # Here pytest would record the warning.
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    assert done.stderr == "UserWarning: the object is flat\n"
