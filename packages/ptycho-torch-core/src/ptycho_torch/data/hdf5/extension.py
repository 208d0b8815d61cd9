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

from ptycho_torch.data.hdf5.files import Contents
from ptycho_torch.data.hdf5.product import placeholder_object
from ptycho_torch.data.scan.contract import Scan
from ptycho_torch.errors import DataError

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
            f"metadata: cannot be written as JSON ({error}); keep to text, numbers, lists and dicts"
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
    group = contents.file.get(prefix)
    if not isinstance(group, h5py.Group) or any(name not in group for name in (*_ARRAYS, "metadata")):
        return None
    result: dict[str, Any] = {name: contents.array(f"{prefix}/{name}") for name in _ARRAYS}
    result["labels"] = contents.stored(f"{prefix}/labels")
    if any(result[name] is None for name in _ARRAYS):
        return None
    try:
        result["metadata"] = json.loads(group["metadata"].asstr()[()])
    except (ValueError, TypeError) as error:
        contents.report(f"{prefix}/metadata: not valid JSON ({error})")
        return None
    if not isinstance(result["metadata"], dict):
        contents.report(f"{prefix}/metadata: expected a JSON object with names and values")
        return None
    for name in ("has_object", "has_bad_pixels"):
        result[name] = bool(np.asarray(group.attrs.get(name, True)))
    return result
