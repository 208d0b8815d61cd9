from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from ptycho_torch_cli.__main__ import COMMANDS, main


@pytest.mark.rule("CLI-001")
def test_help_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    for name, (_, text) in COMMANDS.items():
        assert name in out
        assert text.split(",")[0] in out


@pytest.mark.parametrize("name", [*COMMANDS, "inference"])
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("usage: ptycho-torch ")
    assert err == ""


@pytest.mark.parametrize("words", [["--version"], ["train", "--version"], ["config", "--version"]])
def test_version_names_all_packages(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 0
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert names == ["ptycho-torch-cli", "ptycho-torch-core", "ptycho-config", "torch"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "usage: ptycho-torch"),
        (["trian"], "trian: unknown command; did you mean 'train'?"),
        (["polish"], "polish: unknown command"),
        (["--debug"], "a command is missing"),
        (["--verison"], "--verison: unknown flag; did you mean '--version'?"),
        (["config"], "ACTION"),
        (["config", "shwo"], "shwo"),
    ],
)
def test_wrong_commands(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err


def test_modules_import_each_other_one_way() -> None:
    folder = Path(main.__code__.co_filename).parent
    names = {path.stem for path in folder.glob("*.py")}
    imports: dict[str, set[str]] = {}
    for path in folder.glob("*.py"):
        nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        named = (node.module or "" for node in nodes if isinstance(node, ast.ImportFrom))
        imports[path.stem] = {name.removeprefix("ptycho_torch_cli.") for name in named} & names
    TopologicalSorter(imports).prepare()  # raises when two modules need each other, in functions too
