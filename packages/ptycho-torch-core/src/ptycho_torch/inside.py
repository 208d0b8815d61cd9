"""Names that come out of files: a checkpoint, a record or a manifest may only name what lies beside it."""

from __future__ import annotations

from pathlib import Path

__all__ = ["OutsideError", "inside", "plain_name"]


class OutsideError(ValueError):
    """A file names something that does not lie where the file may name things; ``name`` is what it says."""

    def __init__(self, name: object) -> None:
        self.name = name
        super().__init__(f"it holds {name!r}, where the plain name of a file belongs")


def plain_name(name: object) -> str:
    """Return a name that a file holds, if it is the name of one entry of a folder.

    Raises
    ------
    OutsideError
        If it is a path, a drive, empty, or no text.

    Examples
    --------
    >>> plain_name("last.ckpt")
    'last.ckpt'
    """
    if not isinstance(name, str) or name in ("", ".", "..") or any(char in name for char in "/\\:\0"):
        raise OutsideError(name)
    return name


def inside(folder: Path, name: object) -> Path:
    """Path of what a file names in a folder.

    Raises
    ------
    OutsideError
        If the name leads out of the folder, or what it names there is a link.
    """
    path = folder / plain_name(name)
    if path.is_symlink():
        raise OutsideError(name)
    return path
