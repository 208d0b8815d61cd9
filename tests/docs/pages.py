"""The pages and READMEs: their blocks, the command lines in them, and what makes both small enough to run."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from functools import cache
from pathlib import Path

__all__ = [
    "DOCS",
    "PAGES",
    "ROOT",
    "Line",
    "blocks",
    "pages_with",
    "quoted",
    "shell_lines",
    "smaller",
    "text",
]

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in ("README.md", "CONTRIBUTING.md", "benchmarks/*.md", "docs/*.md", "docs/workflows/*.md")
    for path in ROOT.glob(pattern)
) + sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("packages/*/README.md"))
"""Pages with something to run, by their place in the repository."""

# What makes an example natural to read makes it slow to run.
_SMALLER = (
    (re.compile(r'(overrides=\{[^}]*"nepochs": )\d+'), r"\g<1>1"),
    (re.compile(r"(TrainingConfig\(nepochs=)\d+"), r"\g<1>2"),
    (re.compile(r"grid=\(\d+, \d+\)"), "grid=(6, 6)"),
    (re.compile(r'(simulate_scene\("\w+", )N=64'), r"\1N=32"),
    (re.compile(r'\{"execution": \{"devices": \d+\}\}'), '{"nepochs": 1, "execution": {"devices": 1}}'),
)
_NEEDS = re.compile(r"^# needs (.+)$", re.MULTILINE)
_OURS = r"(?:ptycho-torch|ptycho-train|ptycho-inference|-m ptycho_torch_cli(?:\.\w+)?)"
_SHORT = {"ptycho-train": "train", "ptycho-inference": "infer", "ptycho_torch_cli.train": "train",
          "ptycho_torch_cli.inference": "infer"}  # fmt: skip


@dataclass(frozen=True)
class Line:
    """A line of a shell block.

    Attributes
    ----------
    typed
        The line; continued lines are joined.
    needs
        What the machine of a reader has and that of a test has not, as the block says; None runs.
    """

    typed: str
    needs: str | None

    @property
    def argv(self) -> list[str] | None:
        """Arguments of `ptycho-torch`; None for a line that starts something else only."""
        found = re.search(rf"(?:^|\s)({_OURS})(?:\s+(.*))?$", self.typed)
        if found is None:
            return None
        program, rest = found[1].removeprefix("-m "), found[2] or ""
        words = [word for word in shlex.split(rest, comments=True) if not word.startswith("$")]
        return [_SHORT[program], *words] if program in _SHORT else words


@cache
def text(page: str) -> str:
    """A page as it is written."""
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str, language: str) -> list[str]:
    """Fenced blocks of a language, at whatever indentation, from top to bottom."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^\1```", text(page), re.DOTALL | re.MULTILINE)
    return [re.sub(rf"^{indent}", "", block, flags=re.MULTILINE) for indent, block in found]


def pages_with(language: str) -> list[str]:
    """Pages that have a block of a language."""
    return [page for page in PAGES if blocks(page, language)]


def smaller(source: str) -> str:
    """Python source with fewer epochs, frames and pixels."""
    for pattern, replacement in _SMALLER:
        source = pattern.sub(replacement, source)
    return source


def quoted(page: str) -> list[Line]:
    """Whole command lines that stand in a sentence; the bare name of a command does not run."""
    found = re.findall(r"(?<!`)`(ptycho-torch [a-z]+ [^`]+)`", text(page))
    return [Line(" ".join(line.split()), None) for line in found]


def shell_lines(page: str) -> list[Line]:
    """Lines of the shell blocks that are neither empty nor comments."""
    found = []
    for block in blocks(page, "sh"):
        needs = _NEEDS.search(block)
        for name, first in re.findall(r"^for (\w+) in (\S+)", block, re.MULTILINE):
            block = block.replace(f"${name}", first)
        for line in block.replace("\\\n", " ").splitlines():
            if line.strip() and not line.startswith("#"):
                found.append(Line(" ".join(line.split()), needs[1] if needs else None))
    return found
