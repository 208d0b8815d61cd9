"""Open HDF5 files the way every process here does: while they grow, and with the filters that they need.

HDF5 is imported when a file is opened, because frames in memory need none of it.
"""

from __future__ import annotations

import importlib
import importlib.util
import time
from pathlib import Path
from typing import Any

__all__ = ["datasets_behind", "missing_filters", "open_hdf5", "source_of"]


_PAUSES = (0.01, 0.02, 0.04, 0.08, 0.16)
"""Seconds to wait for a file to be as long as it says; one that was cut off costs them too."""


def open_hdf5(path: Path, **options: Any) -> Any:
    """File opened to read; one that a writer in SWMR mode still fills is opened as its reader.

    Parameters
    ----------
    path
        HDF5 file.
    options
        Handed on to ``h5py.File``.

    Raises
    ------
    OSError
        As HDF5 words it.
    """
    import h5py

    for pause in (*_PAUSES, None):
        try:
            return h5py.File(path, "r", **options)
        except OSError as error:
            if error.errno is None and "already open for write" in str(error):
                return h5py.File(path, "r", swmr=True, **options)
            # A writer states the new end of a file a moment before the file has grown to it.
            if error.errno is not None or "truncated file" not in str(error) or pause is None:
                raise
            time.sleep(pause)
    raise AssertionError("the last attempt returns or raises")


def source_of(path: Path, name: str) -> Path | None:
    """File that a link or a virtual dataset in ``path`` means by ``name``; None when it is nowhere.

    HDF5 looks where the name says, then beside the file and beside the file that a link to it leads to; of a
    name with a whole path, for its last part.
    """
    folders = (path.parent, path.resolve().parent)
    wanted = Path(name)
    places = (
        [wanted, *(f / wanted.name for f in folders)] if wanted.is_absolute() else [f / name for f in folders]
    )
    return next((place for place in (*places, wanted) if place.is_file()), None)


def datasets_behind(data: Any) -> list[tuple[Path | None, str, Any]]:
    """Parts of a virtual dataset; empty for a dataset that holds its values itself.

    Returns
    -------
    list of (file, file as it is named, mapping)
        File None: it is not there. The mapping is that of h5py.
    """
    if not data.is_virtual:
        return []
    here = Path(data.file.filename)
    return [
        (here if part.file_name == "." else source_of(here, part.file_name), part.file_name, part)
        for part in data.virtual_sources()
    ]


def _filters(data: Any, depth: int = 4) -> dict[int, str]:
    """Filters of a dataset and of the parts of a virtual one, number to name."""
    plist = data.id.get_create_plist()
    found = {
        code: name.decode(errors="replace") or f"filter {code}"
        for code, _, _, name in (plist.get_filter(i) for i in range(plist.get_nfilters()))
    }
    looked_at: set[tuple[Path, str]] = set()
    for file, _, part in datasets_behind(data) if depth else ():
        # Parts of one detector are packed alike; its first files tell.
        if file is None or (file, part.dset_name) in looked_at or len(looked_at) >= 8:
            continue
        looked_at.add((file, part.dset_name))
        try:
            with open_hdf5(file) as source:
                found |= _filters(source[part.dset_name], depth - 1)
        except (OSError, KeyError):  # told where the parts themselves are looked at
            continue
    return found


def missing_filters(data: Any) -> list[str]:
    """Filters that reading ``data`` needs and this process lacks, after those of hdf5plugin were loaded.

    Parameters
    ----------
    data
        Open dataset, which may be virtual.
    """
    import h5py

    needed = _filters(data)
    missing = [name for code, name in needed.items() if not h5py.h5z.filter_avail(code)]
    if missing and importlib.util.find_spec("hdf5plugin") is not None:
        # Importing it registers the filters of detector makers with the HDF5 library of this process.
        importlib.import_module("hdf5plugin")
        missing = [name for code, name in needed.items() if not h5py.h5z.filter_avail(code)]
    return missing
