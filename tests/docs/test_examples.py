"""The guides: Python blocks run, commands parse, configuration files load."""

from __future__ import annotations

import re
import shlex
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

import ptycho_torch_cli.__main__ as ptycho_torch_cli
from ptycho_config import SECTIONS, load_config, resolve

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(
    path.relative_to(DOCS).as_posix() for path in (*DOCS.glob("*.md"), *DOCS.glob("workflows/*.md"))
)
COMMANDS = {name: module for name, (module, _) in ptycho_torch_cli.COMMANDS.items()}
COMMANDS["inference"] = COMMANDS["infer"]
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


def _commands_of_readmes() -> list[tuple[str, str]]:
    """Command lines of the READMEs: indented, in blocks, or quoted in a sentence."""
    found = []
    for path in (ROOT / "README.md", *sorted(ROOT.glob("packages/*/README.md"))):
        text = path.read_text(encoding="utf-8").replace("\\\n", " ")
        lines = re.findall(r"^ *(?:\$ )?(ptycho-(?:torch|train|inference) .+)$", text, re.MULTILINE)
        quoted = [" ".join(line.split()) for line in re.findall(r"`(ptycho-torch [^`]+)`", text)]
        found += [(str(path.relative_to(ROOT)), line) for line in lines + quoted]
    return found


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
    ("page", "line"),
    [(page, line) for page in PAGES for line in _commands(page)] + _commands_of_readmes(),
    ids=lambda text: text,
)
def test_commands_are_understood(page, line, capsys):
    program, *words = shlex.split(line)
    short = {"ptycho-train": "train", "ptycho-inference": "infer"}
    command, rest = (short[program], words) if program in short else (words[0], words[1:])
    if command.startswith("--") or rest == ["--help"]:
        assert ptycho_torch_cli.main([command, *rest]) == 0
        assert capsys.readouterr().out
        return
    build = import_module(f"ptycho_torch_cli.{COMMANDS[command]}").build_parser
    parser, rest = (build(rest[0]), rest[1:]) if command == "config" else (build(), rest)
    parser.parse_args(rest)


# What a command of the first page takes besides, to run on a small machine over what an earlier one left.
QUICK = {
    "train": "--nepochs 1 --n-groups 8 --n-filters-scale 1 --accelerator cpu --quiet --overwrite",
    "infer": "--accelerator cpu --quiet --overwrite",
    "simulate": "--N 32 --overwrite",
    "convert": "--quiet --overwrite",
    "inspect": "",
}


@pytest.mark.filterwarnings("ignore:POLICY-001:UserWarning")
def test_the_first_page_works_as_typed(bring, desk, capsys):
    bring("next.npz")
    source = "\n".join(_blocks("first-scan.md", "python"))
    for pattern, replacement in SMALLER:
        source = pattern.sub(replacement, source)
    exec(compile(source, "first-scan.md", "exec"), {})
    for line in _commands("first-scan.md"):
        command = shlex.split(line)[1]
        assert ptycho_torch_cli.main([*shlex.split(line)[1:], *QUICK[command].split()]) == 0, line
    assert (desk / "next_result" / "phase.png").is_file()
    assert (desk / "result" / "reconstruction.h5").is_file()


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


def _names_here() -> list[str]:
    """Dotted names of our packages in the right-hand cells of the page of migration."""
    cells = re.findall(r"^\|[^|]*\|([^|]*)\|", _text("migration.md"), re.MULTILINE)
    names = re.findall(r"`(ptycho_(?:config|torch)\.[\w.]+)`", " ".join(cells))
    assert len(names) > 25
    return sorted(set(names))


@pytest.mark.parametrize("name", _names_here())
def test_names_that_replace_those_of_ptychopinn_exist(name):
    parent, _, last = name.rpartition(".")
    assert hasattr(import_module(parent), last)


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
