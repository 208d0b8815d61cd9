"""Read the data files of ptypy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from ptycho_torch.data.advice import pairs_per_frame
from ptycho_torch.data.hdf5.arrays import read_mask
from ptycho_torch.data.hdf5.detector import cut_about
from ptycho_torch.data.hdf5.files import Contents, opened
from ptycho_torch.data.hdf5.gathered import Gathered
from ptycho_torch.data.hdf5.optics import place, read_beam, read_lengths
from ptycho_torch.data.recognition import Candidate
from ptycho_torch.data.scan.contract import Scan
from ptycho_torch.data.scan.example import example_scan
from ptycho_torch.data.scan.geometry import DETECTOR_PIXEL, ScanGeometry
from ptycho_torch.data.scan.header import Located, ScanHeader
from ptycho_torch.data.scan.joined import JoinedFrames
from ptycho_torch.data.scan.probe_guess import probe_of_mean_frame
from ptycho_torch.errors import fault

__all__ = ["header", "make_example", "read", "recognise"]

NAME = "ptypy"
HELP = "data file of ptypy; positions in metres, no probe"
SUFFIXES = (".ptyd",)
TAKES_PARTS = True

_NAMES = {
    "diff3d": "chunks/0/data",
    "xcoords": "chunks/0/positions x",
    "ycoords": "chunks/0/positions y",
    "bad_pixels": "chunks/0/weights",
}
_PLACES = ("meta", "info")
_CENTRE = "meta/center"
_COMMON = ("common/weight2d", "meta/weight2d")


def recognise(candidate: Candidate) -> Located | str:
    """A file with chunks of frames."""
    reason = candidate.why_not_hdf5()
    if reason is not None:
        return reason
    if any(candidate.holds(f"chunks/{name}/data") for name in candidate.hdf5_names("chunks")):
        return Located(NAME, (candidate.path,))
    return "no chunks/0/data"


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
        places = _read_chunks(contents, found)
        for group in _PLACES:
            read_beam(contents, found, energies=[f"{group}/energy"], default="keV")
            read_lengths(contents, found, distance=f"{group}/distance", pixel_y="", pixel_x="")
            _read_detector_pixel(contents, found, f"{group}/psize")
        _read_centre(contents, found)
        if places is not None and found.needs_positions:
            place(found, places)
    return found.settle()


def _read_detector_pixel(contents: Contents, found: Gathered, name: str) -> None:
    """One number, or one for rows and one for columns."""
    pixel = contents.quantities(name, "m")
    if pixel is None or DETECTOR_PIXEL[0] in found.metadata:
        return
    if pixel.size not in (1, 2) or not (np.isfinite(pixel).all() and (pixel > 0).all()):
        contents.report(
            fault(name, f"expected one or two positive lengths, got {pixel.tolist()}; correct it")
        )
        return
    for entry, value in zip(DETECTOR_PIXEL, np.broadcast_to(pixel.reshape(-1), 2).tolist(), strict=True):
        found.metadata[entry] = value


def _read_chunks(contents: Contents, found: Gathered) -> np.ndarray | None:
    """Frames and mask; gives the positions ``[y, x]`` of all chunks in metres."""
    group = contents.file["chunks"]
    numbers = sorted((name for name in group if str(name).isdigit()), key=int)
    parts, places = [], []
    for number in numbers:
        stored = f"chunks/{number}/positions"
        if not contents.require(f"chunks/{number}/data", *([stored] if found.needs_positions else [])):
            return None
        part = contents.frames(f"chunks/{number}/data")
        if part is not None and not found.needs_positions:
            parts.append(part)
            continue
        where = found.lengths(contents, stored)
        if part is None or where is None:
            return None
        if where.shape != (len(part), 2):
            said = pairs_per_frame(where.shape, len(part))
            contents.report(fault(f"chunks/{number}/positions", said))
            return None
        parts.append(part)
        places.append(where)
    if len({part.shape[1:] for part in parts}) != 1:
        contents.report(
            fault(
                "chunks",
                f"expected frames of one size, got {[part.shape for part in parts]}; "
                "store those of each size as a scan",
            )
        )
        return None
    found.frames = JoinedFrames(parts)
    found.bad_pixels = _mask(contents, found, numbers, parts[0].shape[1:])
    return np.concatenate(places) if places else None


def _mask(
    contents: Contents, found: Gathered, numbers: list[str], size: tuple[int, int]
) -> npt.NDArray[np.bool_] | None:
    """Pixels without weight: in any frame of any chunk, else in the weight that all share."""
    masks = [
        read_mask(contents, f"chunks/{number}/weights", found, lambda weights: weights == 0)
        for number in numbers
    ]
    stated = [mask for mask in masks if mask is not None and mask.shape == size]
    if stated:
        return np.asarray(np.logical_or.reduce(stated))
    for name in _COMMON:
        weight = contents.array(name, shape=size)
        if weight is not None:
            return np.asarray(weight == 0)
    return None


def _read_centre(contents: Contents, found: Gathered) -> None:
    """Cut the frames about the pixel of the beam, where the file says that it is another than N // 2."""
    data = contents.dataset(_CENTRE)
    if data is not None and data.dtype.kind in "iuf" and data.size == 2:
        y, x = data[()].reshape(-1).tolist()
        cut_about(found, (y, x))


def make_example(path: Path) -> None:
    """Write the example scan as ptypy stores it, in two chunks."""
    scan = example_scan()
    geometry = ScanGeometry.from_entries(scan.metadata, scan.N)
    places = geometry.middles_m(scan.positions, scan.N)
    with h5py.File(path, "w") as file:
        for number, part in enumerate((slice(0, 7), slice(7, 12))):
            file.create_dataset(f"chunks/{number}/data", data=scan.diffraction[part], compression="gzip")
            file[f"chunks/{number}/positions"] = places[part]
            file[f"chunks/{number}/indices"] = np.arange(scan.n_frames)[part]
        for group in _PLACES:
            file[f"{group}/energy"] = geometry.energy_eV / 1e3
            file[f"{group}/distance"] = geometry.distance_m
            file[f"{group}/psize"] = np.array(geometry.detector_pixel_m)
        file["common/weight2d"] = np.ones((scan.N, scan.N))
