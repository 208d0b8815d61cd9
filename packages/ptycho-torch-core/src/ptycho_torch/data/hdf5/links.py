"""Links and virtual datasets: where they lead, and in words where they lead to nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ptycho_torch.data.hdf5.kinds import dtype_of
from ptycho_torch.data.scan.header import ArrayHeader
from ptycho_torch.data.scan.stored import datasets_behind, open_hdf5, source_of

__all__ = ["broken_link", "headers_and_links", "linked_files", "missing_parts"]

_NAMED = 3
_DEEPEST = 24
_MOST_FILES = 10_000


def broken_link(file: h5py.File, name: str) -> str | None:
    """What a link on the way to ``name`` wants and does not find; None when no link is broken."""
    group: Any = file
    parts = name.strip("/").split("/")
    for number, part in enumerate(parts):
        if not isinstance(group, h5py.Group):
            return None
        link = group.get(part, getlink=True)
        if link is None:
            return None
        try:
            group = group[part]
        except (KeyError, OSError):
            return _said(file, link, "/".join(parts[: number + 1]))
    return None


def _said(file: h5py.File, link: Any, name: str) -> str:
    here = Path(file.filename)
    if isinstance(link, h5py.ExternalLink):
        if source_of(here, link.filename) is None:
            wanted = here.resolve().parent / link.filename
            return f"{name}: a link into {link.filename}, which is not there; HDF5 looks for {wanted}"
        return f"{name}: a link to {link.path} in {link.filename}, which that file does not hold"
    if isinstance(link, h5py.SoftLink):
        return f"{name}: a link to {link.path}, which this file does not hold"
    return f"{name}: cannot be opened; copy or write the file again"


def missing_parts(data: h5py.Dataset) -> str | None:
    """What of a virtual dataset is not there, where HDF5 would hand out zeros; None when all is."""
    absent: dict[str, str] = {}
    seen: dict[tuple[Path, str], tuple[int, ...] | None] = {}
    for file, named, part in datasets_behind(data):
        if "%b" in named or "%b" in part.dset_name:
            continue  # one file per block, as many as there are
        if file is None:
            absent.setdefault(named, "which is not there")
            continue
        key = (file, part.dset_name)
        if key not in seen:
            seen[key] = _shape(file, part.dset_name)
        shape = seen[key]
        if shape is None:
            absent.setdefault(named, f"which does not hold {part.dset_name}")
        elif any(s < n for s, n in zip(shape, _reach(part), strict=False)):
            absent.setdefault(named, f"where {part.dset_name} has only {shape[0]} frames")
    if not absent:
        return None
    listed = "; ".join(f"{name}, {why}" for name, why in list(absent.items())[:_NAMED])
    more = f" and {len(absent) - _NAMED} more files" if len(absent) > _NAMED else ""
    folder = Path(data.file.filename).resolve().parent
    wanted = folder / next(iter(absent))
    return f"a virtual dataset over {listed}{more}; HDF5 looks for {wanted}"


def _reach(part: Any) -> tuple[int, ...]:
    """Sizes that a mapping needs of its source."""
    try:
        _, last = part.src_space.get_select_bounds()
    except (RuntimeError, ValueError):  # all of it, or without end
        return ()
    return tuple(int(index) + 1 for index in last)


def _shape(path: Path, name: str) -> tuple[int, ...] | None:
    try:
        with open_hdf5(path) as source:
            item = source.get(name)
            return tuple(item.shape) if isinstance(item, h5py.Dataset) else None
    except (OSError, KeyError):
        return None


def headers_and_links(file: h5py.File) -> tuple[dict[str, ArrayHeader], dict[str, str]]:
    """Datasets of a file by name, and links that lead out of it or to nothing, name to what they lead to."""
    headers: dict[str, ArrayHeader] = {}
    links: dict[str, str] = {}
    for name, link, item in _walk(file, "", set()):
        if isinstance(item, h5py.Dataset):
            dtype = dtype_of(item)
            headers[name] = ArrayHeader(tuple(item.shape or ()), np.dtype(object) if dtype is None else dtype)
        if isinstance(link, h5py.ExternalLink):
            links[name] = f"{link.filename}:{link.path}"
        elif item is None and isinstance(link, h5py.SoftLink):
            links[name] = link.path
    return headers, links


def linked_files(path: Path) -> tuple[Path, ...]:
    """Files that links and virtual datasets of an HDF5 file lead to, and those that these lead to."""
    found: dict[Path, None] = {}
    ahead = [path]
    while ahead and len(found) < _MOST_FILES:
        for file in _led_to(ahead.pop()):
            if file not in found:
                found[file] = None
                ahead.append(file)
    return tuple(found)


def _led_to(path: Path) -> list[Path]:
    found: list[Path | None] = []
    try:
        if not h5py.is_hdf5(path):
            return []
        with open_hdf5(path) as file:
            for _, link, item in _walk(file, "", set()):
                if isinstance(link, h5py.ExternalLink):
                    found.append(source_of(path, link.filename))
                elif isinstance(item, h5py.Dataset):
                    found += [behind for behind, _, _ in datasets_behind(item)]
    except (OSError, RuntimeError, ValueError):
        # A damaged file is refused by whoever reads it.
        return []
    return [file for file in found if file is not None and file != path]


def _walk(
    group: h5py.Group, prefix: str, visited: set[Any], depth: int = 0
) -> Iterator[tuple[str, Any, Any]]:
    """Name, link and item of everything below a group; soft links to groups are not followed."""
    try:
        names = list(group)
    except RuntimeError:
        return
    for key in names:
        # A name that is no UTF-8, as in a damaged file, comes as bytes, which links are not looked up by.
        is_text = isinstance(key, str)
        text = key if is_text else key.decode(errors="replace")
        link = group.get(key, getlink=True) if is_text else None
        try:
            item = group[key]
        except (KeyError, OSError, RuntimeError):
            item = None
        name = f"{prefix}{text}"
        yield name, link, item
        if isinstance(item, h5py.Group) and isinstance(link, h5py.HardLink) and depth < _DEEPEST:
            address = h5py.h5o.get_info(item.id).addr
            if address not in visited:
                visited.add(address)
                yield from _walk(item, f"{name}/", visited, depth + 1)
