"""How help is laid out, and that it ends with examples; flags are on record in ``docs/config``."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from importlib import import_module
from typing import Literal

import pytest

from ptycho_config import setting
from ptycho_torch_cli import __main__ as program
from ptycho_torch_cli import config
from ptycho_torch_cli.parsers import CommandParser, add_common_flags, add_settings

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


@dataclass(frozen=True, kw_only=True)
class Kinds:
    """A setting of each kind that is laid out in a way of its own."""

    side: int = setting(
        4, help="width of the box", unit="px", ge=1, cli=("--width", "--box_width"), group="Box"
    )
    exact: bool | Literal["warn"] = setting(True, help="repeat a run", group="Box")
    shade: str | None = setting(None, help="50% of it", choices=("red", "blue"), group="Paint")
    fixed: bool = setting(True, help="never shown", only_default="there is no other", group="Paint")


LAYOUT = """\
usage: box pack [settings]

Pack a box.

options:
  -h, --help                  show this help message and exit

Box: Box:
  --side, --width INT         width of the box [px] (default: 4)
  --exact [warn], --no-exact  repeat a run (default: on)

Box: Paint:
  --shade {red,blue,none}     50% of it (default: none)

Information:
  --debug                     show where an error arose
  --version                   versions of the packages, and stop

Examples:
  a wide one:
    box pack --width 9
"""


@pytest.mark.rule("CLI-031")
def test_how_help_is_laid_out() -> None:
    parser = CommandParser(
        "box pack",
        description="Pack a box.",
        usage="[settings]",
        examples=(("a wide one", "box pack --width 9"),),
    )
    add_settings(parser, "box", Kinds)
    add_common_flags(parser)
    assert parser.format_help() == LAYOUT


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
