"""Paths that name a part of a file: ``scan.cxi:/entry_2``."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

__all__ = ["inside_of"]


def inside_of(path: str | PathLike[str]) -> tuple[Path, str]:
    """File and what is meant inside of it, of a path such as ``scan.cxi:/entry_2``.

    A file of exactly that name comes first. Without an inside, or without such a file, the path itself is
    given back.
    """
    whole = Path(path)
    file, mark, inside = str(whole).rpartition(":/")
    if not mark or not file or not inside or whole.exists() or not Path(file).is_file():
        return whole, ""
    return Path(file), inside.strip("/")
