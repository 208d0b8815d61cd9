"""Modules of the reference that were programs, or that nothing takes the place of: what to use, in words."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib.util import find_spec
from typing import Any

__all__ = ["refusing", "require_command_line"]


def refusing(module: str, names: Iterable[str], instead: str) -> Callable[[str], Any]:
    """The ``__getattr__`` of a module whose names are not given here.

    Parameters
    ----------
    module
        Its name.
    names
        Names that programs import from it. They raise an `ImportError`; any other name is just not there.
    instead
        What does their work.
    """

    def get(name: str) -> Any:
        if name in names:
            raise ImportError(
                f"{module}.{name} is a name of PtychoPINN that is not given here; use {instead}"
            )
        raise AttributeError(f"module {module!r} has no attribute {name!r}")

    return get


def require_command_line(command: str) -> None:
    """End the program with a sentence where the command line is not installed.

    Parameters
    ----------
    command
        What a user types instead, such as ``ptycho-torch train``.
    """
    if find_spec("ptycho_torch_cli") is None:
        raise SystemExit(
            f"this program is the command `{command}` of the package ptycho-torch-cli, which is not "
            "installed; install it beside ptycho-torch-core"
        )
