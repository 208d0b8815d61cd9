"""Read and write CXI 1.6, the format of the Coherent X-ray Imaging Data Bank.

Beside the paths of the standard, those of ptychodus are read: probe and object as images 1 and 2, and what it
keeps under ``/entry_1/ptychodus``. Frames and the rest may be in one file or in two.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from ptycho_torch.control import Progress
from ptycho_torch.data.advice import one_per_frame
from ptycho_torch.data.hdf5.arrays import read_mask, read_object, read_probe, whole_numbers
from ptycho_torch.data.hdf5.entries import CXINames, entry_of
from ptycho_torch.data.hdf5.extension import read_own, write_own
from ptycho_torch.data.hdf5.files import Contents, opened
from ptycho_torch.data.hdf5.gathered import Gathered
from ptycho_torch.data.hdf5.kinds import text_of
from ptycho_torch.data.hdf5.optics import read_axes, read_beam, read_lengths
from ptycho_torch.data.hdf5.positions import check_pixel, positions_from_metres, zero_entries
from ptycho_torch.data.hdf5.product import placeholder_object
from ptycho_torch.data.hdf5.writing import NewFile, create_frames, new_file
from ptycho_torch.data.recognition import Candidate
from ptycho_torch.data.scan.contract import Scan
from ptycho_torch.data.scan.example import example_scan
from ptycho_torch.data.scan.geometry import (
    DETECTOR_PIXEL,
    DISTANCE,
    ENERGY,
    OBJECT_PIXEL,
    Pair,
    ScanGeometry,
    energy_joule_from_eV,
    object_pixels_m,
)
from ptycho_torch.data.scan.header import Located, ScanHeader
from ptycho_torch.data.scan.probe_guess import probe_of_mean_frame
from ptycho_torch.diagnosis.table import CLEANING
from ptycho_torch.errors import Fault, fault

__all__ = ["fill", "gather", "header", "make_example", "read", "recognise", "write"]

NAME = "cxi"
HELP = "CXI 1.6, one file, or diffraction.cxi and product.cxi in one folder; positions in metres"
SUFFIXES = (".cxi",)
TARGETS = (".cxi",)
TAKES_PARTS = True

_FILES = ("diffraction.cxi", "product.cxi")

Stage = Callable[[Contents, Gathered, CXINames], npt.NDArray[np.float64] | None]
"""From a file to positions (n, 2) x, y; m."""

_WRITTEN = CXINames()
_VERSION = 160
_INVALID = 0x1
_HARMLESS = 0x20 | 0x800
_UNUSED = {"data_dark": "dark frames", "qe_mask": "sensitivities of the pixels (a flat field)"}
"""Bits of the mask that mark peaks and corrected artefacts, which are measured."""
_SIGNAL = 0x1000
"""Alone it marks signal above the background, which is measured; beside others a correction that failed."""


def recognise(candidate: Candidate) -> Located | str:
    """A file with the entry of the standard and what lies beside it; or both halves in a folder."""
    if candidate.is_folder:
        if set(_FILES) <= set(candidate.names):
            return Located(NAME, tuple(candidate.path / name for name in _FILES))
        return candidate.half_pair(*_FILES)
    reason = candidate.why_not_hdf5()
    if reason is not None:
        return reason
    meant = entry_of(candidate)
    if meant is None:
        return f"{candidate.inside} is no entry"
    names = CXINames(meant)
    entry = candidate.hdf5_names(names.entry)
    if not entry and "cxi_version" not in candidate.hdf5_names():
        return f"neither {names.entry} nor cxi_version"
    return _with_its_other_half(candidate, names, entry)


def _with_its_other_half(candidate: Candidate, names: CXINames, entry: frozenset[str]) -> Located:
    """One file, or both halves of a scan whose one half was named."""
    path, has_rest = candidate.path, bool(entry & {"sample_1", "image_1"})
    files: tuple[Path, ...] = (path,)
    if not has_rest and entry & {"instrument_1", "data_1"}:
        other = path.with_name(path.name.replace("diffraction", "product"))
        if other != path and other.is_file():
            files = (path, other)
    if has_rest and not any(candidate.holds(frames) for frames in names.frames):
        other = path.with_name(path.name.replace("product", "diffraction"))
        if other != path and other.is_file():
            files = (other, path)
    return Located(NAME, files, names.entry)


def _read_detector(contents: Contents, found: Gathered, names: CXINames) -> None:
    name = contents.require_first(*names.frames)
    if name is None:
        return
    data = contents.dataset(name)
    axes = "" if data is None else text_of(data, "axes")
    found.frames = contents.frames(name, raster=True, last=axes.rpartition(":")[2].strip() == "translation")
    mask = contents.dataset(f"{names.detector}/mask")
    if mask is not None and mask.dtype.kind not in "biu":
        contents.report(
            fault(
                f"{names.detector}/mask",
                f"expected integers, got {mask.dtype}; store 0 where a pixel measured",
            )
        )
    elif mask is not None:
        found.bad_pixels = read_mask(contents, f"{names.detector}/mask", found, _is_bad)
    for unused, what in _UNUSED.items():
        if contents.dataset(f"{names.detector}/{unused}") is not None:
            found.remarks.append(
                f"{names.detector}/{unused}: {what} are not applied; correct the frames first"
            )


def _is_bad(bits: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    return ((bits.astype(np.int64) & ~_HARMLESS) != 0) & (bits != _SIGNAL)


def _read_optics(contents: Contents, found: Gathered, names: CXINames) -> None:
    """Energy, distance and detector pixels from whichever file has them."""
    read_beam(
        contents,
        found,
        energies=names.energies,
        wavelengths=names.wavelengths,
        particle=f"{names.source}/probe",
    )
    read_lengths(
        contents,
        found,
        distance=f"{names.detector}/distance",
        pixel_y=f"{names.detector}/y_pixel_size",
        pixel_x=f"{names.detector}/x_pixel_size",
        corner=f"{names.detector}/corner_position",
    )


def _extra_pair(contents: Contents, names: CXINames, y: str, x: str) -> Pair | None:
    values = contents.quantity(f"{names.extra}/{y}", "m"), contents.quantity(f"{names.extra}/{x}", "m")
    return None if values[0] is None or values[1] is None else (values[0], values[1])


def _object_pixel(contents: Contents, found: Gathered, names: CXINames) -> Pair | None:
    if all(name in found.metadata for name in OBJECT_PIXEL):
        return float(found.metadata[OBJECT_PIXEL[0]]), float(found.metadata[OBJECT_PIXEL[1]])
    stated = _extra_pair(contents, names, "object_pixel_height_m", "object_pixel_width_m")
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
                f"missing {', '.join(missing)}; energy ({names.source}/energy, J), distance and pixel sizes "
                f"({names.detector}/distance, x_pixel_size, y_pixel_size, m) turn positions in metres "
                "into pixels",
                ", ".join(missing),
            )
        )
        return None
    energy, distance = float(known[ENERGY] or 0.0), float(known[DISTANCE] or 0.0)
    detector = (float(known[DETECTOR_PIXEL[0]] or 0.0), float(known[DETECTOR_PIXEL[1]] or 0.0))
    if stated is not None and min(stated) > 0:
        check_pixel(
            stated,
            detector,
            size,
            found.remarks,
            metadata=found.metadata,
            energy_eV=energy,
            distance_m=distance,
        )
        return stated
    return object_pixels_m(found.metadata, detector, size, energy_eV=energy, distance_m=distance)


def _read_images(contents: Contents, found: Gathered, names: CXINames) -> None:
    name = contents.first(*names.probe)
    if name is not None:
        read_probe(contents, name, found)
    image = contents.stored(names.object)
    if image is not None and image.dtype.kind == "c" and image.size:
        read_object(contents, names.object, found)
    for part, entry in (("title", "name"), ("experiment_description", "comments")):
        text = contents.string(f"{names.entry}/{part}")
        if text is not None:
            found.metadata[entry] = text


def _read_positions(contents: Contents, found: Gathered, names: CXINames, stage: Stage | None) -> None:
    name = contents.first(*names.positions) or names.positions[0]
    values = found.lengths(contents, name)
    if values is None and contents.dataset(name) is None and stage is not None:
        values = stage(contents, found, names)
    if values is None and contents.require_first(*names.positions) is None:
        return
    axes = read_axes(contents, found, f"{names.detector}/basis_vectors")
    pixel = _object_pixel(contents, found, names)
    if values is None:
        return
    if values.ndim != 2 or values.shape[1] not in (2, 3) or not len(values):
        contents.report(
            fault(
                name,
                f"expected real x, y, z of shape (n, 3), got shape {values.shape}; "
                "store x, y and z in columns",
            )
        )
        return
    if found.frames is not None:
        # CXI does not number frames: the n-th position number means the n-th frame.
        found.frame_index = np.arange(len(found.frames))
    numbered = f"{names.extra}/probe_position_indexes"
    indexes = contents.array(numbered, are_few=True)
    if indexes is not None:
        found.position_index = whole_numbers(indexes, numbered, contents)
    elif found.frames is not None and found.frames.is_growing:
        pass  # those that are complete are taken
    elif found.frames is not None and len(values) != len(found.frames):
        contents.report(fault(name, one_per_frame(len(values), len(found.frames))))
        return
    if found.position_index is not None and len(found.position_index) != len(values):
        contents.report(
            fault(
                numbered,
                f"{len(found.position_index)} entries, expected {len(values)}, one per position; "
                "number them, or leave the dataset out",
            )
        )
        return
    if pixel is None:
        return
    yx = values[:, [1, 0]]
    if axes is not None:
        yx = yx @ axes.T
    centre = _extra_pair(contents, names, "object_center_y_m", "object_center_x_m")
    shape = (1, 1) if found.object is None else (found.object.shape[0], found.object.shape[1])
    if centre is None or found.object is None:
        # Without an object any coordinate zero will do; the middle keeps the numbers small.
        found.object, shape = None, (1, 1)
        real = yx[np.isfinite(yx).all(axis=1)]
        middle = (real.min(axis=0) + real.max(axis=0)) / 2 if len(real) else np.zeros(2)
        centre = (float(middle[0]), float(middle[1]))
    found.metadata |= zero_entries(pixel, centre, shape)
    found.positions = positions_from_metres(yx[:, 0], yx[:, 1], pixel_m=pixel, centre_m=centre, shape=shape)


def header(located: Located) -> ScanHeader:
    """Sizes and metadata of the file or of both."""
    return gather(located).header()


def read(
    located: Located,
    *,
    measurement_domain: str = "auto",
    N: int | None = None,
    progress: Progress | None = None,
    clean: Collection[str] = CLEANING,
    position_scale: float = 1.0,
) -> Scan:
    """Scan of the file or of both, frames left in theirs."""
    return gather(located).scan(
        measurement_domain=measurement_domain,
        N=N,
        progress=progress,
        clean=clean,
        position_scale=position_scale,
    )


def gather(located: Located, *, names: CXINames | None = None, stage: Stage | None = None) -> Gathered:
    """Everything but the frames.

    Parameters
    ----------
    located
        One file or both.
    names
        Where the file puts what; as the standard does when left out.
    stage
        Looks for positions where CXI has none.

    Raises
    ------
    FileNotFoundError
        A file does not exist.
    DataError
        A file is damaged.
    """
    first, *rest = located.files
    names = names or CXINames(located.inside or "entry_1")
    found = Gathered(located=located, names=names.of_contract(), guess=probe_of_mean_frame)
    with opened(first) as file:
        contents = Contents(file, found.problems, first.name if rest else "")
        _read_detector(contents, found, names)
        _read_optics(contents, found, names)
        if not rest:
            _read_rest(contents, found, names, stage)
    for path in rest:
        with opened(path) as file:
            contents = Contents(file, found.problems, path.name)
            _read_optics(contents, found, names)
            _read_rest(contents, found, names, stage)
    return found.settle()


def _read_rest(contents: Contents, found: Gathered, names: CXINames, stage: Stage | None) -> None:
    _read_images(contents, found, names)
    if found.needs_positions:
        _read_positions(contents, found, names, stage)
    found.own = read_own(contents, names.entry)


def _write_image(
    file: h5py.File, name: str, values: npt.NDArray[Any], axes: str, geometry: ScanGeometry
) -> None:
    image = file.create_group(f"{_WRITTEN.entry}/{name}")
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
    with new_file(path) as new:
        fill(new, scan, progress=progress)


def fill(new: NewFile, scan: Scan, *, progress: Progress | None = None) -> None:
    """As `write`, into a file that is being made."""
    geometry = ScanGeometry.from_entries(scan.metadata, scan.N)
    image, origin = placeholder_object(scan)
    file = new.root
    file.create_dataset("cxi_version", data=_VERSION)
    entry = file.create_group(_WRITTEN.entry)
    for name, key in (("title", "name"), ("experiment_description", "comments")):
        if scan.metadata.get(key):
            entry.create_dataset(name, data=str(scan.metadata[key]))
    file.create_dataset(f"{_WRITTEN.source}/energy", data=energy_joule_from_eV(geometry.energy_eV))
    detector = file.create_group(_WRITTEN.detector)
    detector.create_dataset("distance", data=geometry.distance_m)
    pixel_y, pixel_x = geometry.detector_pixel_m
    detector.create_dataset("x_pixel_size", data=pixel_x)
    detector.create_dataset("y_pixel_size", data=pixel_y)
    if scan.bad_pixels is not None:
        detector.create_dataset("mask", data=np.where(scan.bad_pixels, _INVALID, 0).astype(np.uint32))
    places = np.zeros((scan.n_frames, 3))
    places[:, [1, 0]] = geometry.middles_m(scan.positions, scan.N)
    file.create_dataset(_WRITTEN.positions[0], data=places)
    _write_image(file, "image_1", scan.probe[None], "coherent:incoherent:y:x", geometry)
    file[_WRITTEN.probe[1]] = h5py.SoftLink(f"/{_WRITTEN.probe[0]}")
    _write_image(file, "image_2", image[None], "layer:y:x", geometry)
    _write_extra(file, scan, geometry, geometry.centre_m((image.shape[0], image.shape[1]), origin))
    write_own(entry, scan)
    create_frames(new, f"{_WRITTEN.detector}/data", scan.diffraction, compression="gzip", progress=progress)
    data = file.create_group(f"{_WRITTEN.entry}/data_1")
    data["data"] = h5py.SoftLink(f"/{_WRITTEN.frames[1]}")
    data["translation"] = h5py.SoftLink(f"/{_WRITTEN.positions[0]}")


def _write_extra(file: h5py.File, scan: Scan, geometry: ScanGeometry, centre_m: Pair) -> None:
    """What the standard has no place for, where ptychodus looks for it."""
    extra = file.create_group(_WRITTEN.extra)
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
        file[f"{_WRITTEN.source}/energy"] = energy_joule_from_eV(geometry.energy_eV)
        file[_WRITTEN.probe[1]] = scan.probe
        detector = file.create_group(_WRITTEN.detector)
        detector["distance"] = geometry.distance_m
        detector["y_pixel_size"], detector["x_pixel_size"] = geometry.detector_pixel_m
        detector.create_dataset("data", data=scan.diffraction[:], chunks=True, compression="gzip")
        file[_WRITTEN.positions[0]] = places
        file[_WRITTEN.frames[0]] = h5py.SoftLink(f"/{_WRITTEN.frames[1]}")
