"""Compilation of networks with :func:`torch.compile`."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

__all__ = ["BACKEND", "compiled", "compiler_failure", "compiler_warnings"]

BACKEND: str | Callable[..., Any] = "inductor"
"""What turns a traced network into code."""


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """The compiled form of a function, made when it is first called."""
    return torch.compile(function, backend=BACKEND)


@contextmanager
def compiler_warnings() -> Iterator[None]:
    """Silence the compiler where it says that it leaves complex operations as they are."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Torchinductor does not support code generation for comp")
        yield


def compiler_failure(device: str) -> str | None:
    """Why a small function cannot be compiled on a device; ``None`` if it can.

    Compiling needs a C++ compiler for the CPU and Triton for CUDA, which a machine may lack. Only
    trying tells.
    """
    try:
        compiled(lambda x: torch.relu(x) + 1)(torch.ones(2, device=device))
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        # The first line names the backend, the second what went wrong in it.
        return " ".join(lines[:2]) or type(error).__name__
    return None
