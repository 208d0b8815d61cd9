"""What stays unloaded, with packages present that could be loaded by mistake.

Stand-ins for the heavy packages come first on the search path. They are found, so a guarded import
(`try: import torch`) succeeds and shows, and they cost nothing to install. The session `alone` repeats
the checks with the real packages.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import lazy_imports
from lazy_imports import CASES, HEAVY, Case

LIGHT = [case for case in CASES if case.package != "ptycho-torch-core"]


@pytest.fixture(scope="module")
def stand_ins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stand_ins")
    for name in HEAVY:
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text('__version__ = "0"\n')
    return folder


@pytest.mark.parametrize("case", LIGHT, ids=lambda case: case.name)
def test_stays_light(case: Case, stand_ins: Path) -> None:
    problems = lazy_imports.problems(case, search_first=stand_ins)
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize("name", HEAVY)
def test_a_guarded_import_is_seen(name: str, stand_ins: Path) -> None:
    source = f"try:\n    import {name}\nexcept ImportError:\n    pass"
    case = Case("a leak", "ptycho-config", source)
    assert lazy_imports.problems(case, search_first=stand_ins) == [
        f"`a leak` loads {name}; import it where it is used"
    ]


def test_a_failing_statement_is_a_problem_and_not_a_pass() -> None:
    [problem] = lazy_imports.problems(Case("a crash", "ptycho-config", "raise SystemExit('it broke')"))
    assert "`a crash` failed" in problem
    assert "it broke" in problem


@pytest.mark.rule("PKG-002")
def test_config_loads_nothing_but_the_standard_library_and_a_yaml_reader() -> None:
    before = lazy_imports.loaded_modules("pass")
    after = lazy_imports.loaded_modules("import ptycho_config")
    assert after - before - set(sys.stdlib_module_names) - {"yaml", "_yaml"} == {"ptycho_config"}
