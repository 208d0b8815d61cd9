"""Where frames are kept while they come: in memory up to a limit, and in a folder beyond it.

A store takes frames in the order in which they come and gives them out by slot, the number of frames that
came before. What lies in a folder is written by appending alone, so whatever is complete survives a process
that is killed.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ptycho_torch.data.limits import LARGEST_FRAME_PX
from ptycho_torch.data.scan.lazy import Block, FrameStack, Rows
from ptycho_torch.errors import DataError, fault

__all__ = [
    "HEADER_BYTES",
    "FolderStore",
    "FrameStore",
    "MemoryStore",
    "SpillingStore",
    "StoredFrames",
    "header_of",
]

_BLOCK_BYTES = 8 << 20
HEADER_BYTES = 256
"""Bytes of the header of a ``.npy`` file that grows; room for any number of frames."""


class FrameStore(Protocol):
    """Frames by slot."""

    def append(self, frame: Block) -> int:
        """Keep a frame ``(N, N)`` and return its slot."""

    def read(self, slots: Rows) -> Block:
        """Frames ``(k, N, N)`` at ``slots``, in that order."""

    def __len__(self) -> int:
        """Number of frames."""


class MemoryStore:
    """Frames in memory, in blocks.

    Parameters
    ----------
    N
        Edge of the frames; px.
    dtype
        Of the frames.
    """

    def __init__(self, N: int, dtype: np.dtype[Any]) -> None:
        self.N, self.dtype = N, dtype
        self.per_block = max(1, _BLOCK_BYTES // (N * N * dtype.itemsize))
        self._blocks: list[Block] = []
        self._count = 0

    def append(self, frame: Block) -> int:
        """Keep a frame ``(N, N)`` and return its slot."""
        block, row = divmod(self._count, self.per_block)
        if row == 0:
            self._blocks.append(np.empty((self.per_block, self.N, self.N), dtype=self.dtype))
        self._blocks[block][row] = frame
        self._count += 1
        return self._count - 1

    def read(self, slots: Rows) -> Block:
        """Frames ``(k, N, N)`` at ``slots``."""
        result = np.empty((len(slots), self.N, self.N), dtype=self.dtype)
        for row, slot in enumerate(slots.tolist()):
            block, inside = divmod(slot, self.per_block)
            result[row] = self._blocks[block][inside]
        return result

    def __len__(self) -> int:
        return self._count


class FolderStore:
    """Frames in a ``.npy`` file that grows.

    Each frame is read from the file when it is asked for, so that memory stays that of the frames in use;
    the system keeps in its own cache what fits there.

    Parameters
    ----------
    path
        The file. Frames that it holds already are the first ones here; a part of a frame at its end, which a
        killed process has left, is written over.
    N, dtype
        As for `MemoryStore`.

    Raises
    ------
    DataError
        The file holds frames of another size or dtype.
    OSError
        It cannot be written.
    """

    def __init__(self, path: Path, N: int, dtype: np.dtype[Any]) -> None:
        self.path, self.N, self.dtype = path, N, dtype
        self.bytes = N * N * dtype.itemsize
        self._file: int | None = None
        self._count = 0
        self._shown = -1
        if path.exists() and path.stat().st_size:
            shape, stored = header_of(path)
            if shape != (N, N) or stored != dtype:
                said = f"frames of {shape} {stored}, expected {(N, N)} {dtype}; name another folder"
                raise DataError(fault(path.name, said), path)
            self._count = (path.stat().st_size - HEADER_BYTES) // self.bytes
        self.flush()

    def _descriptor(self) -> int:
        if self._file is None:
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        return self._file

    def append(self, frame: Block) -> int:
        """Write a frame ``(N, N)`` behind the others and return its slot."""
        data = np.ascontiguousarray(frame, dtype=self.dtype).tobytes()
        _write_all(self._descriptor(), data, HEADER_BYTES + self._count * self.bytes)
        self._count += 1
        return self._count - 1

    def read(self, slots: Rows) -> Block:
        """Frames ``(k, N, N)`` at ``slots``, consecutive ones in one go."""
        result = np.empty((len(slots), self.N, self.N), dtype=self.dtype)
        ends = [*(np.flatnonzero(np.diff(slots) != 1) + 1).tolist(), len(slots)]
        start = 0
        for stop in ends:
            count = (stop - start) * self.bytes
            where = HEADER_BYTES + int(slots[start]) * self.bytes
            data = os.pread(self._descriptor(), count, where)
            if len(data) != count:
                said = f"{len(data)} of {count} bytes at {where} could be read; the file was cut"
                raise DataError(fault(self.path.name, said), self.path)
            result[start:stop] = np.frombuffer(data, dtype=self.dtype).reshape(-1, self.N, self.N)
            start = stop
        return result

    def flush(self) -> None:
        """Let the header of the file say how many frames there are."""
        if self._shown != self._count:
            _write_all(self._descriptor(), _header(self._count, self.N, self.dtype), 0)
            self._shown = self._count

    def close(self) -> None:
        """Release the file, its header up to date; the next read opens it again."""
        self.flush()
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": None}

    def __len__(self) -> int:
        return self._count


class SpillingStore:
    """Frames in memory as long as they fit there, in a file from then on.

    Parameters
    ----------
    path
        File for the frames that do not fit; made when the first one comes.
    limit_bytes
        How much the frames in memory may take.
    N, dtype
        As for `MemoryStore`.
    """

    def __init__(self, path: Path, limit_bytes: int, N: int, dtype: np.dtype[Any]) -> None:
        self.path = path
        self.first = MemoryStore(N, dtype)
        self.rest: FolderStore | None = None
        self.room = limit_bytes // (N * N * dtype.itemsize)

    def append(self, frame: Block) -> int:
        """Keep a frame ``(N, N)`` and return its slot."""
        if len(self.first) < self.room:
            return self.first.append(frame)
        if self.rest is None:
            self.rest = FolderStore(self.path, self.first.N, self.first.dtype)
        return len(self.first) + self.rest.append(frame)

    def read(self, slots: Rows) -> Block:
        """Frames ``(k, N, N)`` at ``slots``."""
        here = slots < len(self.first)
        if here.all() or self.rest is None:
            return self.first.read(slots)
        result = np.empty((len(slots), self.first.N, self.first.N), dtype=self.first.dtype)
        result[here] = self.first.read(slots[here])
        result[~here] = self.rest.read(slots[~here] - len(self.first))
        return result

    def __len__(self) -> int:
        return len(self.first) + (0 if self.rest is None else len(self.rest))


class StoredFrames(FrameStack):
    """Frames of a store as those of a scan.

    Parameters
    ----------
    store
        Where they are.
    slots
        int64, ``(n,)``: which, in which order.
    N, dtype
        Of the frames.
    """

    def __init__(self, store: FrameStore, slots: Rows, N: int, dtype: np.dtype[Any]) -> None:
        super().__init__()
        self.store, self.slots, self.dtype = store, slots, dtype
        self.shape = (len(slots), N, N)
        self._cut = slice(None)

    def __getitem__(self, index: Any) -> Block:
        wanted = self.slots[index]
        block = self.store.read(np.ravel(wanted))[:, self._cut, self._cut]
        return block.reshape((*np.shape(wanted), *self.shape[1:]))

    def take(self, indices: npt.ArrayLike) -> StoredFrames:
        """Stack of the frames at ``indices``; nothing is read."""
        other = StoredFrames(self.store, self.slots[np.asarray(indices)], self.shape[1], self.dtype)
        other._cut = self._cut
        return other

    def followed_by(self, others: StoredFrames) -> StoredFrames:
        """Stack of these frames and others of the same store; nothing is read."""
        return StoredFrames(self.store, np.concatenate([self.slots, others.slots]), self.shape[1], self.dtype)

    def crop(self, N: int) -> StoredFrames:
        """Stack of the central N x N pixels."""
        other = StoredFrames(self.store, self.slots, N, self.dtype)
        first = (self._cut.start or 0) + self.shape[1] // 2 - N // 2
        other._cut = slice(first, first + N)
        return other


def _write_all(file: int, data: bytes, where: int) -> None:
    """Write at a place of a file; a disk that is full is told by the system."""
    rest = memoryview(data)
    while rest:
        written = os.pwrite(file, rest, where)
        rest, where = rest[written:], where + written


def _header(count: int, N: int, dtype: np.dtype[Any]) -> bytes:
    """Header of a ``.npy`` file, version 1.0, of always the same length."""
    text = repr({"descr": dtype.str, "fortran_order": False, "shape": (count, N, N)})
    start = b"\x93NUMPY\x01\x00" + (HEADER_BYTES - 10).to_bytes(2, "little")
    return start + text.ljust(HEADER_BYTES - 11).encode("ascii") + b"\n"


def header_of(path: Path) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape of a frame, and the dtype, of a file of this module."""
    try:
        with path.open("rb") as stream:
            if np.lib.format.read_magic(stream) != (1, 0):
                raise ValueError("another version of .npy")
            shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
            of_run = stream.tell() == HEADER_BYTES and len(shape) == 3 and dtype.kind in "iuf"
            if not of_run or shape[1] != shape[2] or not 0 < shape[1] <= LARGEST_FRAME_PX:
                raise ValueError("it was not written by a run")
    except ValueError as error:
        said = f"no file of frames of a run ({error}); name another folder"
        raise DataError(fault(path.name, said), path) from error
    return tuple(shape[1:]), dtype
