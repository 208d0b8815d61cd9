"""The guides: Python blocks run, configuration files load, names and links exist."""

from __future__ import annotations

import re

import pytest
from pages import DOCS, PAGES, blocks, pages_with, smaller, text

from ptycho_config import SECTIONS, load_config, resolve


@pytest.mark.filterwarnings("ignore:POLICY-001:UserWarning")
@pytest.mark.parametrize("page", [page for page in pages_with("python") if not page.startswith("packages/")])
def test_python_runs_from_top_to_bottom(page, bring, desk, capsys):
    needs = re.search(r"<!-- needs: (.*?) -->", text(page))
    for name in needs[1].split() if needs else ():
        bring(name)
    source = smaller("\n".join(blocks(page, "python")))
    exec(compile(source, page, "exec"), {"__name__": "__main__"})
    printed = capsys.readouterr().out.splitlines()
    for expected in re.findall(r"^print\(.*\)  # (.+)$", source, re.MULTILINE):
        assert expected in printed, f"{page} promises {expected!r}"


@pytest.mark.parametrize("language", ["yaml", "toml"])
def test_configuration_files_resolve(language, tmp_path):
    found = [block for page in PAGES for block in blocks(page, language) if page.startswith("docs/")]
    # The project file of a distribution that adds a format is none of ours.
    found = [block for block in found if not block.lstrip().startswith("[project")]
    assert found
    for block in found:
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
    listed = set(re.findall(r"^([\w/-]+)$", "".join(blocks("docs/index.md", r"\{toctree\}")), re.MULTILINE))
    there = {path.relative_to(DOCS).with_suffix("").as_posix() for path in DOCS.glob("**/*.md")}
    there = {name for name in there if not name.startswith("_build/")}
    assert listed == there - {"index"}
