"""Read and write CXI 1.6, the format of the Coherent X-ray Imaging Data Bank.

Beside the paths of the standard, those of ptychodus are read: probe and object as images 1 and 2, and what it
keeps under ``/entry_1/ptychodus``. Frames and the rest may be in one file or in two.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from ptycho_torch.control import Progress
from ptycho_torch.data.hdf5.extension import read_own, write_own
from ptycho_torch.data.hdf5.files import Contents, opened
from ptycho_torch.data.hdf5.gathered import (
    Gathered,
    check_energy,
    check_pixel,
    positions_from_metres,
    zero_entries,
)
from ptycho_torch.data.hdf5.parts import read_object, read_probe, whole_numbers
from ptycho_torch.data.hdf5.product import placeholder_object
from ptycho_torch.data.hdf5.writing import create_frames, new_file
from ptycho_torch.data.recognition import Candidate
from ptycho_torch.data.scan.contract import Scan
from ptycho_torch.data.scan.example import example_scan
from ptycho_torch.data.scan.geometry import (
    DETECTOR_PIXEL,
    DISTANCE,
    ENERGY,
    Pair,
    ScanGeometry,
    conjugate_pixel_m,
    energy_eV_from_joule,
    energy_joule_from_eV,
)
from ptycho_torch.data.scan.header import Located, ScanHeader
from ptycho_torch.errors import Fault, fault

__all__ = ["header", "make_example", "read", "recognise", "write"]

NAME = "cxi"
HELP = "CXI 1.6, one file, or diffraction.cxi and product.cxi in one folder; positions in metres"
SUFFIXES = (".cxi",)
TARGETS = (".cxi",)

_FILES = ("diffraction.cxi", "product.cxi")

_ENTRY = "entry_1"
_DETECTOR = f"{_ENTRY}/instrument_1/detector_1"
_SOURCE = f"{_ENTRY}/instrument_1/source_1"
_FRAMES = (f"{_ENTRY}/data_1/data", f"{_DETECTOR}/data")
_POSITIONS = (f"{_ENTRY}/sample_1/geometry_1/translation", f"{_ENTRY}/data_1/translation")
_PROBE = (f"{_ENTRY}/image_1/data", f"{_SOURCE}/illumination")
_OBJECT = f"{_ENTRY}/image_2/data"
_EXTRA = f"{_ENTRY}/ptychodus"

_VERSION = 160
_INVALID = 0x1
_HARMLESS = 0x20 | 0x800
"""Bits of the mask that mark peaks and signal, which are measured."""

_NAMES = {
    "diff3d": _FRAMES[0],
    "xcoords": f"{_POSITIONS[0]} x",
    "ycoords": f"{_POSITIONS[0]} y",
    "probeGuess": _PROBE[0],
    "objectGuess": _OBJECT,
    "bad_pixels": f"{_DETECTOR}/mask",
}


def recognise(candidate: Candidate) -> Located | str:
    """A file with the entry of the standard and what lies beside it; or both halves in a folder."""
    if candidate.is_folder:
        if set(_FILES) <= set(candidate.names):
            return Located(NAME, tuple(candidate.path / name for name in _FILES))
        return candidate.half_pair(*_FILES)
    reason = candidate.why_not_hdf5()
    if reason is not None:
        return reason
    entry = candidate.hdf5_names(_ENTRY)
    if not entry and "cxi_version" not in candidate.hdf5_names():
        return f"neither {_ENTRY} nor cxi_version"
    return _with_its_other_half(candidate, entry)


def _with_its_other_half(candidate: Candidate, entry: frozenset[str]) -> Located:
    """One file, or both halves of a scan whose one half was named."""
    path, has_rest = candidate.path, bool(entry & {"sample_1", "image_1"})
    if not has_rest and entry & {"instrument_1", "data_1"}:
        other = path.with_name(path.name.replace("diffraction", "product"))
        if other != path and other.is_file():
            return Located(NAME, (path, other))
    names = candidate.hdf5_names(f"{_ENTRY}/data_1") | candidate.hdf5_names(_DETECTOR)
    if has_rest and "data" not in names:
        other = path.with_name(path.name.replace("product", "diffraction"))
        if other != path and other.is_file():
            return Located(NAME, (other, path))
    return Located(NAME, (path,))


def _read_detector(contents: Contents, found: Gathered) -> None:
    name = contents.first(*_FRAMES)
    if name is None:
        contents.require(_FRAMES[0])
        return
    found.frames = contents.frames(name)
    mask = contents.array(f"{_DETECTOR}/mask")
    if mask is not None and mask.dtype.kind in "biu":
        found.bad_pixels = (mask.astype(np.int64) & ~_HARMLESS) != 0
    elif mask is not None:
        contents.report(fault(f"{_DETECTOR}/mask", f"expected integers, got {mask.dtype}"))


def _read_optics(contents: Contents, found: Gathered) -> None:
    """Energy, distance and detector pixels from whichever file has them."""
    energy_J = contents.number(f"{_SOURCE}/energy")
    if energy_J is not None and ENERGY not in found.metadata:
        name = f"{_SOURCE}/energy"
        energy = check_energy(energy_eV_from_joule(energy_J), name, found.problems)
        if energy is not None:
            found.metadata[ENERGY] = energy
    lengths = {
        DISTANCE: f"{_DETECTOR}/distance",
        DETECTOR_PIXEL[0]: f"{_DETECTOR}/y_pixel_size",
        DETECTOR_PIXEL[1]: f"{_DETECTOR}/x_pixel_size",
    }
    for entry, name in lengths.items():
        value = contents.number(name)
        if value is None or entry in found.metadata:
            continue
        if np.isfinite(value) and value != 0:
            found.metadata[entry] = abs(value)
        else:
            contents.report(fault(name, f"expected a positive length in metres, got {value:g}"))


def _extra_pair(contents: Contents, y: str, x: str) -> Pair | None:
    values = contents.number(f"{_EXTRA}/{y}"), contents.number(f"{_EXTRA}/{x}")
    return None if values[0] is None or values[1] is None else (values[0], values[1])


def _object_pixel(contents: Contents, found: Gathered) -> Pair | None:
    stated = _extra_pair(contents, "object_pixel_height_m", "object_pixel_width_m")
    known = {name: found.metadata.get(name) for name in (ENERGY, DISTANCE, *DETECTOR_PIXEL)}
    missing = [name for name, value in known.items() if value is None]
    if found.frames is None:
        return stated if stated is not None and min(stated) > 0 else None
    size = (found.frames.shape[1], found.frames.shape[2])
    if missing:
        if stated is not None and min(stated) > 0:
            return stated
        contents.report(
            Fault(
                f"missing {', '.join(missing)}; energy ({_SOURCE}/energy, J), distance and pixel sizes "
                f"({_DETECTOR}/distance, x_pixel_size, y_pixel_size, m) turn positions in metres into pixels",
                ", ".join(missing),
            )
        )
        return None
    energy, distance = float(known[ENERGY] or 0.0), float(known[DISTANCE] or 0.0)
    detector = (float(known[DETECTOR_PIXEL[0]] or 0.0), float(known[DETECTOR_PIXEL[1]] or 0.0))
    if stated is not None and min(stated) > 0:
        check_pixel(stated, detector, size, found.remarks, energy_eV=energy, distance_m=distance)
        return stated
    y, x = (
        conjugate_pixel_m(pixel, n, energy_eV=energy, distance_m=distance)
        for pixel, n in zip(detector, size, strict=True)
    )
    return y, x


def _read_images(contents: Contents, found: Gathered) -> None:
    name = contents.first(*_PROBE)
    if name is None:
        contents.require(_PROBE[0])
    else:
        read_probe(contents, name, found)
    image = contents.stored(_OBJECT)
    if image is not None and image.dtype.kind == "c" and image.size:
        read_object(contents, _OBJECT, found)
    for name, entry in ((f"{_ENTRY}/title", "name"), (f"{_ENTRY}/experiment_description", "comments")):
        data = contents.dataset(name)
        if data is not None and h5py.check_string_dtype(data.dtype) is not None and data.size == 1:
            text = data[()] if data.shape == () else data[0]
            found.metadata[entry] = text.decode("utf-8", errors="replace")


def _read_positions(contents: Contents, found: Gathered) -> None:
    name = contents.first(*_POSITIONS)
    if name is None:
        contents.require(_POSITIONS[0])
        return
    values = contents.array(name)
    pixel = _object_pixel(contents, found)
    if values is None:
        return
    if values.ndim != 2 or values.shape[1] not in (2, 3) or not len(values) or values.dtype.kind not in "iuf":
        contents.report(
            fault(name, f"expected real x, y, z of shape (n, 3), got {values.dtype} {values.shape}")
        )
        return
    if found.frames is not None:
        # CXI does not number frames: the n-th position number means the n-th frame.
        found.frame_index = np.arange(len(found.frames))
    indexes = contents.array(f"{_EXTRA}/probe_position_indexes")
    if indexes is not None:
        found.position_index = whole_numbers(indexes, f"{_EXTRA}/probe_position_indexes", contents)
    elif found.frames is not None and len(values) != len(found.frames):
        contents.report(fault(name, f"{len(values)} positions, expected {len(found.frames)}, one per frame"))
        return
    if found.position_index is not None and len(found.position_index) != len(values):
        contents.report(
            fault(
                f"{_EXTRA}/probe_position_indexes",
                f"{len(found.position_index)} entries, expected {len(values)}, one per position",
            )
        )
        return
    if pixel is None:
        return
    yx = values[:, [1, 0]].astype(np.float64)
    centre = _extra_pair(contents, "object_center_y_m", "object_center_x_m")
    shape = (1, 1) if found.object is None else (found.object.shape[0], found.object.shape[1])
    if centre is None or found.object is None:
        # Without an object any coordinate zero will do; the middle keeps the numbers small.
        found.object, shape = None, (1, 1)
        middle = (yx.min(axis=0) + yx.max(axis=0)) / 2
        centre = (float(middle[0]), float(middle[1]))
    found.metadata |= zero_entries(pixel, centre, shape)
    found.positions = positions_from_metres(
        yx[:, 0], yx[:, 1], pixel_m=pixel, centre_m=centre, shape=shape, problems=found.problems
    )


def header(located: Located) -> ScanHeader:
    """Sizes and metadata of the file or of both."""
    return _gather(located).header()


def read(
    located: Located,
    *,
    measurement_domain: str = "auto",
    N: int | None = None,
    progress: Progress | None = None,
) -> Scan:
    """Scan of the file or of both, frames left in theirs."""
    return _gather(located).scan(measurement_domain=measurement_domain, N=N, progress=progress)


def _gather(located: Located) -> Gathered:
    """Everything but the frames.

    Raises
    ------
    FileNotFoundError
        A file does not exist.
    DataError
        A file is damaged.
    """
    first, *rest = located.files
    found = Gathered(located=located, names=_NAMES)
    with opened(first) as file:
        contents = Contents(file, found.problems, first.name if rest else "")
        _read_detector(contents, found)
        _read_optics(contents, found)
        if not rest:
            _read_rest(contents, found)
    for path in rest:
        with opened(path) as file:
            contents = Contents(file, found.problems, path.name)
            _read_optics(contents, found)
            _read_rest(contents, found)
    return found.settle()


def _read_rest(contents: Contents, found: Gathered) -> None:
    _read_images(contents, found)
    _read_positions(contents, found)
    found.own = read_own(contents, _ENTRY)


def _write_image(
    file: h5py.File, name: str, values: npt.NDArray[Any], axes: str, geometry: ScanGeometry
) -> None:
    image = file.create_group(f"{_ENTRY}/{name}")
    data = image.create_dataset("data", data=values)
    data.attrs["axes"] = axes
    image.create_dataset("data_space", data="real")
    height, width = values.shape[-2:]
    pixel_y, pixel_x = geometry.object_pixel_m
    image.create_dataset("image_size", data=np.array([width * pixel_x, height * pixel_y, 0.0]))


def write(path: Path, scan: Scan, *, progress: Progress | None = None) -> None:
    """Write one CXI 1.6 file, in counts, metres and joules; complete or not at all.

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
    geometry = ScanGeometry.from_entries(scan.metadata, scan.N)
    image, origin = placeholder_object(scan)
    with new_file(path) as new:
        file = new.root
        file.create_dataset("cxi_version", data=_VERSION)
        entry = file.create_group(_ENTRY)
        for name, key in (("title", "name"), ("experiment_description", "comments")):
            if scan.metadata.get(key):
                entry.create_dataset(name, data=str(scan.metadata[key]))
        file.create_dataset(f"{_SOURCE}/energy", data=energy_joule_from_eV(geometry.energy_eV))
        detector = file.create_group(_DETECTOR)
        detector.create_dataset("distance", data=geometry.distance_m)
        pixel_y, pixel_x = geometry.detector_pixel_m
        detector.create_dataset("x_pixel_size", data=pixel_x)
        detector.create_dataset("y_pixel_size", data=pixel_y)
        if scan.bad_pixels is not None:
            detector.create_dataset("mask", data=np.where(scan.bad_pixels, _INVALID, 0).astype(np.uint32))
        places = np.zeros((scan.n_frames, 3))
        places[:, [1, 0]] = geometry.middles_m(scan.positions, scan.N)
        file.create_dataset(_POSITIONS[0], data=places)
        _write_image(file, "image_1", scan.probe[None], "coherent:incoherent:y:x", geometry)
        file[_PROBE[1]] = h5py.SoftLink(f"/{_PROBE[0]}")
        _write_image(file, "image_2", image[None], "layer:y:x", geometry)
        _write_extra(file, scan, geometry, geometry.centre_m((image.shape[0], image.shape[1]), origin))
        write_own(entry, scan)
        create_frames(new, f"{_DETECTOR}/data", scan.diffraction, compression="gzip", progress=progress)
        data = file.create_group(f"{_ENTRY}/data_1")
        data["data"] = h5py.SoftLink(f"/{_FRAMES[1]}")
        data["translation"] = h5py.SoftLink(f"/{_POSITIONS[0]}")


def _write_extra(file: h5py.File, scan: Scan, geometry: ScanGeometry, centre_m: Pair) -> None:
    """What the standard has no place for, where ptychodus looks for it."""
    extra = file.create_group(_EXTRA)
    extra.create_dataset("probe_position_indexes", data=np.arange(scan.n_frames))
    for name in ("probe", "object"):
        for axis, pixel in zip(("height", "width"), geometry.object_pixel_m, strict=True):
            extra.create_dataset(f"{name}_pixel_{axis}_m", data=pixel)
    extra.create_dataset("object_center_y_m", data=centre_m[0])
    extra.create_dataset("object_center_x_m", data=centre_m[1])


def make_example(path: Path) -> None:
    """Write the example scan after the standard, without anything of this package."""
    scan = example_scan()
    geometry = ScanGeometry.from_entries(scan.metadata, scan.N)
    places = np.zeros((scan.n_frames, 3))
    places[:, [1, 0]] = geometry.middles_m(scan.positions, scan.N)
    with h5py.File(path, "w") as file:
        file["cxi_version"] = _VERSION
        file[f"{_SOURCE}/energy"] = energy_joule_from_eV(geometry.energy_eV)
        file[_PROBE[1]] = scan.probe
        detector = file.create_group(_DETECTOR)
        detector["distance"] = geometry.distance_m
        detector["y_pixel_size"], detector["x_pixel_size"] = geometry.detector_pixel_m
        detector.create_dataset("data", data=scan.diffraction[:], chunks=True, compression="gzip")
        file[_POSITIONS[0]] = places
        file[_FRAMES[0]] = h5py.SoftLink(f"/{_FRAMES[1]}")
