"""Flags and help texts are on record, so that neither changes unnoticed.

``RENEW_SNAPSHOTS=1 pytest packages/ptycho-torch-cli/tests/test_snapshots.py`` writes the records anew; look
at their difference before it is committed.
"""

from __future__ import annotations

import os
import shlex
from importlib import import_module
from pathlib import Path

import pytest

from ptycho_torch_cli import __main__ as program
from ptycho_torch_cli import config
from ptycho_torch_cli.parsers import CommandParser, flag_summary

HERE = Path(__file__).parent
RENEW = "RENEW_SNAPSHOTS" in os.environ
ACTIONS = ("show", "validate", "explain")


def _parsers() -> dict[str, CommandParser]:
    """Parser of every command by what is typed after ``ptycho-torch``."""
    found: dict[str, CommandParser] = {}
    for name, (module, _) in program.COMMANDS.items():
        build = import_module(f"ptycho_torch_cli.{module}").build_parser
        if name == "config":
            found |= {f"config {action}": build(action) for action in ACTIONS}
        else:
            found[name] = build()
    return found


PARSERS = _parsers()
PAGES = {"ptycho-torch": program.build_parser(), "config": config.build_parser(), **PARSERS}


def _compare(path: Path, text: str) -> None:
    if RENEW:
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert path.is_file(), f"no record {path.name}; the first lines of this file say how to write it"
    assert text == path.read_text(encoding="utf-8")


@pytest.mark.rule("CLI-007")
def test_flags_are_those_on_record() -> None:
    blocks = ["\n".join([f"[{name}]", *flag_summary(parser)]) for name, parser in PARSERS.items()]
    _compare(HERE / "flags.txt", "\n\n".join(blocks) + "\n")


@pytest.mark.rule("CLI-031")
@pytest.mark.parametrize("name", PAGES)
def test_help_is_that_on_record(name: str) -> None:
    _compare(HERE / "help" / f"{name.replace(' ', '-')}.txt", PAGES[name].format_help())


def test_no_record_is_left_of_a_command_that_is_gone() -> None:
    names = {f"{name.replace(' ', '-')}.txt" for name in PAGES}
    assert {path.name for path in (HERE / "help").iterdir()} == names


def test_the_width_of_the_terminal_does_not_change_the_record(monkeypatch: pytest.MonkeyPatch) -> None:
    before = PAGES["train"].format_help()
    monkeypatch.setenv("COLUMNS", "60")
    assert PAGES["train"].format_help() == before


@pytest.mark.rule("CLI-031")
@pytest.mark.parametrize("name", PAGES)
def test_help_ends_with_examples_that_can_be_typed(name: str) -> None:
    parser = PAGES[name]
    assert parser.examples
    assert parser.format_help().rstrip().endswith(parser.examples[-1][1])
    for _, command in parser.examples:
        words = shlex.split(command.replace("\\\n", " ").partition(" > ")[0])
        assert words[0] == "ptycho-torch"
        typed = " ".join(words[1:3]) if words[1] == "config" else words[1]
        rest = words[3:] if words[1] == "config" else words[2:]
        assert name in (typed, "ptycho-torch", words[1])
        PARSERS[typed].parse_args(rest)
