"""HDF5 files that are being written: which datasets hold frames, and how many of these are complete."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from ptycho_torch.data.hdf5.kinds import why_too_large
from ptycho_torch.data.hdf5.units import stated_unit
from ptycho_torch.data.limits import LARGEST_FRAME_PX
from ptycho_torch.data.scan.misfits import too_many
from ptycho_torch.data.scan.stored import missing_filters, open_hdf5

__all__ = ["UNREADABLE", "Block", "blocks_of", "opened_growing", "places_of", "rows_of", "written_rows"]

UNREADABLE = (
    *(OSError, RuntimeError, LookupError, ValueError),
    *(TypeError, AttributeError, ArithmeticError, MemoryError),
)
"""What is raised on a file that is not there yet, is locked, is being written, or holds something odd."""

_BLOCK = re.compile(r"data_\d+")
_GROUP = "entry/data"
_NUMBERED = "image_nr_low"
_TWO, _THREE = 2, 3


@dataclass(frozen=True, kw_only=True)
class Block:
    """A dataset of frames.

    Attributes
    ----------
    name
        Of the dataset.
    first
        Number of its first frame.
    n_rows
        How many frames it has room for.
    """

    name: str
    first: int
    n_rows: int


def opened_growing(path: Path) -> Any:
    """The file, opened to read beside its writer; raises `UNREADABLE` where that cannot be."""
    return open_hdf5(path, rdcc_nbytes=0)


def written_rows(data: Any, rows: npt.NDArray[np.int64], *, is_growing: bool) -> npt.NDArray[np.int64]:
    """Those of some frames of a dataset that are written.

    A writer may make a dataset longer before it fills it, and leave holes: a frame of which a piece is not
    stored is not written. Of pieces of several frames the last one that is stored may still be filled, as
    long as the file is written.

    Parameters
    ----------
    data
        The dataset ``(n, H, W)``.
    rows
        (k,) ascending.
    is_growing
        Whether a writer is at work.
    """
    rows = rows[rows < data.shape[0]]
    if data.chunks is None or data.is_virtual or not len(rows):
        return rows
    together = data.chunks[0]
    corners = [tuple((side - 1) // piece * piece * end for side, piece in _sides(data)) for end in (0, 1)]
    stored = {
        piece: all(_is_stored(data, (piece * together, *corner)) for corner in corners)
        for piece in np.unique(rows // together).tolist()
    }
    if is_growing and together > 1:
        # The next piece is there only when this one is full.
        stored = {
            piece: there and _is_stored(data, ((piece + 1) * together, 0, 0))
            for piece, there in stored.items()
        }
    return rows[np.array([stored[piece] for piece in (rows // together).tolist()], dtype=np.bool_)]


def _sides(data: Any) -> list[tuple[int, int]]:
    return list(zip(data.shape[1:], data.chunks[1:], strict=True))


def _is_stored(data: Any, corner: tuple[int, ...]) -> bool:
    """Whether the piece with this element is in the file."""
    if corner[0] >= data.shape[0]:
        return False
    return data.id.get_chunk_info_by_coord(corner).byte_offset is not None


def blocks_of(file: Any, inside: str) -> list[Block]:
    """Datasets of frames in their order: the one that is named, the blocks of a master file, or the only one.

    Blocks of a master file that are not there yet end the list. Raises ValueError for frames that no detector
    makes.
    """
    item = file.get(inside or "/")
    group = file.get(_GROUP) if not inside else item
    if isinstance(item, h5py.Dataset):
        return [_block(item, inside, 0)] if item.ndim == _THREE else []
    if isinstance(group, h5py.Group):
        names = sorted(name for name in group if _BLOCK.fullmatch(name))
        if names:
            return _of_master(group, names)
    if inside:
        return []
    found: list[str] = []
    file.visititems(lambda name, one: found.append(name) if _is_stack(one) else None)
    return [_block(file[found[0]], found[0], 0)] if len(found) == 1 else []


def _of_master(group: Any, names: list[str]) -> list[Block]:
    found: list[Block] = []
    first = 0
    for name in names:
        try:
            data = group[name]
        except KeyError:
            break  # a link to a file that has not appeared
        if not _is_stack(data):
            break
        # Numbers of a detector count from one.
        stated = data.attrs.get(_NUMBERED)
        first = first if stated is None else int(np.ravel(stated)[0]) - 1
        found.append(_block(data, f"{group.name}/{name}", first))
        first += found[-1].n_rows
    return found


def _is_stack(item: Any) -> bool:
    return isinstance(item, h5py.Dataset) and item.ndim == _THREE and item.dtype.kind in "iuf"


def _block(data: Any, name: str, first: int) -> Block:
    missing_filters(data)
    if max(data.shape[1:]) > LARGEST_FRAME_PX:
        raise ValueError(f"frames of shape {data.shape[1:]}, expected at most {LARGEST_FRAME_PX} px")
    return Block(name=name, first=first, n_rows=int(data.shape[0]))


def rows_of(file: Any, name: str, rows: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
    """Some frames of a dataset, in ascending order."""
    data = file[name]
    _require_size(why_too_large(data, (len(rows), *data.shape[1:]), grows=True))
    if len(rows) and rows[-1] - rows[0] == len(rows) - 1:
        return np.asarray(data[int(rows[0]) : int(rows[-1]) + 1])
    return np.asarray(data[rows.tolist()])


def _too_large(data: Any, *shape: int) -> str | None:
    return why_too_large(data, shape, grows=True)


def _require_size(said: str | None) -> None:
    if said is not None:
        raise ValueError(said)


def places_of(file: Any, inside: str, start: int) -> tuple[npt.NDArray[np.float64], str | None] | None:
    """Positions ``[y, x]`` from row ``start`` on, and their unit if the file states one; None without any.

    A dataset (n, 2) or more has columns x and y; a group has datasets ``x`` and ``y``. While the file is
    being written, a row that is no number yet ends what is complete.
    """
    item = file.get(inside)
    if isinstance(item, h5py.Group):
        x, y = item.get("x"), item.get("y")
        if not (isinstance(x, h5py.Dataset) and isinstance(y, h5py.Dataset)):
            return None
        n_rows = min(int(one.shape[0]) for one in (x, y))
        _require_size(too_many(n_rows) or _too_large(x, n_rows) or _too_large(y, n_rows))
        values = np.stack([np.asarray(one[start:n_rows], dtype=np.float64).reshape(-1) for one in (y, x)], 1)
        unit = stated_unit(x)
    elif isinstance(item, h5py.Dataset) and item.ndim == _TWO and item.shape[1] >= _TWO:
        _require_size(too_many(item.shape[0]) or _too_large(item, item.shape[0], _TWO))
        values = np.asarray(item[start:, :_TWO], dtype=np.float64)[:, ::-1]
        unit = stated_unit(item)
    else:
        return None
    unread = ~np.isfinite(values).all(axis=1)
    if file.swmr_mode and unread.any():
        values = values[: int(np.argmax(unread))]
    return values, unit
