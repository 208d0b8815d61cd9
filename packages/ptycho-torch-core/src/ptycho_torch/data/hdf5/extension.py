"""What HDF5 layouts of others have no place for, kept in a group of our own that others pass over.

Metres and back do not give the last digit again, and none of the layouts knows nominal positions, several
scans in one file or free metadata. The group holds these exactly, so that a conversion can be undone. Who
changes the positions in metres wins: the group is then left unread.
"""

from __future__ import annotations

import json
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from ptycho_torch.data.hdf5.files import Contents
from ptycho_torch.data.hdf5.kinds import dtype_of
from ptycho_torch.data.hdf5.product import placeholder_object
from ptycho_torch.data.scan.contract import Scan
from ptycho_torch.data.scan.magnitudes import LARGEST_NUMBER
from ptycho_torch.errors import DataError, fault

__all__ = ["GROUP", "json_of", "read_own", "write_own"]

GROUP = "ptycho_torch"

_OF_SCAN = {
    "positions": "positions",
    "positions_nominal": "positions_nominal",
    "scan_index": "scan_index",
    "frame_index": "frame_index",
    "object_origin": "object_truth_origin",
}
_ARRAYS = (*_OF_SCAN, "file_origin")
_PER_FRAME = ("positions", "positions_nominal", "scan_index", "frame_index")
_SHAPES: dict[str, tuple[tuple[str | int, ...], str]] = {
    "positions": (("n", 2), "iuf"),
    "positions_nominal": (("n", 2), "iuf"),
    "scan_index": (("n",), "iu"),
    "frame_index": (("n",), "iu"),
    "object_origin": ((2,), "iuf"),
    "file_origin": ((2,), "iuf"),
}
_REMEDY = f"repair it, or delete the group {GROUP}, and the rest of the file is read"


def json_of(metadata: Any) -> str:
    """Metadata as JSON.

    Raises
    ------
    DataError
        An entry is not plain data.
    """
    try:
        return json.dumps(dict(metadata))
    except TypeError as error:
        raise DataError(
            fault("metadata", f"cannot be written as JSON ({error}); keep to text, numbers, lists and dicts")
        ) from error


def write_own(parent: h5py.Group, scan: Scan) -> None:
    """Store what ``scan`` holds beyond the layout in the group `GROUP` of ``parent``."""
    group = parent.create_group(GROUP)
    for name, attribute in _OF_SCAN.items():
        group.create_dataset(name, data=getattr(scan, attribute))
    group.create_dataset("file_origin", data=placeholder_object(scan)[1])
    group.create_dataset("metadata", data=json_of(scan.metadata))
    if scan.labels is not None:
        group.create_dataset("labels", data=scan.labels, compression="lzf")
    group.attrs["has_object"] = scan.object_truth is not None
    group.attrs["has_bad_pixels"] = scan.bad_pixels is not None


def read_own(contents: Contents, parent: str = "") -> dict[str, Any] | None:
    """What `write_own` stored, or None when it is absent or incomplete; labels are left in the file.

    Parameters
    ----------
    contents
        The file.
    parent
        Path of the group it was stored in.
    """
    prefix = f"{parent}/{GROUP}" if parent else GROUP
    if any(contents.dataset(f"{prefix}/{name}") is None for name in (*_ARRAYS, "metadata")):
        return None
    before = len(contents.problems)
    result: dict[str, Any] = {name: _checked(contents, f"{prefix}/{name}", name) for name in _ARRAYS}
    result["labels"] = contents.stored(f"{prefix}/labels")
    result["metadata"] = _metadata(contents, f"{prefix}/metadata")
    for name in ("has_object", "has_bad_pixels"):
        result[name] = contents.flag(name, prefix, default=True)
    lengths = {len(result[name]) for name in _PER_FRAME if result[name] is not None}
    if len(lengths) > 1:
        contents.report(fault(prefix, f"{', '.join(_PER_FRAME)} are of different lengths; {_REMEDY}"))
    return result if len(contents.problems) == before else None


def _checked(contents: Contents, path: str, name: str) -> npt.NDArray[Any] | None:
    """One array of the group, None with a problem where it is of another kind or shape."""
    values = contents.array(path, are_few=True)
    if values is None:
        return None
    axes, kinds = _SHAPES[name]
    fits = values.ndim == len(axes) and all(
        axis in ("n", length) for axis, length in zip(axes, values.shape, strict=True)
    )
    if fits and values.dtype.kind in kinds and (np.abs(values.astype(np.float64)) <= LARGEST_NUMBER).all():
        return values
    wanted = "whole numbers" if kinds == "iu" else "finite numbers"
    contents.report(
        fault(
            path,
            f"expected {wanted} of shape ({', '.join(map(str, axes))}), got {values.dtype} of shape "
            f"{values.shape}; {_REMEDY}",
        )
    )
    return None


def _metadata(contents: Contents, path: str) -> dict[str, Any]:
    data = contents.dataset(path)
    dtype = None if data is None else dtype_of(data)
    if data is None or dtype is None or h5py.check_string_dtype(dtype) is None or data.shape != ():
        contents.report(fault(path, f"expected one text; {_REMEDY}"))
        return {}
    try:
        found = json.loads(data.asstr()[()])
    except (ValueError, RecursionError) as error:
        contents.report(fault(path, f"not valid JSON ({error}); {_REMEDY}"))
        return {}
    if not isinstance(found, dict):
        contents.report(fault(path, f"expected a JSON object with names and values; {_REMEDY}"))
        return {}
    return found
