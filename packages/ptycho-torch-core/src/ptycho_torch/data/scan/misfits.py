"""Arrays whose sizes cannot be right beside those of the frames, told by their headers alone.

They are refused before memory is taken for them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from ptycho_torch.data.advice import AS_FRAMES, SQUARE_PROBE
from ptycho_torch.data.scan.assemble import FRAME_KEYS
from ptycho_torch.data.scan.checks import probe_size_from_shape
from ptycho_torch.data.scan.header import ArrayHeader
from ptycho_torch.errors import Fault, fault

__all__ = ["MOST_NUMBERS", "misfits", "too_many"]

MOST_NUMBERS = 40_000_000
"""Positions, numbers of frames and the like in one array: of the longest scans there are some millions."""

_LARGEST_TEXT = 1 << 24
_SMALL_BYTES = 1 << 20
_MASKS = ("bad_pixels", "ceiling")
_FEW = (
    *("xcoords", "ycoords", "xcoords_start", "ycoords_start"),
    *("scan_index", "frame_index", "objectGuess_origin"),
)
_TEXTS = ("_metadata", "measurement_domain")


def too_many(size: int) -> Fault | None:
    """What to say of so many numbers of frames or positions; None where there may be so many."""
    if size <= MOST_NUMBERS:
        return None
    said = f"{size} numbers, expected at most {MOST_NUMBERS}; copy or write them again"
    return Fault(said, kind="too large")


def misfits(headers: Mapping[str, ArrayHeader]) -> dict[str, Fault]:
    """What is wrong with the shapes of arrays that are large in vain.

    Parameters
    ----------
    headers
        Shape and dtype of arrays by their names in the data contract.

    Returns
    -------
    dict
        Sentences by name. Small arrays are not among them: their shapes are told with their values.
    """
    shape = next((headers[name].shape for name in FRAME_KEYS if name in headers), ())
    shapes = {name: found.shape for name, found in headers.items()}
    found = {name: too_many(math.prod(shapes[name])) for name in _FEW if name in shapes}
    found |= {name: _too_long(headers[name]) for name in _TEXTS if name in headers}
    if len(shape) == 3:
        # The middle axis is one of a frame, whether frames come first or last.
        size = shape[1]
        found |= {name: _not_like_a_frame(shapes[name], size) for name in _MASKS if name in shapes}
        if "probeGuess" in shapes:
            found["probeGuess"] = _larger_than_frames(shapes["probeGuess"], size)
        if "Y" in shapes and sorted(shapes["Y"]) != sorted(shape):
            found["Y"] = Fault(f"expected one patch per frame, {shape}, got {shapes['Y']}; cut them so")
    return {
        name: fault(name, said)
        for name, said in found.items()
        if said is not None and math.prod(shapes[name]) * headers[name].dtype.itemsize > _SMALL_BYTES
    }


def _not_like_a_frame(shape: tuple[int, ...], size: int) -> Fault | None:
    if shape == (size, size):
        return None
    return Fault(f"expected shape ({size}, {size}) as the frames, got {shape}; {AS_FRAMES}")


def _larger_than_frames(shape: tuple[int, ...], size: int) -> Fault | None:
    edge = probe_size_from_shape(shape)
    if edge is None and math.prod(shape) > MOST_NUMBERS:
        return Fault(SQUARE_PROBE.format(shape=shape))
    if edge is None or edge <= size:
        return None
    return Fault(f"the probe ({edge} px) is larger than the frames ({size} px); crop the probe to the frames")


def _too_long(header: ArrayHeader) -> Fault | None:
    n_bytes = math.prod(header.shape) * header.dtype.itemsize
    if n_bytes <= _LARGEST_TEXT:
        return None
    return Fault(f"a text of {n_bytes} bytes, expected at most {_LARGEST_TEXT}; shorten it", kind="too large")
