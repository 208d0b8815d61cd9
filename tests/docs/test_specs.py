"""The numbered rules: each is defined once, listed once, and every test named beside it exists."""

from __future__ import annotations

import ast
import re
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

DEFINED = re.compile(r"^\*\*([A-Z]+(?:-[A-Z]+)*-\d{3})\.\*\* ", re.MULTILINE)
ROW = re.compile(r"^\| ([A-Z-]+-\d{3}) \| (.*) \|$", re.MULTILINE)
CITED = re.compile(r"\b(?:CFG|CONFIG|CONFIG-LOGGER|DATA|PHY|STI|REF|MET|BUN|RUN|CLI|PKG|POLICY)-\d{3}\b")
FOLDERS = {
    "config": "packages/ptycho-config/tests",
    "core": "packages/ptycho-torch-core/tests",
    "cli": "packages/ptycho-torch-cli/tests",
    "tests": "tests",
}


@cache
def _rules(root: Path) -> tuple[str, ...]:
    pages = sorted((root / "specs").glob("*.md"))
    return tuple(rule for page in pages for rule in DEFINED.findall(page.read_text(encoding="utf-8")))


@cache
def _coverage(root: Path) -> tuple[tuple[str, str], ...]:
    return tuple(ROW.findall((root / "specs" / "coverage.md").read_text(encoding="utf-8")))


@cache
def _functions(path: Path) -> frozenset[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def test_every_rule_is_defined_once(root):
    counts = Counter(_rules(root))
    assert len(counts) > 100
    assert not [rule for rule, count in counts.items() if count > 1]


def test_every_rule_is_listed_once_in_the_table(root):
    listed = [rule for rule, _ in _coverage(root)]
    assert sorted(listed) == sorted(_rules(root))


def test_every_test_in_the_table_exists(root):
    missing = []
    for rule, cell in _coverage(root):
        named = re.findall(r"`(\w+)/([\w/]+\.py)::(\w+)`", cell)
        assert named or cell in ("none yet", "nox session `alone`"), f"{rule}: {cell!r} names no test"
        for place, file, function in named:
            path = root / FOLDERS[place] / file
            if not path.is_file() or function not in _functions(path):
                missing.append(f"{rule}: {place}/{file}::{function}")
    assert not missing, "\n".join(missing)


@pytest.mark.parametrize("pattern", ["docs/**/*.md", "specs/*.md", "tests/**/*.py", "packages/**/*.py"])
def test_every_cited_rule_exists(root, pattern):
    known = set(_rules(root))
    unknown = [
        f"{path.relative_to(root)}: {rule}"
        for path in sorted(root.glob(pattern))
        if "_build" not in path.parts
        for rule in CITED.findall(path.read_text(encoding="utf-8"))
        if rule not in known
    ]
    assert not unknown, "\n".join(unknown)
