"""Modules of the reference as thin, lazy doors to what does their work here."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

__all__ = ["door"]


def door(module: str, names: Mapping[str, str], instead: str) -> Callable[[str], Any]:
    """The ``__getattr__`` of a deprecated module; its first use warns once, and nothing is loaded before.

    Parameters
    ----------
    module
        Name of the deprecated module.
    names
        What it gives, with the module where each thing lives.
    instead
        What a program should use, for the warning.
    """

    def get(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        if not any(known in vars(sys.modules[module]) for known in names):
            text = f"{module} is for programs written against PtychoPINN and will go; use {instead}"
            warnings.warn(text, DeprecationWarning, stacklevel=2)
        value = getattr(import_module(names[name]), name)
        setattr(sys.modules[module], name, value)
        return value

    return get
