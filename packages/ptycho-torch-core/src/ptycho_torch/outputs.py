"""What may be written over: never an input, whatever it is called, and never a file of another kind."""

from __future__ import annotations

import os
from collections.abc import Iterable
from os import PathLike
from pathlib import Path

from ptycho_config import Problem
from ptycho_torch.data.paths import inside_of

__all__ = ["output_problems"]

# How files of these names begin; one that begins like another of them is not what was meant to be replaced.
_STARTS = {
    ".png": b"\x89PNG",
    ".npz": b"PK",
    ".zip": b"PK",
    ".h5": b"\x89HDF",
    ".hdf5": b"\x89HDF",
    ".cxi": b"\x89HDF",
    ".html": b"<",
    ".json": b"{",
}


def output_problems(
    name: str, path: str | PathLike[str], inputs: Iterable[str | PathLike[str]] = ()
) -> list[Problem]:
    """Why a file must not be written over, even by who asked to overwrite; empty where it may.

    Parameters
    ----------
    name
        What names the file: a flag, an argument.
    path
        File to be written.
    inputs
        Files and folders that are read in the same call. Links and hard links to them count as well.
    """
    target = Path(path)
    if not os.path.lexists(target):
        return []
    for given in inputs:
        source = inside_of(given)[0]
        # What lies in a folder that is an input is one too; of a folder that is written, all that lies in it.
        places = (source, *source.absolute().parents) if target.is_dir() else (source,)
        if target.exists() and any(place.exists() and os.path.samefile(place, target) for place in places):
            hint = "this file is read in the same call; give another name"
            return [Problem(name, str(target), "a file that is not an input", hint)]
    if target.exists() and not (target.is_file() or target.is_dir()):
        return [Problem(name, str(target), "a file", "this is a pipe, a socket or a device")]
    start = _STARTS.get(target.suffix.lower())
    if start is not None and target.is_file():
        with target.open("rb") as stream:
            found = stream.read(4)
        kinds = {kind for kind in _STARTS.values() if len(kind) > 1 and found.startswith(kind)}
        if kinds - {start}:
            expected = f"a new file, or one that is {target.suffix}"
            return [Problem(name, str(target), expected, "it holds something else; give another name")]
    return []
