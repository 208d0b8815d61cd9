"""What a dataset holds and what it would take to read it, seen from its header."""

from __future__ import annotations

import math
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from ptycho_torch.data.limits import LARGEST_FRAME_PX, largest_piece_bytes, too_large
from ptycho_torch.errors import Fault

__all__ = ["as_numbers", "dtype_of", "text_of", "why_no_frames", "why_no_numbers", "why_too_large"]

_MOST_FRAMES = 20_000_000
_BEST_PACKING = 5000
_SMALL_BYTES = 1 << 26
_COMPLEX = (("real", "imag"), ("re", "im"), ("r", "i"))
_COLUMNS = (("x", "y"), ("x", "y", "z"))


def dtype_of(data: h5py.Dataset) -> np.dtype[Any] | None:
    """Type of the values, None where NumPy has none for it."""
    try:
        return data.dtype
    except (TypeError, ValueError):
        return None


def why_no_numbers(data: h5py.Dataset) -> str | None:
    """What a dataset holds instead of numbers, None when it holds numbers."""
    dtype = dtype_of(data)
    if dtype is None:
        return "values of a type that NumPy does not know"
    if data.shape is None:
        return "nothing"
    named = {
        "text": h5py.check_string_dtype(dtype),
        "references": h5py.check_ref_dtype(dtype),
        "lists of various lengths": h5py.check_vlen_dtype(dtype),
    }
    for kind, found in named.items():
        if found is not None:
            return kind
    if dtype.kind in "biufc" or _parts(dtype) in (*_COMPLEX, *_COLUMNS):
        return None
    return f"values of several parts ({dtype})" if dtype.kind == "V" else f"values of type {dtype}"


def _parts(dtype: np.dtype[Any]) -> tuple[str, ...]:
    return tuple(name.lower() for name in dtype.names or ())


def as_numbers(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Complex numbers from pairs of parts, columns from named coordinates; other values as they are."""
    fields, parts = tuple(values.dtype.names or ()), _parts(values.dtype)
    if parts in _COMPLEX:
        return np.asarray(values[fields[0]] + 1j * values[fields[1]])
    return np.stack([values[name] for name in fields], axis=-1) if parts in _COLUMNS else values


def why_too_large(data: h5py.Dataset, shape: tuple[int, ...], *, grows: bool = False) -> Fault | None:
    """What to say of a part of a dataset, of this shape, that is not to be loaded; None when it can be.

    Parameters
    ----------
    data
        The dataset.
    shape
        Of the part.
    grows
        Whether it may be written still, so that it has room for more than is there.
    """
    said = too_large(math.prod(shape) * data.dtype.itemsize) or _packed_too_large(data)
    return said if grows else said or _hardly_written(data)


def _hardly_written(data: h5py.Dataset) -> Fault | None:
    """What to say of a large array of which next to nothing is stored; nothing packs numbers that well."""
    if data.is_virtual or data.external:
        return None
    claimed, stored = data.size * data.dtype.itemsize, data.id.get_storage_size()
    if claimed <= max(_SMALL_BYTES, _BEST_PACKING * stored):
        return None
    said = f"claims {claimed} bytes, of which {stored} were written; copy or write the file again"
    return Fault(said, kind="never written")


def _packed_too_large(data: h5py.Dataset) -> Fault | None:
    """What to say of pieces that unpack to more than memory is to be taken for."""
    if data.chunks is None:
        return None
    said = too_large(math.prod(data.chunks) * data.dtype.itemsize, limit=largest_piece_bytes())
    if said is None:
        return None
    return said.reworded(f"is packed in pieces of shape {data.chunks}, each of which {said}")


def why_no_frames(data: h5py.Dataset, *, last: bool = False) -> str | None:
    """What to say of frames that no detector makes, or that are not there; None when they can be.

    Parameters
    ----------
    data
        Numbers of shape ``(n, H, W)``, or of a raster ``(rows, columns, H, W)``.
    last
        Whether the shape is ``(H, W, n)`` instead.
    """
    if data.dtype.names is not None:
        return f"values of several parts ({data.dtype}), expected one number per pixel"
    shape = (data.shape[-1], *data.shape[:-1]) if last else data.shape
    n, (height, width) = math.prod(shape[:-2]), shape[-2:]
    if max(height, width) > LARGEST_FRAME_PX:
        return f"frames of {height} x {width} px, expected at most {LARGEST_FRAME_PX} px; crop or bin them"
    if n > _MOST_FRAMES:
        return f"{n} frames, expected at most {_MOST_FRAMES}; split the scan"
    if not (data.is_virtual or data.external or data.id.get_storage_size()):
        return Fault("no frame was ever written; copy or measure them again", kind="never written")
    said = _packed_too_large(data) or _hardly_written(data)
    return None if said is None else said.reworded(f"the array of shape {data.shape} {said}")


def text_of(item: Any, name: str) -> str:
    """Text of an attribute, several joined with colons; empty when it is absent or no text.

    Parameters
    ----------
    item
        Dataset or group.
    name
        Of the attribute.
    """
    try:
        values = np.asarray(item.attrs[name]).reshape(-1).tolist() if name in item.attrs else []
    except (OSError, TypeError, ValueError):  # of a type that Python has no value for
        return ""
    texts = (v.decode("utf-8", errors="replace") if isinstance(v, bytes) else str(v) for v in values)
    return ":".join(texts)
