"""Read the NumPy archives that ptychodus exports to train on."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import numpy as np

from ptycho_torch.control import Progress
from ptycho_torch.data.formats import npz
from ptycho_torch.data.npz_archive import read_arrays
from ptycho_torch.data.recognition import Candidate
from ptycho_torch.data.scan.assemble import FRAME_AXIS_ENTRY, assemble_scan
from ptycho_torch.data.scan.contract import OBJECT_IS_GUESS, Scan
from ptycho_torch.data.scan.example import example_scan
from ptycho_torch.data.scan.geometry import beyond_middle
from ptycho_torch.data.scan.header import Located, ScanHeader
from ptycho_torch.data.scan.memory import named_arrays
from ptycho_torch.data.scan.misfits import misfits
from ptycho_torch.diagnosis.table import CLEANING

__all__ = ["header", "make_example", "read", "recognise"]

NAME = "ptychodus-npz"
HELP = "NumPy archive that ptychodus exports to train on; positions in pixels of its object"
SUFFIXES = (".npz",)
REFINES = "npz"

_COORDINATES = ("xcoords", "ycoords", "xcoords_start", "ycoords_start")
_KEYS = frozenset({*_COORDINATES, "diff3d", "bad_pixels", "probeGuess", "objectGuess", "scan_index"})


def recognise(candidate: Candidate) -> Located | str:
    """An archive with exactly the arrays that ptychodus writes, and no metadata."""
    general = npz.recognise(candidate)
    if isinstance(general, str):
        return general
    keys = candidate.npz_names()
    if keys != _KEYS:
        return "not the arrays that ptychodus exports"
    return Located(NAME, (candidate.path,))


def header(located: Located) -> ScanHeader:
    """Sizes; of the arrays only the headers are read."""
    return replace(npz.header(located), metadata={OBJECT_IS_GUESS: True})


def read(
    located: Located,
    *,
    measurement_domain: str = "auto",
    N: int | None = None,
    progress: Progress | None = None,
    clean: Collection[str] = CLEANING,
    position_scale: float = 1.0,
) -> Scan:
    """Scan of the archive, frames loaded: counts, whole numbers or not, along the first axis.

    The positions name the middles of patches in pixels of the object, which is a guess and no truth.
    """
    arrays, keys, problems = read_arrays(located.frames, tuple(_KEYS), misfits=misfits)
    frames = arrays.get("diff3d")
    if frames is not None and frames.ndim == 3:
        for name in set(_COORDINATES) & set(arrays):
            arrays[name] = arrays[name] + beyond_middle(frames.shape[1])
    stated = {FRAME_AXIS_ENTRY: "first", OBJECT_IS_GUESS: True}
    arrays |= named_arrays({"_metadata": stated}, ("_metadata",))[0]
    return assemble_scan(
        arrays,
        measurement_domain=measurement_domain,
        layout_domain="counts",
        N=N,
        source=located.frames,
        problems=problems,
        keys=keys,
        owned=True,
        progress=progress,
        clean=clean,
        position_scale=position_scale,
    )


def make_example(path: Path) -> None:
    """Write the example scan as ptychodus exports one."""
    scan = example_scan()
    y, x = (scan.positions - beyond_middle(scan.N)).T
    side = int(np.ceil(scan.positions.max())) + scan.N
    np.savez(
        path,
        diff3d=scan.diffraction[:],
        bad_pixels=np.zeros((scan.N, scan.N), dtype=np.bool_),
        probeGuess=scan.probe.astype(np.complex128),
        objectGuess=np.ones((side, side), dtype=np.complex128),
        scan_index=np.zeros(scan.n_frames, dtype=np.int64),
        xcoords=x,
        ycoords=y,
        xcoords_start=x,
        ycoords_start=y,
    )
