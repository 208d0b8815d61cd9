"""House rules that can be read off the source text."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from pathlib import Path

from boundary_tree import Module

__all__ = [
    "calls",
    "file_lengths",
    "function_lengths",
    "global_state",
    "missing_all",
    "no_advice",
    "wrong_words",
]

MAX_FILE_LINES = 450
MAX_FUNCTION_LINES = 70

_REFUSALS = ("DataError", "Fault", "fault")

_UNFINISHED = "|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK"))
_NOT_WRITTEN = "raise NotImplemented" + "Error"
_HOSTS = "|".join(
    ("pypi" + r"\.org", "python" + r"hosted\.org", "download" + r"\.pytorch", "conda" + r"\.anaconda")
)
_HOMES = "|".join(("home", "root", "Users", "work", "opt", "tmp"))
# (what it is, pattern); written in pieces so that this file does not match itself.
WORDS = (
    (
        "unfinished work: finish it or refuse it honestly",
        re.compile(rf"\b(?:{_UNFINISHED})\b|{_NOT_WRITTEN}\b"),
    ),
    ("a path of one machine", re.compile(rf"(?<![\w.\-/)}}])/(?:{_HOMES})/\w")),
    ("the address of a package index: which index is used is the installer's choice", re.compile(_HOSTS)),
)


def calls(modules: Iterable[Module], function: str, advice: str) -> list[str]:
    """Find calls of a built-in function where it has no place."""
    return [
        f"{module.path}:{node.lineno}: {function}() in {module.name}; {advice}"
        for module in modules
        for node in ast.walk(_parse(module.path))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == function
    ]


def missing_all(modules: Iterable[Module]) -> list[str]:
    """Find public modules that do not say what is public in them."""
    found = []
    for module in modules:
        if not module.is_public:
            continue
        assigned = {
            target.id
            for node in _parse(module.path).body
            for target in _assignment_targets(node)
            if isinstance(target, ast.Name)
        }
        if "__all__" not in assigned:
            found.append(f"{module.path}: {module.name} has no __all__; list its public names")
    return found


def global_state(modules: Iterable[Module]) -> list[str]:
    """Find functions that rebind module variables."""
    return [
        f"{module.path}:{node.lineno}: rebinds {', '.join(node.names)}; pass it as an argument"
        for module in modules
        for node in ast.walk(_parse(module.path))
        if isinstance(node, ast.Global)
    ]


def file_lengths(paths: Iterable[Path], limit: int = MAX_FILE_LINES) -> list[str]:
    """Find files that have become two."""
    found = []
    for path in paths:
        n_lines = len(path.read_text(encoding="utf-8").splitlines())
        if n_lines > limit:
            found.append(f"{path}: {n_lines} lines, at most {limit}; split it by what it is about")
    return found


def function_lengths(paths: Iterable[Path], limit: int = MAX_FUNCTION_LINES) -> list[str]:
    """Find functions that do not fit on a screen or two; a docstring may be as long as it must."""
    return [
        f"{path}:{node.lineno}: {node.name} has {n_lines} lines, at most {limit}; give its parts names"
        for path in paths
        for node in ast.walk(_parse(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (n_lines := _n_lines(node)) > limit
    ]


def no_advice(modules: Iterable[Module]) -> list[str]:
    """Find refusals of data that say what was expected, and not what to do about it."""
    return [
        f"{module.path}:{node.lineno}: {said[:60]!r} in {module.name}; say what to do about it"
        for module in modules
        for node in ast.walk(_parse(module.path))
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in _REFUSALS
        for argument in node.args
        if "expected " in (said := _text(argument)) and ";" not in said.partition("expected ")[2]
    ]


def _text(node: ast.expr) -> str:
    """The text of a literal, with its formatted parts as they stand in the source."""
    return ast.unparse(node) if isinstance(node, ast.JoinedStr | ast.Constant) else ""


def wrong_words(paths: Iterable[Path]) -> list[str]:
    """Find unfinished places, paths of one machine and addresses of package indexes in text files."""
    return [
        f"{path}:{number}: {what}: {match.group()!r}"
        for path in paths
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        for what, pattern in WORDS
        if (match := pattern.search(line))
    ]


def _parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def _n_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    n_lines = (node.end_lineno or node.lineno) - node.lineno + 1
    if ast.get_docstring(node, clean=False) is not None:
        docstring = node.body[0]
        n_lines -= (docstring.end_lineno or docstring.lineno) - docstring.lineno + 1
    return n_lines


def _assignment_targets(node: ast.stmt) -> list[ast.expr]:
    if isinstance(node, ast.Assign):
        return node.targets
    return [node.target] if isinstance(node, ast.AnnAssign | ast.AugAssign) else []
