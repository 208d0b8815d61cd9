"""Every execution setting has an effect on record, and a test that exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from ptycho_config import PyTorchExecutionConfig, field_specs

_ROW = re.compile(r"^\| `(\w+)` \| (.+) \| (.+) \|$", re.MULTILINE)


@pytest.fixture(scope="module")
def rows(root: Path) -> dict[str, list[str]]:
    text = (root / "docs" / "config" / "effects.md").read_text(encoding="utf-8")
    found = _ROW.findall(text)
    assert len({name for name, *_ in found}) == len(found)
    return {name: re.findall(r"`([^`]+)`", tests) for name, _, tests in found}


def test_every_execution_setting_is_there(rows: dict[str, list[str]]) -> None:
    assert set(rows) == {spec.name for spec in field_specs(PyTorchExecutionConfig)}
    assert all(rows.values())


def test_every_test_named_there_exists(root: Path, rows: dict[str, list[str]]) -> None:
    folder = root / "packages" / "ptycho-torch-core" / "tests"
    for name, tests in rows.items():
        for test in tests:
            file, _, function = test.removeprefix("core/").partition("::")
            tree = ast.parse((folder / file).read_text(encoding="utf-8"))
            assert function in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, (
                f"{name}: {test}"
            )
