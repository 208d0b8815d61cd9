"""Read and write NXcxi_ptycho, the application definition of NeXus for ptychography.

It is CXI with the classes of NeXus: units stand beside numbers, the energy of the beam is told from that of
the source, frames of a raster may have two axes of positions, and positions may be moves of the stage.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py

from ptycho_torch.control import Progress
from ptycho_torch.data.formats import cxi
from ptycho_torch.data.hdf5.entries import CXINames
from ptycho_torch.data.hdf5.files import opened
from ptycho_torch.data.hdf5.gathered import Gathered
from ptycho_torch.data.hdf5.nexus import entries_of, names_in, stage_positions
from ptycho_torch.data.hdf5.writing import new_file
from ptycho_torch.data.recognition import Candidate
from ptycho_torch.data.scan.contract import Scan
from ptycho_torch.data.scan.example import example_scan
from ptycho_torch.data.scan.geometry import ScanGeometry, energy_joule_from_eV
from ptycho_torch.data.scan.header import Located, ScanHeader
from ptycho_torch.errors import DataError

__all__ = ["header", "make_example", "read", "recognise", "write"]

NAME = "nxcxi-ptycho"
HELP = "NXcxi_ptycho of NeXus, a special case of CXI; positions in metres"
SUFFIXES = (".nxs",)
TARGETS = (".nxs",)
REFINES = "cxi"
TAKES_PARTS = True

_DEFINITIONS = ("NXcxi_ptycho", "NXptycho")
"""The second is what the definition asks for."""
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
    """A file with an entry that says that it follows the definition.

    Raises
    ------
    DataError
        Several entries do and the path names none of them, or one that does not.
    """
    reason = candidate.why_not_hdf5()
    if reason is not None or candidate.hdf5 is None:
        return reason or ""
    entries = entries_of(candidate.hdf5, _DEFINITIONS)
    if not entries:
        return f"no entry whose definition is {_DEFINITIONS[0]}"
    if candidate.inside in entries:
        return Located(NAME, (candidate.path,), candidate.inside)
    listed = ", ".join(entries)
    if candidate.inside:
        return f"{candidate.inside} is no entry of the definition; those that are: {listed}"
    if len(entries) > 1:
        raise DataError(
            f"{len(entries)} scans in one file, {listed}; name one as {candidate.path.name}:/{entries[0]}",
            candidate.path,
        )
    return Located(NAME, (candidate.path,), entries[0])


def header(located: Located) -> ScanHeader:
    """Sizes and metadata."""
    return _gather(located).header()


def read(located: Located, **asked: Any) -> Scan:
    """Scan of the file, frames left in it."""
    return _gather(located).scan(**asked)


def _gather(located: Located) -> Gathered:
    with opened(located.frames) as file:
        names = names_in(file, located.inside)
    return cxi.gather(located, names=names, stage=stage_positions)


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
    entry["definition"] = _DEFINITIONS[0]
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
        file[f"{names.entry}/definition"] = _DEFINITIONS[0]
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
