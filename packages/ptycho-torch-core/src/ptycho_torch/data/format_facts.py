"""Facts of a module that is found by walking a folder, read from its source without running it."""

from __future__ import annotations

import ast
from collections.abc import Collection
from typing import Any

__all__ = ["FACTS", "REQUIRED", "endings", "stated_facts"]

REQUIRED = ("NAME", "HELP", "SUFFIXES")
"""Facts that every format states."""

FACTS = (*REQUIRED, "TARGETS", "REFINES", "TAKES_PARTS", "NEAR_FIELD")
"""Facts that a format may state, see `ptycho_torch.data.format_registry`."""


def stated_facts(
    source: str, required: Collection[str] = REQUIRED, known: Collection[str] = FACTS
) -> dict[str, Any]:
    """Facts and functions that a source states at its top level; its code is not run.

    Parameters
    ----------
    source
        Text of the module.
    required
        Names of facts that have to be there.
    known
        Names of all facts that may be.

    Raises
    ------
    ValueError
        It is no Python, or a fact is no literal.
    """
    found: dict[str, Any] = {"functions": set()}
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        raise ValueError(f"line {error.lineno}: {error.msg}") from error
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            found["functions"].add(node.name)
        targets: list[ast.expr] = node.targets if isinstance(node, ast.Assign) else []
        if isinstance(node, ast.AnnAssign):
            targets = [node.target]
        for target in targets:
            if isinstance(target, ast.Name) and target.id in known:
                assert isinstance(node, ast.Assign | ast.AnnAssign)
                try:
                    found[target.id] = ast.literal_eval(node.value or ast.Constant(None))
                except ValueError as error:
                    raise ValueError(f"{target.id} is computed; state it as plain text") from error
    missing = [name for name in required if name not in found]
    if missing:
        raise ValueError(f"{', '.join(missing)} is missing at the top level")
    return found


def endings(values: Any, name: str) -> tuple[str, ...]:
    """Endings of file names, lower case.

    Raises
    ------
    ValueError
        They are none.
    """
    found = (values,) if isinstance(values, str) else tuple(values)
    if not all(isinstance(ending, str) and (not ending or ending.startswith(".")) for ending in found):
        raise ValueError(f"{name}: expected endings such as ('.h5',), got {values!r}")
    return tuple(ending.lower() for ending in found)
