"""The tree keeps its own rules."""

from __future__ import annotations

import re

import pytest

import boundary_documents
import boundary_imports
import boundary_packaging
import boundary_source
from boundary_tree import ROOT, modules, python_files, text_files


def report(problems: list[str]) -> str:
    return "\n".join([f"{len(problems)} problem(s):", *problems]).replace(f"{ROOT}/", "")


def test_the_tree_is_found() -> None:
    # Every other test here would pass on an empty tree.
    names = {module.name for module in modules()}
    assert {"ptycho_config.fields", "ptycho_torch.physics.forward", "ptycho_torch_cli.parsers"} <= names


@pytest.mark.rule("CFG-052", "LIVE-007", "PKG-001", "PKG-004", "PKG-005", "PKG-006")
@pytest.mark.parametrize("rule", boundary_imports.RULES, ids=lambda rule: rule.reason)
def test_imports(rule: boundary_imports.Rule) -> None:
    assert any(rule.governs(module.name) for module in modules()), (
        "the rule governs nothing: a name has changed"
    )
    problems = boundary_imports.violations(modules(), [rule])
    assert not problems, report(problems)


@pytest.mark.rule("RUN-040")
def test_nothing_prints_below_the_command_line() -> None:
    below = [module for module in modules() if not module.name.startswith("ptycho_torch_cli")]
    problems = boundary_source.calls(below, "print", "log it or return it")
    assert not problems, report(problems)


@pytest.mark.rule("PKG-004")
def test_physics_opens_no_files() -> None:
    physics = [module for module in modules() if module.name.startswith("ptycho_torch.physics")]
    problems = boundary_source.calls(physics, "open", "take arrays as arguments")
    assert not problems, report(problems)


@pytest.mark.rule("LIVE-007")
@pytest.mark.parametrize("function", ["eval", "exec", "compile", "__import__"])
def test_nothing_that_came_is_run(function: str) -> None:
    live = [module for module in modules() if module.name.startswith("ptycho_torch.live")]
    problems = boundary_source.calls(live, function, "what comes over a network is data")
    assert not problems, report(problems)


@pytest.mark.rule("PKG-008")
def test_public_modules_say_what_is_public() -> None:
    problems = boundary_source.missing_all(modules())
    assert not problems, report(problems)


def test_refusals_of_scans_say_what_to_do() -> None:
    scans = [module for module in modules() if module.name.startswith("ptycho_torch.data")]
    problems = boundary_source.no_advice(scans)
    assert not problems, report(problems)


def test_no_module_variable_is_rebound() -> None:
    problems = boundary_source.global_state(modules())
    assert not problems, report(problems)


def test_files_and_functions_stay_short() -> None:
    files = python_files()
    problems = boundary_source.file_lengths(files) + boundary_source.function_lengths(files)
    assert not problems, report(problems)


def test_text_belongs_to_every_machine_and_is_finished() -> None:
    problems = boundary_source.wrong_words(text_files())
    assert not problems, report(problems)


def test_examples_in_documents_use_names_that_exist() -> None:
    documents = [path for path in text_files() if path.suffix == ".md"]
    problems = boundary_documents.broken_examples(documents, modules())
    assert not problems, report(problems)


@pytest.mark.rule("PKG-007", "PKG-008", "PKG-011")
@pytest.mark.parametrize(
    "check",
    [
        boundary_packaging.root_is_no_package,
        boundary_packaging.layout,
        boundary_packaging.sibling_ranges,
        boundary_packaging.command_targets,
        boundary_packaging.changelog_fragments,
        boundary_packaging.session_table,
    ],
    ids=lambda check: check.__name__,
)
def test_project_files_agree(check) -> None:
    problems = check(ROOT)
    assert not problems, report(problems)


def test_readme_and_continuous_integration_run_the_same_command() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    command = re.search(r"^python3 .*nox", script, flags=re.MULTILINE)
    assert command is not None, ".ci/run: no line that starts with `python3` and runs nox"
    assert command.group() in (ROOT / "README.md").read_text(encoding="utf-8"), (
        f"README.md lacks the command that .ci/run runs: {command.group()}"
    )
