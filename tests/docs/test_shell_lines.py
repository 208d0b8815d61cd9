"""Every command line of the pages and READMEs is run, or parsed where it needs another machine.

A block that has a comment ``# needs ...`` says what a reader must have; its lines are parsed. All others are
run from the top of a page to its end, in a folder with the scans and the model that the pages speak of. What
costs time and proves nothing more here is left out: epochs, frames, the width of the network, and, but for
two pages, the drawing of pictures.
"""

from __future__ import annotations

import shlex
import shutil
from importlib import import_module
from pathlib import Path

import pytest
from pages import PAGES, Line, quoted, shell_lines, text

from ptycho_torch_cli import __main__ as program

# Typed after a line; what is typed last counts.
_FEWER = "--accelerator cpu --quiet --overwrite"
SMALL = {
    "train": f"--n-groups 8 --n-filters-scale 1 --nepochs 1 {_FEWER}",
    "infer": _FEWER,
    "refine": f"--epochs 1 {_FEWER}",
    "tune": f"--epochs 1 --refine-warm-up 0 --trials 2 {_FEWER}",
    "simulate": "--N 32 --grid 6,6 --overwrite",
    "evaluate": "--overwrite",
    "convert": "--quiet --overwrite",
    "inspect": "--quiet",
    "config": "",
}
LEFT_BEHIND = {
    "docs/first-scan.md": ("next_result/phase.png", "result/reconstruction.h5", "model/training.png"),
    "docs/choosing.md": ("page.png", "model/training.png", "model/patches.png"),
    "docs/inference.md": ("result/phase.png", "scores/comparison.png", "scores/frc.png"),
}
DRAWN = ("docs/choosing.md", "docs/inference.md")
"""Pages whose pictures are drawn: of a scan and a training, of a reconstruction and its scores."""


def _lines(page: str) -> list[Line]:
    """Lines to run; a command in a sentence comes before the blocks, which may build on it."""
    return [line for line in (*quoted(page), *shell_lines(page)) if line.needs is None]


def _small(argv: list[str]) -> list[str]:
    """The same job on a small machine, over what an earlier line left."""
    command = {"inference": "infer"}.get(argv[0], argv[0])
    if command not in SMALL or "--help" in argv:
        return argv
    if "--resume" in argv:
        return [*argv, "--quiet"]  # it takes the settings of the run that it continues
    more = shlex.split(SMALL[command])
    if any(word.startswith("training.nepochs=") for word in argv):
        argv = ["training.nepochs=1" if word.startswith("training.nepochs=") else word for word in argv]
        del more[more.index("--nepochs") : more.index("--nepochs") + 2]
    if command == "infer" and "--refine" in argv:
        more += ["--refine", "1"]
    if command == "inspect" and "--plot" in argv:
        more += ["--overwrite"]
    return [*argv, *more]


@pytest.mark.filterwarnings("ignore:POLICY-001:UserWarning")
@pytest.mark.filterwarnings("ignore:--d.* is deprecated:DeprecationWarning")
@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=[pytest.mark.drawn] if page in DRAWN else [])
        for page in PAGES
        if _lines(page)
    ],
)
def test_lines_run_from_top_to_bottom(page: str, shop: Path, tmp_path: Path, monkeypatch) -> None:
    desk = tmp_path / "desk"
    shutil.copytree(shop, desk)
    monkeypatch.chdir(desk)
    for line in _lines(page):
        if line.argv is None:
            assert line.typed.startswith("export "), f"{page}: nothing runs {line.typed!r}; say what it needs"
            continue
        assert program.main(_small(line.argv)) == 0, f"{page}: {line.typed}"
    for name in LEFT_BEHIND.get(page, ()):
        assert (desk / name).stat().st_size > (5000 if page in DRAWN else 50), name


@pytest.mark.parametrize(
    ("page", "line"),
    [(page, line) for page in PAGES for line in shell_lines(page) if line.needs and line.argv],
    ids=lambda value: getattr(value, "typed", value),
)
def test_lines_for_other_machines_are_understood(page: str, line: Line) -> None:
    command, *words = line.argv
    module = program.COMMANDS[command][0]
    import_module(f"ptycho_torch_cli.{module}").build_parser().parse_args(words)


def test_pages_say_what_their_lines_need() -> None:
    found = {page: {line.needs for line in shell_lines(page) if line.needs} for page in PAGES}
    assert sum(map(bool, found.values())) >= 3
    run = [line for page in PAGES for line in _lines(page)]
    assert len(run) > 50


@pytest.mark.parametrize("page", PAGES)
def test_no_command_line_hides_from_the_tests(page: str) -> None:
    """Indented text and blocks of other languages are not run."""
    inside, language = False, ""
    for row in text(page).splitlines():
        if row.lstrip().startswith("```"):
            inside, language = not inside, row.strip().removeprefix("```")
            continue
        starts = row.strip().removeprefix("$ ").startswith(("ptycho-torch ", "ptycho-train ", "torchrun "))
        hidden = language != "sh" if inside else row.startswith("    ")
        assert not (starts and hidden), f"{page}: {row.strip()!r} belongs into a block of `sh`"
