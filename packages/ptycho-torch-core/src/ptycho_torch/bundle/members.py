"""Members of a bundle, read from its archive or from the directory it was extracted to, sizes first."""

from __future__ import annotations

import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Protocol

from ptycho_torch.errors import BundleError, Fault

__all__ = ["DAMAGED", "Members", "open_members"]

DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError, ValueError)
"""What zipfile raises on damaged, encrypted or unsupported members."""

_SHOWN = 8
_OF_PTYCHOPINN = "manifest.dill"
_LARGEST_RATIO = 200
_HARMLESS_BYTES = 64 * 2**20


class Members(Protocol):
    """Something that holds named pieces of a bundle."""

    def read(self, name: str, limit: int) -> bytes:
        """Content of a member; a `BundleError` if it is absent, damaged or larger than ``limit`` bytes."""
        ...


@contextmanager
def open_members(path: Path) -> Iterator[Members]:
    """Open a bundle file, or a directory with extracted members.

    Raises
    ------
    BundleError
        If it is neither, or the archive holds names that lead out of it or one name twice.
    """
    if path.is_dir():
        yield _Folder(path)
        return
    if not path.is_file():
        raise BundleError("is neither a file nor a directory; give a bundle", path)
    try:
        archive = zipfile.ZipFile(path)
    except PermissionError:
        raise
    except DAMAGED as error:
        raise BundleError(f"not a complete zip archive ({error}); copy or train it again", path) from error
    with archive:
        _require_safe_names(archive.namelist(), path)
        yield _Archive(path, archive)


def _require_safe_names(names: list[str], path: Path) -> None:
    for name in names:
        plain = name.replace("\\", "/")
        if plain.startswith("/") or ".." in PurePosixPath(plain).parts or plain[1:2] == ":":
            raise BundleError(
                Fault(f"the archive holds {name!r}, a name that leads out of it; do not use it", name), path
            )
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        raise BundleError(
            Fault(f"the archive holds {twice[0]!r} twice; copy or train it again", twice[0]), path
        )


def _missing(name: str, found: list[str], path: Path) -> BundleError:
    listed = ", ".join(found[:_SHOWN]) or "nothing"
    if _OF_PTYCHOPINN in found:
        said = f"a bundle of PtychoPINN (it holds {listed}), whose pickled parts are never read; train again"
        return BundleError(Fault(said, _OF_PTYCHOPINN), path)
    return BundleError(
        Fault(f"no {name} in the archive (found {listed}); this is not a model bundle", name), path
    )


def _too_large(name: str, size: int, limit: int, path: Path) -> BundleError:
    return BundleError(
        Fault(
            f"{name} has {size} bytes, expected at most {limit}; this is not a model bundle",
            name,
            "too large",
        ),
        path,
    )


class _Archive:
    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self.path, self.archive = path, archive

    def read(self, name: str, limit: int) -> bytes:
        try:
            info = self.archive.getinfo(name)
        except KeyError as error:
            raise _missing(name, self.archive.namelist(), self.path) from error
        if info.file_size > limit:
            raise _too_large(name, info.file_size, limit, self.path)
        if info.file_size > max(_HARMLESS_BYTES, _LARGEST_RATIO * info.compress_size):
            raise BundleError(
                Fault(
                    f"{name} claims to unpack {info.compress_size} bytes to {info.file_size}, which no model "
                    "does; do not use this file",
                    name,
                ),
                self.path,
            )
        try:
            return self.archive.read(info)
        except DAMAGED as error:
            raise BundleError(
                Fault(f"{name} is damaged ({error}); copy or train it again", name), self.path
            ) from error


class _Folder:
    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self, name: str, limit: int) -> bytes:
        file = self.path / name
        if not file.is_file():
            raise _missing(name, sorted(entry.name for entry in self.path.iterdir()), self.path)
        size = file.stat().st_size
        if size > limit:
            raise _too_large(name, size, limit, self.path)
        try:
            return file.read_bytes()
        except OSError as error:
            raise BundleError(Fault(f"{name} cannot be read ({error})", name), self.path) from error
