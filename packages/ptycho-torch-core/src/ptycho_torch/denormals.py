"""Numbers too small for the normal format of the processor."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["flushed_denormals", "flushes_denormals"]


def flushes_denormals() -> bool:
    """Whether this thread takes denormal numbers for zero."""
    smallest = torch.tensor([1e-310], dtype=torch.float64)
    return bool((smallest * 0.5 == 0).all())


@contextmanager
def flushed_denormals() -> Iterator[None]:
    """Take denormal numbers for zero, and put the caller's choice back at the end.

    They appear in the dark corners of diffraction patterns and slow every transform that meets them.
    """
    already = flushes_denormals()
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(already)
