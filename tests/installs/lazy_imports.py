"""Which modules an import or a command pulls in, seen from a fresh interpreter.

Runs with the standard library alone: the environments it looks at hold nothing else.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

__all__ = ["CASES", "Case", "loaded_modules", "problems"]

HEAVY = ("torch", "numpy", "scipy", "lightning", "pytorch_lightning", "matplotlib", "skimage", "tensorboard")
MARK = "modules loaded: "
REPORT = """
import json, sys
print({mark!r} + json.dumps(sorted({{name.split(".")[0] for name in sys.modules}})))
"""
COMMAND = """
from ptycho_torch_cli.__main__ import main
try:
    code = main({arguments!r})
except SystemExit as stop:
    code = stop.code
if code not in (0, None):
    raise SystemExit(f"ended with exit code {{code}}")
"""


@dataclass(frozen=True)
class Case:
    """Something a user does, and what must not be loaded by it.

    Attributes
    ----------
    name : str
        What the user types.
    package : str
        Distribution that the case belongs to.
    statement : str
        Python source that does the same.
    forbidden : tuple of str
        Top-level modules that stay out.
    """

    name: str
    package: str
    statement: str
    forbidden: tuple[str, ...] = HEAVY


def _import(module: str, package: str, *forbidden: str) -> Case:
    return Case(f"import {module}", package, f"import {module}", forbidden or HEAVY)


def _command(*arguments: str) -> Case:
    name = " ".join(("ptycho-torch", *arguments))
    return Case(name, "ptycho-torch-cli", COMMAND.format(arguments=list(arguments)))


SUBCOMMANDS = (
    "train",
    "infer",
    "refine",
    "tune",
    "live",
    "simulate",
    "evaluate",
    "replay",
    "convert",
    "inspect",
    "config",
)
CASES = (
    _import("ptycho_config", "ptycho-config", *HEAVY, "yaml"),
    _import("ptycho_torch_cli", "ptycho-torch-cli"),
    _import("ptycho_torch_cli.parsers", "ptycho-torch-cli"),
    _command("--help"),
    _command("--version"),
    _command("config", "show"),
    *(_command(subcommand, "--help") for subcommand in SUBCOMMANDS),
    _import("ptycho_torch", "ptycho-torch-core", "lightning", "pytorch_lightning", "matplotlib"),
    _import("ptycho_torch.data.format_registry", "ptycho-torch-core", *HEAVY, "h5py"),
    _import("ptycho_torch.data.formats.npz", "ptycho-torch-core", "torch", "lightning", "matplotlib"),
    _import("ptycho_torch.metrics", "ptycho-torch-core", "torch", "lightning", "matplotlib"),
    _import("ptycho_torch.physics", "ptycho-torch-core", "lightning", "matplotlib"),
    _import("ptycho_torch.models", "ptycho-torch-core", "lightning", "matplotlib"),
)


def loaded_modules(statement: str, *, search_first: Path | None = None) -> set[str]:
    """Return the top-level modules that are loaded once `statement` has run in a fresh interpreter.

    Parameters
    ----------
    statement : str
        Python source.
    search_first : Path, optional
        Folder that is searched for modules before everything else.

    Raises
    ------
    RuntimeError
        If the statement fails; the message holds what it wrote.
    """
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    if search_first is not None:
        environment["PYTHONPATH"] = str(search_first)
    report = (
        f"\nimport json, sys\nprint({MARK!r} + json.dumps(sorted({{n.split('.')[0] for n in sys.modules}})))"
    )
    run = subprocess.run(
        [sys.executable, "-c", statement + report],
        env=environment, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    last = run.stdout.rstrip().rpartition("\n")[2]
    if run.returncode != 0 or not last.startswith(MARK):
        raise RuntimeError(f"exit code {run.returncode}: {run.stderr.strip() or run.stdout.strip()}")
    return set(json.loads(last.removeprefix(MARK)))


def problems(case: Case, *, search_first: Path | None = None) -> list[str]:
    """Return one line for every forbidden module that the case loads; none when all is well."""
    try:
        loaded = loaded_modules(case.statement, search_first=search_first)
    except RuntimeError as error:
        return [f"`{case.name}` failed: {error}"]
    return [
        f"`{case.name}` loads {name}; import it where it is used" for name in case.forbidden if name in loaded
    ]
