"""The repository as the boundary checks see it: packages, modules, text files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["IMPORT_NAMES", "ROOT", "Module", "modules", "python_files", "text_files"]

ROOT = Path(__file__).resolve().parents[2]
IMPORT_NAMES = {
    "ptycho-config": "ptycho_config",
    "ptycho-torch-core": "ptycho_torch",
    "ptycho-torch-cli": "ptycho_torch_cli",
}
IGNORED_FOLDERS = {"build", "dist", "demo_output", "lightning_logs", "_build", "__pycache__", "node_modules"}
TEXT_NAMES = {"LICENSE", "run", ".gitignore"}
TEXT_SUFFIXES = {
    ".cfg",
    ".csv",
    ".ini",
    ".json",
    ".md",
    ".py",
    ".rst",
    ".sh",
    ".toml",
    ".txt",
    ".yaml",
    ".yml",
}


@dataclass(frozen=True)
class Module:
    """One Python file of a package and its dotted name (`ptycho_torch.data` for `data/__init__.py`)."""

    name: str
    path: Path

    @property
    def is_package(self) -> bool:
        return self.path.name == "__init__.py"

    @property
    def is_public(self) -> bool:
        """Whether users may import it: no leading underscore, and not the body of `python -m`."""
        return not any(part.startswith("_") for part in self.name.split("."))


def modules(root: Path = ROOT) -> list[Module]:
    """Return every module below `packages/*/src` of the tree, sorted by name."""
    found = []
    for source in sorted(root.glob("packages/*/src")):
        for path in _walk(source):
            if path.suffix == ".py":
                parts = path.relative_to(source).with_suffix("").parts
                found.append(Module(".".join(parts[:-1] if parts[-1] == "__init__" else parts), path))
    return sorted(found, key=lambda module: module.name)


def python_files(root: Path = ROOT) -> list[Path]:
    """Return every Python file that people wrote in the tree."""
    return [path for path in _walk(root) if path.suffix == ".py"]


def text_files(root: Path = ROOT) -> list[Path]:
    """Return every text file that people wrote in the tree."""
    return [path for path in _walk(root) if path.suffix in TEXT_SUFFIXES or path.name in TEXT_NAMES]


def _walk(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            hidden = path.name.startswith(".") and path.name not in {".ci", ".github"}
            if not hidden and path.name not in IGNORED_FOLDERS and not path.name.endswith(".egg-info"):
                yield from _walk(path)
        else:
            yield path
