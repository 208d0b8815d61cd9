"""Read scans that fold_slice and PtychoShelves prepare: frames in one HDF5 file, positions in another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ptycho_torch.data.advice import BOTH_FOR_EACH, one_per_frame
from ptycho_torch.data.hdf5.files import Contents, opened
from ptycho_torch.data.hdf5.gathered import Gathered
from ptycho_torch.data.hdf5.optics import place, read_beam
from ptycho_torch.data.recognition import Candidate
from ptycho_torch.data.scan.contract import Scan
from ptycho_torch.data.scan.example import example_scan
from ptycho_torch.data.scan.geometry import (
    DETECTOR_PIXEL,
    OBJECT_PIXEL,
    ScanGeometry,
    conjugate_pixel_m,
    wavelength_m,
)
from ptycho_torch.data.scan.header import Located, ScanHeader
from ptycho_torch.data.scan.orientation import ORIENTATIONS
from ptycho_torch.data.scan.probe_guess import probe_of_mean_frame
from ptycho_torch.errors import fault

__all__ = ["header", "make_example", "read", "recognise"]

NAME = "fold-slice"
HELP = "NAME_dp.hdf5 and NAME_para.hdf5 of fold_slice and PtychoShelves; positions in metres, no probe"
SUFFIXES = (".hdf5", ".h5")
TAKES_PARTS = True

_FRAMES, _X, _Y, _PIXEL, _LENGTH = "dp", "ppX", "ppY", "dx", "lambda"
_NAMES = {"diff3d": _FRAMES, "xcoords": _X, "ycoords": _Y}
_TRANSPOSED = ORIENTATIONS[4]


def recognise(candidate: Candidate) -> Located | str:
    """A file with frames, and one with positions beside it, in either direction."""
    reason = candidate.why_not_hdf5()
    if reason is not None:
        return reason
    names = candidate.hdf5_names()
    has_frames, has_positions = _FRAMES in names, {_X, _Y} <= names
    if has_frames and has_positions:
        return Located(NAME, (candidate.path,))
    if not has_frames and not has_positions:
        return f"neither {_FRAMES} nor {_X} and {_Y}"
    mine, wanted = ("_dp", "_para") if has_frames else ("_para", "_dp")
    other = candidate.path.with_name(candidate.path.name.replace(mine, wanted))
    if other == candidate.path or not other.is_file():
        return f"this file holds {'frames' if has_frames else 'positions'} only; put NAME{wanted} beside it"
    return Located(NAME, (candidate.path, other) if has_frames else (other, candidate.path))


def header(located: Located) -> ScanHeader:
    """Sizes and metadata of both files."""
    return _gather(located).header()


def read(located: Located, **asked: Any) -> Scan:
    """Scan of both files, frames left in theirs."""
    return _gather(located).scan(**asked)


def _gather(located: Located) -> Gathered:
    first, second = located.files[0], located.files[-1]
    found = Gathered(located=located, names=_NAMES, guess=probe_of_mean_frame)
    problems: list[str] = found.problems
    places = None
    n_positions = 0
    by_matlab = False
    with opened(second) as file:
        contents = Contents(file, problems, second.name)
        read_beam(contents, found, energies=(), wavelengths=[_LENGTH])
        pixel = contents.quantity(_PIXEL, "m") if contents.dataset(_PIXEL) is not None else None
        if pixel is not None and pixel > 0:
            for entry in OBJECT_PIXEL:
                found.metadata.setdefault(entry, pixel)
        if contents.require(_X, _Y):
            # MATLAB writes the axes of every array the other way round, a column as one row.
            by_matlab = file[_X].ndim == 2 and file[_X].shape[0] == 1
            n_positions = int(file[_X].size)
            x, y = (found.lengths(contents, name) for name in (_X, _Y))
            if x is not None and y is not None and x.size == y.size:
                places = np.stack([y.reshape(-1), x.reshape(-1)], axis=1)
            elif x is not None and y is not None:
                contents.report(
                    fault(f"{_X}, {_Y}", f"{x.size} and {y.size} entries, expected as many; {BOTH_FOR_EACH}")
                )
    with opened(first) as file:
        contents = Contents(file, problems, first.name)
        if contents.require(_FRAMES):
            last = _is_last(found, file[_FRAMES], n_positions)
            found.frames = contents.frames(_FRAMES, last=last)
            if by_matlab and not last and found.parts.frame_axis is None:
                found.turn = _TRANSPOSED
                found.remarks.append(
                    "the files were written by MATLAB: rows and columns of the frames are swapped"
                )
    _detector_pixels(found)
    if found.needs_positions and places is not None and found.frames is not None:
        if len(places) != len(found.frames):
            said = one_per_frame(len(places), len(found.frames))
            found.problems.append(fault(f"{_X}, {_Y}", said))
        else:
            place(found, places)
    return found.settle()


def _is_last(found: Gathered, data: h5py.Dataset, n_positions: int) -> bool:
    """Whether frames are (H, W, n): as it is stated, else as the number of positions says."""
    if found.parts.frame_axis is not None:
        return found.parts.frame_axis == "last"
    return data.ndim == 3 and data.shape[0] != n_positions and data.shape[2] == n_positions


def _detector_pixels(found: Gathered) -> None:
    """Detector pixels that follow from the pixel of the object, where distance and energy are known."""
    energy, distance = (
        found.metadata.get(name) for name in ("photon_energy_eV", "detector_object_distance_m")
    )
    if energy is None or distance is None or found.frames is None:
        return
    for entry, pixel, size in zip(DETECTOR_PIXEL, OBJECT_PIXEL, found.frames.shape[1:], strict=True):
        if pixel in found.metadata:
            value = conjugate_pixel_m(found.metadata[pixel], size, energy_eV=energy, distance_m=distance)
            found.metadata.setdefault(entry, value)


def make_example(path: Path) -> None:
    """Write the example scan as fold_slice prepares it, all in one file; its pixels are square there."""
    scan = example_scan()
    geometry = ScanGeometry.from_entries(scan.metadata, scan.N)
    pixel = geometry.object_pixel_m[1]
    with h5py.File(path, "w") as file:
        file.create_dataset(_FRAMES, data=scan.diffraction[:], chunks=True, compression="gzip")
        file[_Y], file[_X] = scan.positions.T * pixel
        file[_LENGTH], file[_PIXEL] = wavelength_m(geometry.energy_eV), pixel
