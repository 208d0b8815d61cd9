"""Read and write scans as ptychodus exports them to train on: one HDF5 file, positions in pixels."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import h5py
import numpy as np

from ptycho_torch.control import Progress
from ptycho_torch.data.advice import BOTH_FOR_EACH
from ptycho_torch.data.hdf5.arrays import mask_to_write, positive, read_object, read_plain_mask, read_probe
from ptycho_torch.data.hdf5.extension import read_own, write_own
from ptycho_torch.data.hdf5.files import Contents, opened
from ptycho_torch.data.hdf5.gathered import Gathered
from ptycho_torch.data.hdf5.positions import check_energy, zero_entries
from ptycho_torch.data.hdf5.product import placeholder_object
from ptycho_torch.data.hdf5.units import stated_unit
from ptycho_torch.data.hdf5.writing import create_frames, new_file
from ptycho_torch.data.recognition import Candidate
from ptycho_torch.data.scan.contract import Scan
from ptycho_torch.data.scan.example import example_scan
from ptycho_torch.data.scan.geometry import (
    DETECTOR_PIXEL,
    DISTANCE,
    ENERGY,
    OBJECT_PIXEL,
    ZERO,
    ScanGeometry,
    beyond_middle,
    conjugate_pixel_m,
)
from ptycho_torch.data.scan.header import Located, ScanHeader
from ptycho_torch.diagnosis.table import CLEANING
from ptycho_torch.errors import fault

__all__ = ["header", "make_example", "read", "recognise", "write"]

NAME = "ptychodus-training"
HELP = "training file of ptychodus; positions in pixels of its object"
SUFFIXES = (".h5", ".hdf5")
TARGETS = (".h5", ".hdf5")
TAKES_PARTS = True

_PIXELS = ("px", "pixel", "pixels")
_POSITIONS = ("probe_position_x_px", "probe_position_y_px")
_NAMES = {
    "diff3d": "patterns",
    "xcoords": _POSITIONS[0],
    "ycoords": _POSITIONS[1],
    "probeGuess": "probe",
    "objectGuess": "object",
}


def recognise(candidate: Candidate) -> Located | str:
    """A file with patterns and probe, or with positions in pixels."""
    reason = candidate.why_not_hdf5()
    if reason is not None:
        return reason
    keys = candidate.hdf5_names()
    if keys & set(_POSITIONS) or {"patterns", "probe"} <= keys:
        return Located(NAME, (candidate.path,))
    return f"neither {_POSITIONS[0]} nor patterns beside probe"


def header(located: Located) -> ScanHeader:
    """Sizes and metadata."""
    return _gather(located).header()


def read(
    located: Located,
    *,
    measurement_domain: str = "auto",
    N: int | None = None,
    progress: Progress | None = None,
    clean: Collection[str] = CLEANING,
    position_scale: float = 1.0,
) -> Scan:
    """Scan of the file, frames left in it."""
    return _gather(located).scan(
        measurement_domain=measurement_domain,
        N=N,
        progress=progress,
        clean=clean,
        position_scale=position_scale,
    )


def _gather(located: Located) -> Gathered:
    """Everything but the frames.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    DataError
        It is damaged.
    """
    found = Gathered(located=located, names=_NAMES, object_is_guess=True)
    with opened(located.frames) as file:
        contents = Contents(file, found.problems)
        probe = ["probe"] if found.needs_probe else []
        contents.require("patterns", *probe, *(_POSITIONS if found.needs_positions else ()))
        found.frames = contents.frames("patterns")
        found.bad_pixels = read_plain_mask(contents, "bad_pixels", found)
        read_probe(contents, "probe", found)
        read_object(contents, "object", found)
        _read_geometry(contents, found)
        if found.needs_positions:
            _read_positions(contents, found)
        found.own = read_own(contents)
    return found.settle()


def _read_positions(contents: Contents, found: Gathered) -> None:
    """Positions in pixels of the object; where a unit of length is stated, in lengths from its centre."""
    columns = []
    for name, entry in zip(_POSITIONS, reversed(OBJECT_PIXEL), strict=True):
        values = contents.array(name, are_few=True)
        if values is None:
            return
        unit = found.parts.position_unit or stated_unit(contents.file[name]) or _PIXELS[0]
        if unit.lower() not in _PIXELS:
            lengths = contents.quantities(name, "m", instead=unit)
            if lengths is None:
                return
            if entry not in found.metadata:
                said = f"the unit is stated as {unit!r}; state the pixel size of the object"
                contents.report(fault(name, said))
                return
            zero = dict(zip(OBJECT_PIXEL, ZERO, strict=True))[entry]
            values = (lengths - found.metadata[zero]) / found.metadata[entry]
        columns.append(values)
    x, y = columns
    if x.ndim == 1 and x.shape == y.shape and {x.dtype.kind, y.dtype.kind} <= {*"iuf"}:
        found.positions = np.stack([y, x], axis=1).astype(np.float64)
        return
    contents.report(
        fault(
            ", ".join(_POSITIONS),
            f"expected real numbers of one length, got shapes {x.shape} and {y.shape}; {BOTH_FOR_EACH}",
        )
    )


def _read_geometry(contents: Contents, found: Gathered) -> None:
    """Geometry of the file; the detector pixel is not stored, but follows from the object pixel."""
    names = ("object_pixel_height_m", "object_pixel_width_m")
    pixel = [positive(contents.quantity(name, "m"), name, contents) for name in names]
    pixel = [found.metadata.get(entry, value) for entry, value in zip(OBJECT_PIXEL, pixel, strict=True)]
    distance = contents.quantity(DISTANCE, "m")
    energy = check_energy(contents.quantity(ENERGY, "eV"), ENERGY, found.problems)
    if distance:
        found.metadata.setdefault(DISTANCE, abs(distance))
    if energy is not None:
        found.metadata.setdefault(ENERGY, energy)
    if pixel[0] is None or pixel[1] is None:
        return
    shape = (1, 1) if found.object is None or found.object.ndim != 2 else found.object.shape
    found.metadata |= zero_entries((pixel[0], pixel[1]), (0.0, 0.0), (shape[0], shape[1]))
    energy, distance = (found.metadata.get(name) for name in (ENERGY, DISTANCE))
    if distance and energy is not None and found.frames is not None:
        for name, value, size in zip(DETECTOR_PIXEL, pixel, found.frames.shape[1:], strict=True):
            if value is not None:
                found.metadata.setdefault(
                    name, conjugate_pixel_m(value, size, energy_eV=energy, distance_m=distance)
                )


def write(path: Path, scan: Scan, *, progress: Progress | None = None) -> None:
    """Write a training file, in counts and object pixels; complete or not at all.

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
        The metadata lack photon energy, distance or pixel sizes, which the layout requires.
    """
    geometry = ScanGeometry.from_entries(scan.metadata, scan.N)
    image, origin = placeholder_object(scan)
    middles = scan.positions + origin - beyond_middle(scan.N)
    with new_file(path) as new:
        file = new.root
        file.create_dataset("probe", data=scan.probe, compression="lzf")
        file.create_dataset("object", data=image, compression="lzf")
        file.create_dataset("bad_pixels", data=mask_to_write(scan), compression="lzf")
        for column, axis in enumerate("yx"):
            file.create_dataset(f"probe_position_{axis}_px", data=middles[:, column])
        for name, value in zip(("height", "width"), geometry.object_pixel_m, strict=True):
            file.create_dataset(f"object_pixel_{name}_m", data=value)
        file.create_dataset(DISTANCE, data=geometry.distance_m)
        file.create_dataset(ENERGY, data=geometry.energy_eV)
        write_own(file, scan)
        create_frames(new, "patterns", scan.diffraction, progress=progress)


def make_example(path: Path) -> None:
    """Write the example scan as ptychodus does."""
    scan = example_scan()
    geometry = ScanGeometry.from_entries(scan.metadata, scan.N)
    with h5py.File(path, "w") as file:
        file.create_dataset("patterns", data=scan.diffraction[:], chunks=True, compression="lzf")
        file["probe"] = scan.probe
        side = int(np.ceil(scan.positions.max())) + scan.N
        file["object"] = np.ones((side, side), dtype=np.complex64)
        file[_POSITIONS[1]], file[_POSITIONS[0]] = (scan.positions - beyond_middle(scan.N)).T
        for name, value in zip(("height", "width"), geometry.object_pixel_m, strict=True):
            file[f"object_pixel_{name}_m"] = value
        file[DISTANCE], file[ENERGY] = geometry.distance_m, geometry.energy_eV
