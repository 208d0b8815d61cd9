"""The numbered rules of specs/ and the tests that are marked with them.

A test says which rules it holds with `@pytest.mark.rule("CFG-001", ...)`. `python tests/docs/rules.py` prints
every rule with its tests, and `python tests/docs/rules.py STI CFG-010` those that begin with these words.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["HELD_ELSEWHERE", "Mark", "defined_rules", "main", "marks", "marks_of", "table"]

DEFINED = re.compile(r"^\*\*([A-Z]+(?:-[A-Z]+)*-\d{3})\.\*\* ", re.MULTILINE)

# Rules that no single test can hold.
HELD_ELSEWHERE = {"PKG-010": "the nox session `alone`"}


@dataclass(frozen=True)
class Mark:
    """One rule on one test.

    Attributes
    ----------
    rule : str
    file : str
        Path below the repository.
    test : str
    """

    rule: str
    file: str
    test: str


def defined_rules(root: Path) -> list[str]:
    """The numbers that the pages of specs/ define, in their order, as often as they define them."""
    pages = sorted((root / "specs").glob("*.md"))
    return [rule for page in pages for rule in DEFINED.findall(page.read_text(encoding="utf-8"))]


def marks_of(source: str, file: str) -> Iterator[Mark]:
    """The marks in one file, read without running it.

    Raises
    ------
    ValueError
        A mark stands where pytest does not look, or holds something else than texts.
    """
    for node in ast.walk(ast.parse(source)):
        for decorator in getattr(node, "decorator_list", ()):
            call = decorator.func if isinstance(decorator, ast.Call) else decorator
            if ast.unparse(call) != "pytest.mark.rule":
                continue
            place = f"{file}:{decorator.lineno}"
            if not isinstance(node, ast.FunctionDef) or not node.name.startswith("test_"):
                raise ValueError(f"{place}: only a test function can hold a rule")
            values = [getattr(argument, "value", None) for argument in getattr(decorator, "args", ())]
            if not values or not all(isinstance(value, str) for value in values):
                raise ValueError(f'{place}: write the numbers as texts, pytest.mark.rule("CFG-001")')
            yield from (Mark(str(value), file, node.name) for value in values)


def marks(root: Path) -> list[Mark]:
    """The marks in all tests of the repository."""
    files = [*root.glob("packages/*/tests/**/test_*.py"), *root.glob("tests/**/test_*.py")]
    return [
        mark
        for path in sorted(files)
        for mark in marks_of(path.read_text(encoding="utf-8"), path.relative_to(root).as_posix())
    ]


def table(root: Path, prefixes: tuple[str, ...] = ("",)) -> str:
    """One line per rule, and one per test below it."""
    lines = []
    held = marks(root)
    for rule in filter(lambda rule: rule.startswith(prefixes), defined_rules(root)):
        lines.append(f"{rule}  {HELD_ELSEWHERE.get(rule, '')}".rstrip())
        lines += [f"    {mark.file}::{mark.test}" for mark in held if mark.rule == rule]
    return "\n".join(lines)


def main(argv: list[str]) -> int:
    """Print the table."""
    print(table(Path(__file__).resolve().parents[2], tuple(argv) or ("",)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
