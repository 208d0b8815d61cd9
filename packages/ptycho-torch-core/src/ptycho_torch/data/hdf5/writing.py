"""Write HDF5 files on disks that may be full.

The HDF5 library does not survive a write that fails: it goes on to write when the file is closed, fails again
and takes the process with it. So it writes to a file object that says yes to everything; after the first
failure nothing more reaches the disk, and the failure is raised when the library has let go of the file.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from os import PathLike
from typing import IO, Any

import h5py

from ptycho_torch.atomic import atomic_write
from ptycho_torch.control import Progress
from ptycho_torch.data.scan.contract import frame_chunks

__all__ = ["NewFile", "create_frames", "new_file"]

_CHUNK_BYTES = 1 << 16


class _Disk(io.RawIOBase):
    """A file that keeps the first failure instead of raising it."""

    def __init__(self, stream: IO[bytes]) -> None:
        super().__init__()
        self.stream = stream
        self.failure: OSError | None = None
        self._place = 0
        # What could not be written, which the library may want to read again: tables, not frames.
        self._lost: dict[int, bytes] = {}

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {
            os.SEEK_SET: 0,
            os.SEEK_CUR: self._place,
            os.SEEK_END: os.fstat(self.stream.fileno()).st_size,
        }
        self._place = start[whence] + offset
        return self._place

    def tell(self) -> int:
        return self._place

    def write(self, data: Any) -> int:
        block = memoryview(data).cast("B")
        if self.failure is None:
            try:
                self.stream.seek(self._place)
                done = 0
                while done < len(block):
                    # A disk takes what it has room for, and says no to the rest.
                    done += self.stream.write(block[done:])
            except OSError as error:
                self.failure = error
        if self.failure is not None and len(block) < _CHUNK_BYTES:
            self._lost[self._place] = bytes(block)
        self._place += len(block)
        return len(block)

    def readinto(self, buffer: Any) -> int:
        target = memoryview(buffer).cast("B")
        self.stream.seek(self._place)
        found = self._lost.get(self._place) or self.stream.read(len(target))
        found = found[: len(target)]
        target[: len(found)] = found
        self._place += len(found)
        return len(found)

    def truncate(self, size: int | None = None) -> int:
        length = self._place if size is None else size
        if self.failure is None:
            try:
                self.stream.truncate(length)
            except OSError as error:
                self.failure = error
        return length


@dataclass(frozen=True)
class NewFile:
    """An HDF5 file that is being written.

    Attributes
    ----------
    root
        The open file.
    """

    root: h5py.File
    disk: _Disk

    def require_written(self) -> None:
        """Raise what went wrong on the disk so far, if something did.

        Raises
        ------
        OSError
            The disk is full or write-protected.
        """
        if self.disk.failure is not None:
            raise self.disk.failure

    def close(self) -> None:
        """Let the library write what it holds back; raises as `require_written`."""
        self.root.close()
        self.require_written()


@contextmanager
def new_file(path: str | PathLike[str]) -> Iterator[NewFile]:
    """Open an HDF5 file to write; complete or not there at all.

    Parameters
    ----------
    path
        File to create or replace.

    Raises
    ------
    OSError
        The disk is full or write-protected; an older file is as it was.
    """
    with atomic_write(path, buffering=0) as stream:
        disk = _Disk(stream)
        with h5py.File(disk, "w") as root:
            new = NewFile(root, disk)
            yield new
            new.close()


def create_frames(
    new: NewFile,
    name: str,
    frames: Any,
    *,
    compression: str = "lzf",
    progress: Progress | None = None,
) -> h5py.Dataset:
    """Write frames in pieces, packed so that one frame can be read without unpacking many others.

    Parameters
    ----------
    new
        The file.
    name
        Path of the dataset.
    frames
        ``(n, N, N)``, array or stack.
    compression
        ``"lzf"``, fast, or ``"gzip"``, which every HDF5 library reads.
    progress
        Called with frames written and frames in all.

    Raises
    ------
    OSError
        The disk is full or write-protected.
    """
    n, height, width = frames.shape
    together = min(n, max(1, _CHUNK_BYTES // (height * width * frames.dtype.itemsize)))
    data = new.root.create_dataset(
        name,
        shape=(n, height, width),
        dtype=frames.dtype,
        chunks=(together, height, width),
        compression=compression,
        compression_opts=1 if compression == "gzip" else None,
        shuffle=True,
    )
    for part in frame_chunks(frames):
        data[part] = frames[part]
        new.require_written()
        if progress is not None:
            progress(min(part.stop, n), n)
    return data
