"""Every check can fail: each is shown a small tree with exactly the fault that it looks for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import boundary_documents
import boundary_imports
import boundary_packaging
import boundary_source
from boundary_tree import IMPORT_NAMES, Module, modules, python_files, text_files

Write = Callable[[str, str], Module]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write one module, given as `package/module.py`, and return how the checks see it."""

    def _write(name: str, source: str) -> Module:
        import_name = name.split("/")[0]
        dist = next((d for d, i in IMPORT_NAMES.items() if i == import_name), import_name)
        path = tmp_path / "packages" / dist / "src" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source, encoding="utf-8")
        return next(module for module in modules(tmp_path) if module.path == path)

    return _write


FORBIDDEN = [
    ("ptycho_config/model.py", "import numpy", "standard library and PyYAML only"),
    ("ptycho_config/model.py", "def f():\n    import torch", "standard library and PyYAML only"),
    (
        "ptycho_config/model.py",
        "try:\n    import torch\nexcept ImportError:\n    torch = None",
        "PyYAML only",
    ),
    ("ptycho_config/model.py", "import importlib\nimportlib.import_module('ptycho_torch')", "PyYAML only"),
    (
        "ptycho_torch/data/formats/npz.py",
        "from ptycho_torch_cli import parsers",
        "core does not know the command line",
    ),
    ("ptycho_torch/data/formats/npz.py", "class A:\n    def f(self):\n        import torch", "without torch"),
    ("ptycho_torch/diagnosis/pixels.py", "import torch", "needs no torch"),
    ("ptycho_torch/diagnosis/pixels.py", "from ptycho_torch.data.scan.contract import Scan", "knows no scan"),
    ("ptycho_torch/metrics/frc.py", "import torch.fft", "need no torch"),
    ("ptycho_torch/physics/forward.py", "import lightning", "physics is pure"),
    ("ptycho_torch/physics/forward.py", "from ptycho_config import ModelConfig", "physics is pure"),
    ("ptycho_torch/physics/forward.py", "def f():\n    from pathlib import Path", "physics is pure"),
    ("ptycho_torch/physics/forward.py", "from ..data import npz", "physics is pure"),
    ("ptycho_torch/physics/__init__.py", "from ..data import npz", "physics is pure"),
    ("ptycho_torch/models/registry.py", "import pytorch_lightning", "knows Lightning"),
    ("ptycho_torch/models/registry.py", "from ptycho_torch.lightning import module", "knows Lightning"),
    ("ptycho_torch/reassembly/canvas.py", "from .. import workflows", "nothing below calls them"),
    ("ptycho_torch/workflows/runs/resume.py", "from ..jobs import training", "knows no job"),
    ("ptycho_torch/workflows/runs/saving.py", "from ..processes import device", "no process beside"),
    ("ptycho_torch/workflows/processes/copies.py", "from ..runs.directory import a", "know neither a job"),
    (
        "ptycho_torch/workflows/jobs/training.py",
        "from ..components import save_outputs",
        "calls for embedders",
    ),
    ("ptycho_torch/prediction/scan_match.py", "from ptycho_torch import config_factory", "no factories"),
    ("ptycho_torch/models/registry.py", "from ptycho_config.params import cfg", "no global state"),
    ("ptycho_torch/models/registry.py", "from ptycho_config import params", "no global state"),
    ("ptycho_torch/models/registry.py", "import ptycho.model", "another program"),
    ("ptycho_torch_cli/parsers.py", "import torch", "answer at once"),
    ("ptycho_torch_cli/parsers.py", "class A:\n    import numpy", "answer at once"),
]
PERMITTED = [
    (
        "ptycho_config/io.py",
        "import json\nimport yaml\nfrom . import fields\nfrom .errors import ConfigError",
    ),
    ("ptycho_torch/physics/forward.py", "import math\nimport torch\nfrom .fourier import propagate"),
    ("ptycho_torch/physics/forward.py", "from ..errors import ShapeError"),
    ("ptycho_torch/lightning/module.py", "import lightning"),
    ("ptycho_torch/workflows/components.py", "def f():\n    import lightning.pytorch"),
    ("ptycho_torch/workflows/jobs/training.py", "from ..runs.resume import a\nfrom ..processes import b"),
    ("ptycho_torch/config_factory.py", "from ptycho_config import params"),
    ("ptycho_torch_cli/train.py", "def f():\n    import torch\n    from ptycho_torch import workflows"),
    ("ptycho_torch/data/formats/npz.py", "import torchless"),
]


@pytest.mark.parametrize(("name", "source", "words"), FORBIDDEN)
def test_forbidden_import(write: Write, name: str, source: str, words: str) -> None:
    module = write(name, source)
    problems = boundary_imports.violations([module])
    assert any(words in problem and f"{module.path}:" in problem for problem in problems), problems


@pytest.mark.parametrize(("name", "source"), PERMITTED)
def test_permitted_import(write: Write, name: str, source: str) -> None:
    assert boundary_imports.violations([write(name, source)]) == []


@pytest.mark.parametrize(
    ("source", "targets"),
    [
        ("from . import b", ["p.a.b"]),
        ("from .b import c, d", ["p.a.b.c", "p.a.b.d"]),
        ("from ..b import c", ["p.b.c"]),
        ("from x import *", ["x"]),
        ("import x.y as z", ["x.y"]),
        ("__import__('x')", ["x"]),
        ("from importlib import import_module\nimport_module('x.y')", ["importlib.import_module", "x.y"]),
        ("import runpy\nrunpy.run_module('x.y', run_name='z')", ["runpy", "x.y"]),
    ],
)
def test_imported_names_are_absolute(write: Write, source: str, targets: list[str]) -> None:
    assert [imported.target for imported in boundary_imports.imports_of(write("p/a/m.py", source))] == targets


def test_calls(write: Write) -> None:
    module = write("ptycho_torch/a.py", "def f():\n    print('x')\n")
    assert len(boundary_source.calls([module], "print", "log it")) == 1
    assert (
        boundary_source.calls([write("ptycho_torch/b.py", "report.print()\n'print()'\n")], "print", "") == []
    )


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ('fault("a", f"expected {n}, got {m}")', 1),
        ('fault("a", f"expected {n}, got {m}; crop it")', 0),
        ('raise DataError("damaged; expected a file", path)', 1),
        ('errors.Fault("expected one; give it")', 0),
        ('print("expected more")', 0),
    ],
)
def test_no_advice(write: Write, source: str, found: int) -> None:
    assert len(boundary_source.no_advice([write("ptycho_torch/a.py", source)])) == found


def test_missing_all(write: Write) -> None:
    public, private = write("ptycho_torch/a.py", "x = 1"), write("ptycho_torch/_a.py", "x = 1")
    annotated = write("ptycho_torch/b.py", "__all__: list[str] = []")
    [problem] = boundary_source.missing_all([public, private, annotated])
    assert "ptycho_torch.a has no __all__" in problem


def test_global_state(write: Write) -> None:
    module = write("ptycho_torch/a.py", "x = 1\ndef f():\n    global x\n    x = 2\n")
    [problem] = boundary_source.global_state([module])
    assert "rebinds x; pass it" in problem


def test_lengths(tmp_path: Path) -> None:
    path = tmp_path / "a.py"
    path.write_text("def f():\n" + "    pass\n" * 9, encoding="utf-8")
    assert boundary_source.file_lengths([path], limit=10) == []
    assert boundary_source.function_lengths([path], limit=10) == []
    assert len(boundary_source.file_lengths([path], limit=9)) == 1
    assert "f has 10 lines" in boundary_source.function_lengths([path], limit=9)[0]
    path.write_text('def f():\n    """One.\n\n    Two.\n    """\n' + "    pass\n" * 9, encoding="utf-8")
    assert boundary_source.function_lengths([path], limit=10) == []


WRONG = [
    "# TO" + "DO: later",
    "raise NotImplemented" + "Error",
    "see " + "/" + "home/someone/scan.npz",
    "pypi" + ".org",
]
RIGHT = ["todo lists", "a/home/b", "example.org/opt/x", "`{root}/tmp/x`", "~/data", "ptycho-torch/root"]


@pytest.mark.parametrize("line", WRONG)
def test_wrong_words(tmp_path: Path, line: str) -> None:
    (tmp_path / "a.md").write_text(f"first\n{line}\n", encoding="utf-8")
    [problem] = boundary_source.wrong_words(text_files(tmp_path))
    assert "a.md:2: " in problem


@pytest.mark.parametrize("line", RIGHT)
def test_right_words(tmp_path: Path, line: str) -> None:
    (tmp_path / "a.md").write_text(line, encoding="utf-8")
    assert boundary_source.wrong_words(text_files(tmp_path)) == []


@pytest.mark.parametrize(
    ("example", "words"),
    [
        ("x = = 1", ["README.md:2: the example is no Python"]),
        ("\nimport ptycho_torch.nowhere", ["README.md:3: no module ptycho_torch.nowhere"]),
        ("from ptycho_torch.nowhere import f", ["README.md:2: no module ptycho_torch.nowhere"]),
        ("from ptycho_torch.a import g", ["README.md:2: ptycho_torch.a has no public g"]),
        ("import ptycho_torch.a\nfrom ptycho_torch import a\nfrom ptycho_torch.a import f\nimport numpy", []),
    ],
)
def test_broken_examples(write: Write, tmp_path: Path, example: str, words: list[str]) -> None:
    tree = [
        write("ptycho_torch/__init__.py", ""),
        write("ptycho_torch/a.py", '__all__ = ["f"]\ndef g(): ...\n'),
    ]
    document = tmp_path / "README.md"
    document.write_text(f"```python\n{example}\n```\n", encoding="utf-8")
    problems = boundary_documents.broken_examples([document], tree)
    assert len(problems) == len(words)
    assert all(word in problem for word, problem in zip(words, problems, strict=True))


def test_ignored_folders_are_not_read(tmp_path: Path) -> None:
    for folder in (".nox", "dist", "kept", "x.egg-info"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.py").touch()
    assert [path.parent.name for path in python_files(tmp_path)] == ["kept"]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A tree in which everything agrees."""
    (tmp_path / "pyproject.toml").write_text("[tool.ruff]\n")
    (tmp_path / "LICENSE").write_text("BSD\n")
    requires = {
        "ptycho-config": [],
        "ptycho-torch-core": ["ptycho-config>=0.3,<0.4", "numpy>=1"],
        "ptycho-torch-cli": ["ptycho-config>=0.3,<0.4", "ptycho-torch-core>=0.1,<0.2"],
    }
    for dist, import_name in IMPORT_NAMES.items():
        source = tmp_path / "packages" / dist / "src" / import_name
        source.mkdir(parents=True)
        for name in ("__init__.py", "py.typed"):
            (source / name).touch()
        (source / "run.py").write_text("def main(): ...\n")
        for name in ("changelog.d", "tests"):
            (source.parents[1] / name).mkdir()
        for name in ("README.md", "CHANGELOG.md"):
            (source.parents[1] / name).touch()
        (source.parents[1] / "LICENSE").write_text("BSD\n")
        version = "0.3.1" if dist == "ptycho-config" else "0.1.0"
        (source.parents[1] / "pyproject.toml").write_text(
            f'[project]\nname = "{dist}"\nversion = "{version}"\ndependencies = {requires[dist]}\n'
            f'[project.scripts]\nrun = "{import_name}.run:main"\n'
        )
    return tmp_path


CHECKS = [getattr(boundary_packaging, name) for name in boundary_packaging.__all__]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_sound_project_passes(check, project: Path) -> None:
    assert check(project) == []


def test_root_with_a_project_table(project: Path) -> None:
    (project / "pyproject.toml").write_text('[project]\nname = "x"\n')
    [problem] = boundary_packaging.root_is_no_package(project)
    assert "[project]" in problem


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("ptycho-config>=0.3,<0.4", "ptycho-config>=0.3", "expected 'ptycho-config>=0.3,<0.4'"),
        ("ptycho-config>=0.3,<0.4", "ptycho-config>=0.2,<0.3", "expected 'ptycho-config>=0.3,<0.4'"),
        ("ptycho-config>=0.3,<0.4", "ptycho-config @ file:../ptycho-config", "pinned to an address"),
        ('version = "0.1.0"', 'dynamic = ["version"]', "expected a static X.Y.Z"),
    ],
)
def test_sibling_ranges(project: Path, before: str, after: str, words: str) -> None:
    path = project / "packages" / "ptycho-torch-core" / "pyproject.toml"
    path.write_text(path.read_text().replace(before, after))
    assert any(words in problem for problem in boundary_packaging.sibling_ranges(project))


def test_layout(project: Path) -> None:
    config = project / "packages" / "ptycho-config"
    (config / "src" / "ptycho").mkdir()
    (config / "README.md").unlink()
    (config / "LICENSE").write_text("MIT\n")
    (project / "packages" / "ptycho").mkdir()
    problems = "\n".join(boundary_packaging.layout(project))
    for words in (
        "README.md: missing",
        "only ptycho_config may live here",
        "differs from the LICENSE",
        "not one of",
    ):
        assert words in problems


def test_command_without_a_function(project: Path) -> None:
    (project / "packages" / "ptycho-torch-cli" / "src" / "ptycho_torch_cli" / "run.py").write_text("")
    [problem] = boundary_packaging.command_targets(project)
    assert "ptycho_torch_cli.run:main, which does not exist" in problem


@pytest.mark.parametrize(
    ("row", "name"),
    [("| `fast` | no | x |", "fast"), ("", "fast"), ("| `fast` | yes | x |\n| `gone` | yes | x |", "gone")],
)
def test_session_table(project: Path, row: str, name: str) -> None:
    source = (
        "import nox\n@nox.session\n@each\ndef fast(): ...\n@nox.session(default=False)\ndef slow(): ...\n"
    )
    (project / "noxfile.py").write_text(source)
    page = project / "CONTRIBUTING.md"
    page.write_text("| `fast(<package>)` | yes | x |\n| `slow` | no | x |\n")
    assert boundary_packaging.session_table(project) == []
    page.write_text(f"{row}\n| `slow` | no | x |\n")
    [problem] = boundary_packaging.session_table(project)
    assert f"session {name} " in problem


def test_changelog_fragments(project: Path) -> None:
    folder = project / "packages" / "ptycho-config" / "changelog.d"
    (folder / "new-field.added.md").touch()
    assert boundary_packaging.changelog_fragments(project) == []
    (folder / "notes.md").touch()
    [problem] = boundary_packaging.changelog_fragments(project)
    assert "notes.md" in problem
    (folder.parent / "CHANGELOG.md").write_text("# Changelog\n\n## 0.1.0 (unreleased)\n")
    assert len(boundary_packaging.changelog_fragments(project)) == 2
    (folder.parent / "CHANGELOG.md").write_text("## 0.2.0 (unreleased)\n## 0.1.0 (2026-12-01)\n")
    assert len(boundary_packaging.changelog_fragments(project)) == 1
