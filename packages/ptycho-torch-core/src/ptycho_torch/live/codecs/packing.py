"""Frames packed as detectors pack them: LZ4, and LZ4 after a shuffle of bits.

A packed frame says how long it was; it is unpacked only if that is the size that its shape asks for, and if
LZ4 can have made it from so few bytes.
"""

from __future__ import annotations

import struct
from typing import Any, Literal
from uuid import uuid4

import h5py
import numpy as np
import numpy.typing as npt

from ptycho_torch.live.codecs.malformed import Malformed

__all__ = ["Algorithm", "Packer", "array_from", "unpacked"]

Algorithm = Literal["none", "lz4", "bslz4"]

_HIGHEST_RATIO = 255
"""A byte of an LZ4 block stands for at most so many."""

_BARE_BLOCK_BYTES = 8192
"""Block of shuffled bits where a message does not say it: the default of bitshuffle."""

_FIVE_ZEROS = b"\x10\x00\x01\x00"
"""Sequence of an LZ4 block that stands for five zero bytes."""


def array_from(data: bytes, shape: tuple[int, int], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Array of a shape from raw bytes, in the byte order of this machine.

    Raises
    ------
    Malformed
        There are more bytes or fewer than the shape asks for.
    """
    if len(data) != shape[0] * shape[1] * dtype.itemsize:
        raise Malformed("an array with another number of bytes than its shape asks for")
    return np.frombuffer(data, dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)


def unpacked(data: bytes, algorithm: str, n_bytes: int, itemsize: int, *, framed: bool = True) -> bytes:
    """Bytes that were packed.

    Parameters
    ----------
    data
        Packed bytes.
    algorithm
        ``"lz4"`` or ``"bslz4"``.
    n_bytes
        How many they must become.
    itemsize
        Bytes of a pixel, by which bits were shuffled.
    framed
        Whether they begin with the header of the HDF5 filter of that name, or with the first block.

    Raises
    ------
    Malformed
        Another algorithm, another number of bytes, or bytes that it has not made.
    """
    if algorithm not in ("lz4", "bslz4"):
        raise Malformed("frames packed in a way that is not known")
    skip = 0
    if not framed:
        data, skip = _framed(data, algorithm, n_bytes)
    if len(data) < 12 or struct.unpack(">Q", data[:8])[0] != n_bytes + skip:
        raise Malformed("packed bytes of another size than their shape asks for")
    if n_bytes > _HIGHEST_RATIO * len(data):
        raise Malformed("packed bytes that cannot become so many")
    try:
        from dectris.compression import decompress
    except ImportError as error:
        # Channels of EPICS come without it, unless they are packed.
        raise Malformed("packed bytes, whose unpacking needs the extra dectris") from error
    try:
        result = decompress(data, algorithm, elem_size=itemsize)
    except (RuntimeError, ValueError, SystemError, MemoryError) as error:
        raise Malformed("packed bytes that are damaged") from error
    if len(result) != n_bytes + skip:
        raise Malformed("packed bytes that are damaged")
    return result[skip:]


def _framed(data: bytes, algorithm: str, n_bytes: int) -> tuple[bytes, int]:
    """Bare blocks with a header of HDF5, and how many bytes too many they become."""
    if algorithm == "bslz4":
        return struct.pack(">QI", n_bytes, _BARE_BLOCK_BYTES) + data, 0
    if len(data) == n_bytes:
        # The filter takes a block that is not shorter than what it stands for as not packed at all.
        block = _FIVE_ZEROS + data
        return struct.pack(">QII", n_bytes + 5, n_bytes + 5, len(block)) + block, 5
    if not 0 < n_bytes < 2**31 or len(data) >= 2**31:
        raise Malformed("packed bytes of a size that no detector sends")
    return struct.pack(">QII", n_bytes, n_bytes, len(data)) + data, 0


class Packer:
    """Packs frames as a detector does, with the filters of the extra ``hdf5plugin``.

    Parameters
    ----------
    algorithm
        ``"none"``: bytes as they are.
    framed
        As for `unpacked`.

    Raises
    ------
    ImportError
        The filters are not installed.
    """

    def __init__(self, algorithm: Algorithm, *, framed: bool = True) -> None:
        self.algorithm, self.framed = algorithm, framed
        self._chunk: h5py.Dataset | None = None
        if algorithm != "none":
            import hdf5plugin

            filters = {"lz4": hdf5plugin.LZ4, "bslz4": hdf5plugin.Bitshuffle}
            self._filter = filters[algorithm]()

    def __call__(self, frame: npt.NDArray[Any]) -> bytes:
        """Bytes of a frame ``(height, width)``; little end first."""
        frame = np.ascontiguousarray(frame, dtype=frame.dtype.newbyteorder("<"))
        if self.algorithm == "none":
            return frame.tobytes()
        chunk = self._chunk_of(frame)
        chunk[...] = frame
        chunk.flush()
        _, data = chunk.id.read_direct_chunk((0, 0))
        if self.framed:
            return bytes(data)
        if self.algorithm == "bslz4":
            return bytes(data[12:])
        block = bytes(data[16:])
        return _literals(block) if len(block) == frame.nbytes else block

    def _chunk_of(self, frame: npt.NDArray[Any]) -> h5py.Dataset:
        """A dataset of one chunk in a file that is only in memory."""
        chunk = self._chunk
        if chunk is None or (chunk.shape, chunk.dtype) != (frame.shape, frame.dtype):
            if chunk is not None:
                chunk.file.close()
            # HDF5 takes two files of one name for the same, even where neither is on a disk.
            file = h5py.File(f"{uuid4().hex}.h5", "w", driver="core", backing_store=False)
            chunk = file.create_dataset(
                "frame", shape=frame.shape, dtype=frame.dtype, chunks=frame.shape, **self._filter
            )
            self._chunk = chunk
        return chunk


def _literals(data: bytes) -> bytes:
    """An LZ4 block of bytes that cannot be packed."""
    more, rest = divmod(len(data) - 15, 255)
    if len(data) < 15:
        return bytes([len(data) << 4]) + data
    return b"\xf0" + b"\xff" * more + bytes([rest]) + data
