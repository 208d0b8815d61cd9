"""Python examples in Markdown files, held against the names that the packages really have."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from pathlib import Path

from boundary_tree import Module

__all__ = ["broken_examples"]

BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)


def broken_examples(paths: Iterable[Path], modules: Iterable[Module]) -> list[str]:
    """Find fenced Python blocks that do not parse or that import a name which no module makes public."""
    known = {module.name: module for module in modules}
    found = []
    for path in paths:
        text = path.read_text(encoding="utf-8")
        for block in BLOCK.finditer(text):
            line = text.count("\n", 0, block.start(1)) + 1
            try:
                tree = ast.parse(block.group(1))
            except SyntaxError as error:
                found.append(
                    f"{path}:{line + (error.lineno or 1) - 1}: the example is no Python: {error.msg}"
                )
                continue
            found += [f"{path}:{line + at - 1}: {what}" for at, what in _unknown_imports(tree, known)]
    return found


def _unknown_imports(tree: ast.Module, known: dict[str, Module]) -> list[tuple[int, str]]:
    ours = {name.split(".")[0] for name in known}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if alias.name.split(".")[0] in ours]
            found += [(node.lineno, f"no module {name}") for name in names if name not in known]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in ours:
            module = known.get(node.module or "")
            if module is None:
                found.append((node.lineno, f"no module {node.module}"))
                continue
            public = _public_names(module)
            names = [alias.name for alias in node.names if f"{module.name}.{alias.name}" not in known]
            found += [
                (node.lineno, f"{module.name} has no public {name}") for name in names if name not in public
            ]
    return found


def _public_names(module: Module) -> set[str]:
    return {
        constant.value
        for node in ast.parse(module.path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name) and target.id == "__all__"
        for constant in ast.walk(node.value)
        if isinstance(constant, ast.Constant) and isinstance(constant.value, str)
    }
