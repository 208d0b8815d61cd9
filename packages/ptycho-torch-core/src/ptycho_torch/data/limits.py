"""How large the parts of a scan may be, so that a size is looked at before memory is taken for it.

A file may claim any size; a few bytes are enough to claim terabytes. What no scan has, and what this machine
has no memory for, is refused by its header alone. The setting ``largest_array_gib`` of a job raises the
limits; `larger_arrays` does it for functions that take no settings.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from ptycho_torch.errors import Fault

__all__ = [
    "LARGEST_FRAME_PX",
    "larger_arrays",
    "largest_array_bytes",
    "largest_piece_bytes",
    "memory_bytes",
    "too_large",
]

LARGEST_FRAME_PX = 16384
"""Edge of a frame; px. The largest detectors have a third of it."""

_GIGA = 1 << 30
_LARGEST_ARRAY_BYTES = 4 * _GIGA
_SHARE = 0.25
_UNKNOWN_MEMORY = 8 * _GIGA

_LARGEST_PIECE_BYTES = 1 * _GIGA

_stated: ContextVar[int | None] = ContextVar("largest_array_bytes", default=None)


def memory_bytes() -> int:
    """Memory of this machine; 8 GiB where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return _UNKNOWN_MEMORY


def largest_array_bytes() -> int:
    """Bytes that one array beside the frames may take: 4 GiB, but no more than a quarter of the memory."""
    stated = _stated.get()
    return min(_LARGEST_ARRAY_BYTES, int(_SHARE * memory_bytes())) if stated is None else stated


def largest_piece_bytes() -> int:
    """Bytes that one packed piece of an array may unpack to: 1 GiB, unless something else is stated."""
    return _LARGEST_PIECE_BYTES if _stated.get() is None else largest_array_bytes()


@contextmanager
def larger_arrays(gib: float | None) -> Iterator[None]:
    """Let arrays of a scan take up to so many GiB in this block, in this thread.

    Parameters
    ----------
    gib
        Memory of one array; GiB. None: what holds outside of the block.

    Examples
    --------
    >>> with larger_arrays(64):
    ...     largest_array_bytes() >> 30
    64
    """
    token = _stated.set(_stated.get() if gib is None else int(gib * _GIGA))
    try:
        yield
    finally:
        _stated.reset(token)


def too_large(n_bytes: int, *, limit: int | None = None) -> Fault | None:
    """What to say of an array of so many bytes, None where it may be.

    Parameters
    ----------
    n_bytes
        Bytes in memory.
    limit
        Bytes that it may take; `largest_array_bytes` when left out.
    """
    allowed = largest_array_bytes() if limit is None else limit
    if n_bytes <= allowed:
        return None
    return Fault(
        f"takes {n_bytes / _GIGA:.3g} GiB of memory, expected at most {allowed / _GIGA:.3g} GiB; crop or "
        "repair it. If it is right, raise largest_array_gib (--largest-array-gib)",
        kind="too large",
    )
