"""Read the data files of PtyLab."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from ptycho_torch.data.advice import pairs_per_frame
from ptycho_torch.data.hdf5.files import Contents, opened
from ptycho_torch.data.hdf5.gathered import Gathered
from ptycho_torch.data.hdf5.optics import place, read_beam, read_lengths
from ptycho_torch.data.recognition import Candidate
from ptycho_torch.data.scan.contract import Scan
from ptycho_torch.data.scan.example import example_scan
from ptycho_torch.data.scan.geometry import OBJECT_PIXEL, ScanGeometry, wavelength_m
from ptycho_torch.data.scan.header import Located, ScanHeader
from ptycho_torch.data.scan.probe_guess import disk_probe, probe_of_mean_frame
from ptycho_torch.errors import fault

__all__ = ["header", "make_example", "read", "recognise"]

NAME = "ptylab"
HELP = "data file of PtyLab; positions in metres, no probe"
SUFFIXES = (".hdf5", ".h5")
TAKES_PARTS = True

_FRAMES, _PLACES, _DIAMETER = "ptychogram", "encoder", "entrancePupilDiameter"
_TURN = "orientation"
_NAMES = {"diff3d": _FRAMES, "xcoords": f"{_PLACES} x", "ycoords": f"{_PLACES} y"}


def recognise(candidate: Candidate) -> Located | str:
    """A file with a ptychogram."""
    reason = candidate.why_not_hdf5()
    if reason is not None:
        return reason
    keys = candidate.hdf5_names()
    if _FRAMES in keys and "zled" in keys:
        return "a data set of Fourier ptychography of PtyLab, which is not reconstructed here"
    if _FRAMES in keys:
        return Located(NAME, (candidate.path,))
    return f"no {_FRAMES}"


def header(located: Located) -> ScanHeader:
    """Sizes and metadata."""
    return _gather(located).header()


def read(located: Located, **asked: Any) -> Scan:
    """Scan of the file, frames left in it."""
    return _gather(located).scan(**asked)


def _gather(located: Located) -> Gathered:
    found = Gathered(located=located, names=_NAMES, guess=probe_of_mean_frame)
    with opened(located.frames) as file:
        contents = Contents(file, found.problems)
        contents.require(_FRAMES, *([_PLACES] if found.needs_positions else []))
        found.frames = contents.frames(_FRAMES)
        read_beam(contents, found, energies=(), wavelengths=["wavelength"])
        read_lengths(contents, found, distance="zo", pixel_y="dxd", pixel_x="dxd")
        tilt = contents.quantity("theta", "m") if contents.dataset("theta") is not None else None
        if tilt:
            said = f"a sample tilted by {tilt:g}: bring such frames to a straight detector first"
            contents.report(fault("theta", said))
        places = found.lengths(contents, _PLACES) if found.needs_positions else None
        if found.frames is not None and places is not None:
            if places.shape == (2, len(found.frames)):
                places = places.T  # as MATLAB leaves it
            if places.shape != (len(found.frames), 2):
                said = pairs_per_frame(places.shape, len(found.frames))
                contents.report(fault(_PLACES, said))
            else:
                place(found, places)
        diameter = contents.quantity(_DIAMETER, "m")
        if diameter is not None and np.isfinite(diameter) and diameter > 0:
            found.guess = _Disk(found, diameter)
        _read_orientation(contents, found)
    return found.settle()


def _read_orientation(contents: Contents, found: Gathered) -> None:
    """How the frames are to be turned: a transposition (4) first, then columns (1) and rows (2) reversed."""
    number = contents.number(_TURN) if contents.dataset(_TURN) is not None else None
    if not number:
        return
    if number not in range(8):
        contents.report(
            fault(_TURN, f"expected a whole number from 0 to 7, got {number:g}; correct it, or leave it out")
        )
        return
    bits = int(number)
    signs = (-1 if bits & 2 else 1, -1 if bits & 1 else 1)
    found.turn = ((0, signs[0]), (signs[1], 0)) if bits & 4 else ((signs[0], 0), (0, signs[1]))
    found.remarks.append(f"{_TURN} is {bits}: the frames are turned as the file says")


class _Disk:
    """Disk of the stated diameter, once the pixels of the object are known."""

    def __init__(self, found: Gathered, diameter_m: float) -> None:
        self.found, self.diameter_m = found, diameter_m

    def __call__(self, mean: npt.NDArray[np.float64]) -> npt.NDArray[np.complex64]:
        pixels = [self.found.metadata.get(name) for name in OBJECT_PIXEL]
        if pixels[0] is None or pixels[1] is None:
            return probe_of_mean_frame(mean)
        return disk_probe(mean, (self.diameter_m / pixels[0], self.diameter_m / pixels[1]))


def make_example(path: Path) -> None:
    """Write the example scan as PtyLab stores it; its pixels are square there."""
    scan = example_scan()
    geometry = ScanGeometry.from_entries(scan.metadata, scan.N)
    square = ScanGeometry.from_entries(
        {**geometry.entries(), "detector_pixel_height_m": 75e-6, "object_pixel_height_m": None}, scan.N
    )
    with h5py.File(path, "w") as file:
        file.create_dataset(_FRAMES, data=scan.diffraction[:], chunks=True, compression="gzip")
        file[_PLACES] = square.middles_m(scan.positions, scan.N)
        file["wavelength"], file["zo"] = wavelength_m(square.energy_eV), square.distance_m
        file["dxd"] = square.detector_pixel_m[0]
        file[_DIAMETER] = 6 * square.object_pixel_m[0]
