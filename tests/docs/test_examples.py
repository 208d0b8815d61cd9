"""The guides: Python blocks run, commands parse, configuration files load."""

from __future__ import annotations

import re
import shlex
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

from ptycho_config import SECTIONS, load_config, resolve

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(
    path.relative_to(DOCS).as_posix() for path in (*DOCS.glob("*.md"), *DOCS.glob("workflows/*.md"))
)
COMMANDS = {
    "train": "train", "infer": "inference", "inference": "inference", "simulate": "simulate",
    "refine": "refine", "evaluate": "evaluate", "convert": "convert", "inspect": "inspect",
    "config": "config",
}  # fmt: skip
# What makes an example natural to read makes it slow to run.
SMALLER = (
    (re.compile(r'(overrides=\{[^}]*"nepochs": )\d+'), r"\g<1>1"),
    (re.compile(r"(TrainingConfig\(nepochs=)\d+"), r"\g<1>2"),
    (re.compile(r"grid=\(\d+, \d+\)"), "grid=(6, 6)"),
    (re.compile(r'(simulate_scene\("\w+", )N=64'), r"\1N=32"),
)


@cache
def _text(page: str) -> str:
    return (DOCS / page).read_text(encoding="utf-8")


def _blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", _text(page), re.DOTALL | re.MULTILINE)


def _pages_with(language: str) -> list[str]:
    return [page for page in PAGES if _blocks(page, language)]


def _commands(page: str) -> list[str]:
    lines = "".join(_blocks(page, "sh")).replace("\\\n", " ").splitlines()
    return [line for line in lines if line.startswith("ptycho-")]


@pytest.mark.filterwarnings("ignore:POLICY-001:UserWarning")
@pytest.mark.parametrize("page", _pages_with("python"))
def test_python_runs_from_top_to_bottom(page, bring, desk, capsys):
    needs = re.search(r"<!-- needs: (.*?) -->", _text(page))
    for name in needs[1].split() if needs else ():
        bring(name)
    source = "\n".join(_blocks(page, "python"))
    for pattern, replacement in SMALLER:
        source = pattern.sub(replacement, source)
    exec(compile(source, page, "exec"), {"__name__": page})
    printed = capsys.readouterr().out.splitlines()
    for expected in re.findall(r"^print\(.*\)  # (.+)$", source, re.MULTILINE):
        assert expected in printed, f"{page} promises {expected!r}"


@pytest.mark.parametrize(
    ("page", "line"), [(page, line) for page in PAGES for line in _commands(page)], ids=lambda text: text
)
def test_commands_are_understood(page, line, capsys):
    program, *words = shlex.split(line)
    short = {"ptycho-train": "train", "ptycho-inference": "infer"}
    command, rest = (short[program], words) if program in short else (words[0], words[1:])
    if command.startswith("--") or rest == ["--help"]:
        main = import_module("ptycho_torch_cli.__main__").main
        assert main([command, *rest]) == 0
        assert capsys.readouterr().out
        return
    build = import_module(f"ptycho_torch_cli.{COMMANDS[command]}").build_parser
    parser, rest = (build(rest[0]), rest[1:]) if command == "config" else (build(), rest)
    parser.parse_args(rest)


@pytest.mark.parametrize("language", ["yaml", "toml"])
def test_configuration_files_resolve(language, tmp_path):
    blocks = [block for page in PAGES for block in _blocks(page, language)]
    assert blocks
    for block in blocks:
        path = tmp_path / f"run.{language}"
        path.write_text(block, encoding="utf-8")
        training = resolve(SECTIONS, file=load_config(path)).configs["training"]
        assert training.nepochs == 30
        assert training.n_groups is None


def test_pages_stay_inside_the_folder():
    """The built guides hold nothing but docs/, so a link to a file elsewhere would lead nowhere."""
    for path in DOCS.glob("**/*.md"):
        for target in re.findall(r"\]\(([^)#\s]+)", path.read_text(encoding="utf-8")):
            if not re.match(r"\w+://", target):
                assert DOCS in (path.parent / target).resolve().parents, f"{path.name}: {target}"
                assert (path.parent / target).exists(), f"{path.name}: {target}"


def test_every_page_is_in_the_table_of_contents():
    listed = set(re.findall(r"^([\w/-]+)$", "".join(_blocks("index.md", r"\{toctree\}")), re.MULTILINE))
    there = {path.relative_to(DOCS).with_suffix("").as_posix() for path in DOCS.glob("**/*.md")}
    there = {name for name in there if not name.startswith("_build/")}
    assert listed == there - {"index"}
