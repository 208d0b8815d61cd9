"""Paths that name a part of a file: ``scan.cxi:/entry_2``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path

__all__ = ["inside_of", "permitted"]


@contextmanager
def permitted(path: Path) -> Iterator[None]:
    """Say in words that a file or directory may not be read.

    Raises
    ------
    PermissionError
        It may not.
    """
    try:
        yield
    except PermissionError as error:
        kind = "directory" if path.is_dir() else "file"
        said = f"no permission to read this {kind}; ask its owner for it, or copy it as one who has it"
        raise PermissionError(f"{path}: {said}") from error


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
