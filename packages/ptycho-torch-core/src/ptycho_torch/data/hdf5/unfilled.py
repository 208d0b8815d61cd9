"""Which values of a dataset were never written: HDF5 hands out a fill value for them, without a word."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from ptycho_torch.data.hdf5.growing import written_rows
from ptycho_torch.data.scan.stored import datasets_behind, open_hdf5

__all__ = ["Filled", "filled_parts"]

Mask = npt.NDArray[np.bool_]

_DEEPEST = 8
_MOST_BLOCKS = 4096


@dataclass(frozen=True, kw_only=True, eq=False)
class Filled:
    """What of a stack of frames holds values.

    Attributes
    ----------
    frames
        (n,) bool: frames in which no pixel lacks a value that the fullest frame has.
    pixels
        (H, W) bool: pixels with a value in the fullest frame.
    """

    frames: Mask
    pixels: Mask

    @property
    def is_whole(self) -> bool:
        """Whether nothing lacks a value."""
        return bool(self.frames.all() and self.pixels.all())


def filled_parts(data: h5py.Dataset, *, last: bool = False) -> Filled | None:
    """What of a dataset of frames was written, or is mapped to what was written; None where all of it is.

    Parameters
    ----------
    data
        ``(n, H, W)`` or ``(rows, columns, H, W)``.
    last
        Whether it is ``(H, W, n)`` instead.
    """
    along = (2,) if last and data.ndim == 3 else tuple(range(data.ndim - 2))
    found = _filled(data, along, {}, _DEEPEST)
    return None if found is None or found.is_whole else found


def _filled(
    data: h5py.Dataset, along: tuple[int, ...], known: dict[tuple[Path, str], Mask | None], depth: int
) -> Filled | None:
    if data.is_virtual:
        return _mapped(data, along, known, depth)
    frames = _stored(data) if along == (0,) else None
    return None if frames is None else Filled(frames=frames, pixels=np.ones(data.shape[1:], dtype=np.bool_))


def _stored(data: h5py.Dataset) -> Mask | None:
    """Frames of a dataset ``(n, H, W)`` that are in the file; None: all of them."""
    n = data.shape[0]
    if data.chunks is None:
        plain = data.id.get_create_plist()
        is_there = plain.get_layout() != h5py.h5d.CONTIGUOUS or plain.get_external_count() > 0
        return None if is_there or data.id.get_offset() is not None else np.zeros(n, dtype=np.bool_)
    pieces = np.prod([-(-side // piece) for side, piece in zip(data.shape, data.chunks, strict=True)])
    if data.id.get_num_chunks() >= pieces:
        return None
    written = np.zeros(n, dtype=np.bool_)
    written[written_rows(data, np.arange(n), is_growing=bool(data.file.swmr_mode))] = True
    return None if written.all() else written


def _mapped(
    data: h5py.Dataset, along: tuple[int, ...], known: dict[tuple[Path, str], Mask | None], depth: int
) -> Filled | None:
    across = tuple(axis for axis in range(data.ndim) if axis not in along)
    boxes: dict[bytes, tuple[Mask, Mask]] = {}
    for file, _, part in datasets_behind(data):
        if "%b" in part.file_name or "%b" in part.dset_name:
            return None  # as many blocks as there are files
        blocks = _selected(part.vspace, data.shape)
        if blocks is None:
            return None
        written = None if file is None or depth == 0 else _written(file, part.dset_name, known, depth - 1)
        for axes in blocks:
            frames, pixels = _outer([axes[a] for a in along]), _outer([axes[a] for a in across])
            if written is not None and len(along) == 1:
                frames = _without_unwritten(frames, written, part)
            _, there = boxes.setdefault(pixels.tobytes(), (pixels, np.zeros(frames.size, dtype=np.bool_)))
            there |= frames.ravel()
    n, shape = int(np.prod([data.shape[a] for a in along])), tuple(data.shape[a] for a in across)
    if not boxes:
        return Filled(frames=np.zeros(n, dtype=np.bool_), pixels=np.zeros(shape, dtype=np.bool_))
    return _fullest([box for box, _ in boxes.values()], np.stack([there for _, there in boxes.values()]))


def _fullest(boxes: list[Mask], there: Mask) -> Filled:
    """Frames that have all pixels of the fullest one, from boxes of pixels and the frames that have them."""
    patterns, which = np.unique(there, axis=1, return_inverse=True)
    nothing = np.zeros_like(boxes[0])
    covers = [
        np.logical_or.reduce([nothing, *(box for box, has in zip(boxes, pattern, strict=True) if has)])
        for pattern in patterns.T
    ]
    full = max(covers, key=np.count_nonzero)
    holds = np.array([bool((cover | ~full).all()) for cover in covers])
    return Filled(frames=holds[which.reshape(-1)], pixels=np.asarray(full))


def _outer(axes: list[Mask]) -> Mask:
    """Boolean array that is true where every axis is."""
    found = axes[0]
    for axis in axes[1:]:
        found = found[..., None] & axis
    return found


def _selected(space: Any, shape: tuple[int, ...]) -> list[list[Mask]] | None:
    """Blocks of a selection, each as one mask along every axis; None where they are too many to follow."""
    kind = space.get_select_type()
    if kind == h5py.h5s.SEL_ALL:
        return [[np.ones(side, dtype=np.bool_) for side in shape]]
    if kind == h5py.h5s.SEL_NONE:
        return []
    if kind != h5py.h5s.SEL_HYPERSLABS:
        return None
    if space.is_regular_hyperslab():
        return [list(_regular(space, shape))]
    if space.get_select_hyper_nblocks() > _MOST_BLOCKS:
        return None
    found = []
    for first, end in space.get_select_hyper_blocklist():
        axes = [np.zeros(side, dtype=np.bool_) for side in shape]
        for axis, start, stop in zip(axes, first, end, strict=True):
            axis[int(start) : int(stop) + 1] = True
        found.append(axes)
    return found


def _regular(space: Any, shape: tuple[int, ...]) -> Iterator[Mask]:
    for side, start, stride, count, block in zip(shape, *space.get_regular_hyperslab(), strict=True):
        steps = range(min(int(count), side))  # a selection without end goes as far as there is something
        axis = np.zeros(side, dtype=np.bool_)
        for step in steps:
            first = int(start) + step * int(stride)
            if first >= side:
                break
            axis[first : first + min(int(block), side)] = True
        yield axis


def _written(file: Path, name: str, known: dict[tuple[Path, str], Mask | None], depth: int) -> Mask | None:
    """Frames of a dataset in another file that hold values; None: all, or it cannot be told."""
    if (file, name) not in known:
        known[file, name] = None
        try:
            with open_hdf5(file) as source:
                data = source[name]
                found = _filled(data, (0,), known, depth) if data.ndim == 3 else None
                known[file, name] = None if found is None else found.frames
        except (OSError, KeyError):  # told where the parts themselves are looked at
            pass
    return known[file, name]


def _without_unwritten(frames: Mask, written: Mask, part: Any) -> Mask:
    """Frames of a mapping without those that its source does not hold."""
    blocks = _selected(part.src_space, (len(written), 1, 1))
    rows = None if blocks is None else np.flatnonzero(np.logical_or.reduce([axes[0] for axes in blocks]))
    places = np.flatnonzero(frames)
    if rows is None or len(rows) != len(places):
        return frames
    left = frames.copy()
    left[places[~written[rows]]] = False
    return left
