"""Read and write NXcxi_ptycho, the application definition of NeXus for ptychography.

It is CXI with the classes of NeXus: units stand beside numbers, the energy of the beam is told from that of
the source, frames of a raster may have two axes of positions, and positions may be moves of the stage.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from ptycho_torch.control import Progress
from ptycho_torch.data.formats import cxi
from ptycho_torch.data.hdf5.entries import CXINames
from ptycho_torch.data.hdf5.files import Contents
from ptycho_torch.data.hdf5.gathered import Gathered
from ptycho_torch.data.hdf5.writing import new_file
from ptycho_torch.data.recognition import Candidate
from ptycho_torch.data.scan.contract import Scan
from ptycho_torch.data.scan.example import example_scan
from ptycho_torch.data.scan.geometry import ScanGeometry, energy_joule_from_eV
from ptycho_torch.data.scan.header import Located, ScanHeader

__all__ = ["header", "make_example", "read", "recognise", "write"]

NAME = "nxcxi-ptycho"
HELP = "NXcxi_ptycho of NeXus, a special case of CXI; positions in metres"
SUFFIXES = (".nxs",)
TARGETS = (".nxs",)
REFINES = "cxi"
TAKES_PARTS = True

_DEFINITION = "NXcxi_ptycho"
_STAGES = ("sample_1/transformations", "sample_1/geometry_1")
_CLASSES = {
    "": "NXentry",
    "instrument_1": "NXinstrument",
    "instrument_1/source_1": "NXsource",
    "instrument_1/beam_1": "NXbeam",
    "instrument_1/detector_1": "NXdetector",
    "sample_1": "NXsample",
    "sample_1/geometry_1": "NXcollection",
    "data_1": "NXcollection",
}
_METRES = ("distance", "x_pixel_size", "y_pixel_size")


def recognise(candidate: Candidate) -> Located | str:
    """A CXI file whose entry says that it follows the definition."""
    general = cxi.recognise(candidate)
    if isinstance(general, str):
        return general
    if candidate.hdf5 is None:
        return "the content is not HDF5"
    said = Contents(candidate.hdf5, []).string(f"{general.inside}/definition")
    if said != _DEFINITION:
        return f"the definition of {general.inside} is not {_DEFINITION}"
    return replace(general, format=NAME)


def header(located: Located) -> ScanHeader:
    """Sizes and metadata."""
    return cxi.gather(located, stage=_stage).header()


def read(located: Located, **asked: Any) -> Scan:
    """Scan of the file, frames left in it."""
    return cxi.gather(located, stage=_stage).scan(**asked)


def _stage(contents: Contents, found: Gathered, names: CXINames) -> npt.NDArray[np.float64] | None:
    """Positions (n, 2) x, y from two motions of the stage; those of a raster are combined."""
    for group in _STAGES:
        x, y = (found.lengths(contents, f"{names.entry}/{group}/{axis}") for axis in "xy")
        if x is None or y is None:
            continue
        frames = contents.dataset(contents.first(*names.frames) or "")
        if frames is not None and frames.ndim == 4 and (y.size, x.size) == frames.shape[:2]:
            y, x = np.meshgrid(y.reshape(-1), x.reshape(-1), indexing="ij")
        if x.size == y.size:
            return np.stack([x.reshape(-1), y.reshape(-1)], axis=1)
    return None


def write(path: Path, scan: Scan, *, progress: Progress | None = None) -> None:
    """Write one file, in counts, metres and joules; complete or not at all.

    Parameters
    ----------
    path
        File to create or replace.
    scan
        With photon energy, distance and detector pixels in its metadata.
    progress
        Called with frames written and frames in all.

    Raises
    ------
    DataError
        The metadata lack what it takes to say positions in metres.
    """
    with new_file(path) as new:
        cxi.fill(new, scan, progress=progress)
        entry = new.root[CXINames().entry]
        energy_J = energy_joule_from_eV(ScanGeometry.from_entries(scan.metadata, scan.N).energy_eV)
        _annotate(entry, energy_J)


def _annotate(entry: h5py.Group, energy_J: float) -> None:
    """What NeXus asks for beside CXI."""
    names = CXINames()
    entry["definition"] = _DEFINITION
    beam = entry.create_group("instrument_1/beam_1")
    for name in ("energy", "incident_beam_energy"):
        beam[name] = energy_J
        beam[name].attrs["units"] = "J"
    source = entry["instrument_1/source_1"]
    source["energy"].attrs["units"] = "J"
    source["probe"] = "x-ray"
    for name in _METRES:
        entry[f"instrument_1/detector_1/{name}"].attrs["units"] = "m"
    entry["sample_1/geometry_1/translation"].attrs["units"] = "m"
    for name, kind in _CLASSES.items():
        entry[name or "."].attrs["NX_class"] = kind
    data = entry.create_group("data")
    data.attrs["NX_class"], data.attrs["signal"] = "NXdata", "data"
    data["data"] = h5py.SoftLink(f"/{names.frames[1]}")
    entry.file.attrs["default"], entry.attrs["default"] = names.entry, "data"


def make_example(path: Path) -> None:
    """Write the example scan as a beamline does: a ring as source, lengths in millimetres, energy in eV."""
    scan = example_scan()
    cxi.make_example(path)
    names = CXINames()
    with h5py.File(path, "a") as file:
        file[f"{names.entry}/definition"] = _DEFINITION
        file[f"{names.beam}/energy"] = scan.metadata["photon_energy_eV"]
        file[f"{names.beam}/energy"].attrs["units"] = "eV"
        del file[f"{names.source}/energy"]
        file[f"{names.source}/energy"] = 3.0
        file[f"{names.source}/energy"].attrs["units"] = "GeV"
        for name in (*(f"{names.detector}/{length}" for length in _METRES), names.positions[0]):
            values = file[name][()] * 1e3
            del file[name]
            file[name] = values
            file[name].attrs["units"] = "mm"
        file[names.positions[1]] = h5py.SoftLink(f"/{names.positions[0]}")
        for name, kind in _CLASSES.items():
            file[f"{names.entry}/{name}"].attrs["NX_class"] = kind
