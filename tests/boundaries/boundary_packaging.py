"""What the project files must agree on."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

from boundary_tree import IMPORT_NAMES

__all__ = [
    "changelog_fragments",
    "command_targets",
    "layout",
    "root_is_no_package",
    "session_table",
    "sibling_ranges",
]

_FIRST = "## 0.1.0 (unreleased)"
KINDS = ("added", "changed", "deprecated", "removed", "fixed", "security")
FRAGMENT = re.compile(rf"[a-z0-9]+(?:-[a-z0-9]+)*\.(?:{'|'.join(KINDS)})\.md")


def root_is_no_package(root: Path) -> list[str]:
    """The root holds settings of tools and nothing that could be installed."""
    tables = sorted(set(_toml(root / "pyproject.toml")) - {"tool"})
    found = [
        f"{root / 'pyproject.toml'}: table [{name}]; the root holds tool settings only" for name in tables
    ]
    return found + [
        f"{root / name}: the root is not a package" for name in ("setup.py", "src") if (root / name).exists()
    ]


def layout(root: Path) -> list[str]:
    """Every package has its own files, one import package, and the name that belongs to it."""
    found = []
    for dist, import_name in IMPORT_NAMES.items():
        folder = root / "packages" / dist
        needed = ("pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE", "tests",
                  f"src/{import_name}/__init__.py", f"src/{import_name}/py.typed")  # fmt: skip
        found += [f"{folder / name}: missing" for name in needed if not (folder / name).exists()]
        tops = sorted(path.name for path in folder.glob("src/*") if path.name != "__pycache__")
        found += [
            f"{folder / 'src' / top}: only {import_name} may live here" for top in tops if top != import_name
        ]
        licence = folder / "LICENSE"
        if licence.exists() and licence.read_text(encoding="utf-8") != (root / "LICENSE").read_text(
            encoding="utf-8"
        ):
            found.append(f"{licence}: differs from the LICENSE of the repository")
    strangers = sorted(path.name for path in (root / "packages").iterdir() if path.name not in IMPORT_NAMES)
    return found + [f"{root / 'packages' / name}: not one of {', '.join(IMPORT_NAMES)}" for name in strangers]


def sibling_ranges(root: Path) -> list[str]:
    """A package accepts one minor version of a sibling, the one that lies beside it: `>=X.Y,<X.(Y+1)`."""
    projects = {dist: _project(root, dist) for dist in IMPORT_NAMES}
    found = []
    for dist, project in projects.items():
        where = root / "packages" / dist / "pyproject.toml"
        version = project.get("version", "")
        if not re.fullmatch(r"\d+\.\d+\.\d+", version):
            found.append(f"{where}: version {version!r}; expected a static X.Y.Z")
        for requirement in project.get("dependencies", []):
            name, _, bounds = requirement.replace(" ", "").partition(">=")
            if name not in projects:
                continue
            major, minor = projects[name].get("version", "0.0.0").split(".")[:2]
            expected = f"{name}>={major}.{minor},<{major}.{int(minor) + 1}"
            if f"{name}>={bounds}" != expected:
                found.append(f"{where}: requires {requirement!r}; expected {expected!r}")
        if "@" in str(project.get("dependencies", [])):
            found.append(f"{where}: a dependency is pinned to an address; use a version range")
    return found


def command_targets(root: Path) -> list[str]:
    """Every installed command points at a function that exists."""
    found = []
    for dist in IMPORT_NAMES:
        source = root / "packages" / dist / "src"
        for command, target in _project(root, dist).get("scripts", {}).items():
            module, _, function = target.partition(":")
            path = source.joinpath(*module.split(".")).with_suffix(".py")
            names = set()
            if path.exists():
                names = {
                    getattr(node, "name", "") for node in ast.parse(path.read_text(encoding="utf-8")).body
                }
                names |= {
                    alias.asname or alias.name
                    for node in ast.parse(path.read_text(encoding="utf-8")).body
                    if isinstance(node, ast.ImportFrom)
                    for alias in node.names
                }
            if function not in names:
                found.append(f"{dist}: the command {command} points at {target}, which does not exist")
    return found


def changelog_fragments(root: Path) -> list[str]:
    """Fragments say in their name what kind of change they tell about; a first version has none."""
    found = []
    for dist in IMPORT_NAMES:
        page = root / "packages" / dist / "CHANGELOG.md"
        is_first = re.findall("^## .*", page.read_text(encoding="utf-8"), re.MULTILINE) == [_FIRST]
        for path in sorted((root / "packages" / dist / "changelog.d").glob("*")):
            if is_first:
                found.append(f"{path}: the first version is unreleased; write into {page}")
            elif not FRAGMENT.fullmatch(path.name):
                found.append(f"{path}: expected a name such as short-topic.added.md ({', '.join(KINDS)})")
    return found


def session_table(root: Path) -> list[str]:
    """The table of sessions in CONTRIBUTING.md holds every session, and whether it runs unasked."""
    source, page = root / "noxfile.py", root / "CONTRIBUTING.md"
    if not source.exists() or not page.exists():
        return []
    rows = re.findall(r"^\| `(\w+)[^|]*` \| (yes|no) \|", page.read_text(encoding="utf-8"), re.MULTILINE)
    listed, there = dict(rows), dict(_sessions(source))
    return [
        f"{page}: session {name} is listed as {listed.get(name, 'nothing')}, noxfile.py says "
        f"{there.get(name, 'nothing')}"
        for name in sorted({*listed, *there})
        if listed.get(name) != there.get(name)
    ]


def _sessions(source: Path) -> Iterator[tuple[str, str]]:
    """Sessions of a noxfile, and whether they run by default; nox itself is not needed."""
    for node in ast.parse(source.read_text(encoding="utf-8")).body:
        for decorator in node.decorator_list if isinstance(node, ast.FunctionDef) else ():
            words = ast.unparse(decorator)
            if words.startswith("nox.session"):
                yield node.name, "no" if "default=False" in words else "yes"


def _toml(path: Path) -> dict:
    return tomllib.loads(path.read_text(encoding="utf-8"))


def _project(root: Path, dist: str) -> dict:
    path = root / "packages" / dist / "pyproject.toml"
    return _toml(path).get("project", {}) if path.exists() else {}
