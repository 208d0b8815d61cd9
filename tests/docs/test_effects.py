"""A setting states all its facts: jobs, effect, tests that exist. Every fact is read by somebody."""

from __future__ import annotations

import ast
import dataclasses
import re
from collections import Counter
from pathlib import Path

import pytest

from ptycho_config import JOBS, SECTIONS, FieldSpec, field_specs

SETTINGS = [
    pytest.param(spec, id=f"{section}.{spec.name}")
    for section, cls in SECTIONS.items()
    for spec in field_specs(cls)
]


@pytest.fixture(scope="module")
def functions(root: Path) -> Counter[str]:
    """How often each test function of the repository is defined."""
    files = [*root.glob("tests/**/test_*.py"), *root.glob("packages/*/tests/**/test_*.py")]
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in files]
    return Counter(
        node.name for tree in trees for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)
    )


@pytest.mark.parametrize("spec", SETTINGS)
def test_every_setting_states_its_jobs_and_its_effect(spec: FieldSpec) -> None:
    assert spec.jobs
    assert set(spec.jobs) <= set(JOBS)
    assert spec.effect
    assert not (spec.only_default and spec.no_flag), "one reason for having no flag"
    assert not spec.resume or {"train", "tune"} & set(spec.jobs), "only these are continued"


@pytest.mark.parametrize("spec", SETTINGS)
def test_every_test_of_an_effect_exists_and_is_the_only_one_of_its_name(
    spec: FieldSpec, functions: Counter[str]
) -> None:
    assert spec.tests
    assert {name: functions[name] for name in spec.tests} == dict.fromkeys(spec.tests, 1)


def test_every_fact_has_a_reader(root: Path) -> None:
    sources = [*root.glob("packages/*/src/**/*.py"), root / "docs" / "generate_tables.py"]
    read = set()
    for path in sources:
        who = "self" if path.name == "spec.py" else r"spec|facts\[\w+\]"
        read |= set(re.findall(rf"\b(?:{who})\.(\w+)", path.read_text(encoding="utf-8")))
    facts = {field.name for field in dataclasses.fields(FieldSpec)}
    assert facts - read == {"owner"}, "owner is for people who print a statement"
