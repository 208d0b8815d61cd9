"""Read and write scans as ptychodus lays them out: frames in one HDF5 file, everything else in another."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import h5py
import numpy as np

from ptycho_torch.control import Progress
from ptycho_torch.data.advice import one_per_frame
from ptycho_torch.data.hdf5.arrays import (
    mask_to_write,
    numbers_to_write,
    positive,
    read_object,
    read_plain_mask,
    read_probe,
    whole_numbers,
)
from ptycho_torch.data.hdf5.extension import read_own, write_own
from ptycho_torch.data.hdf5.files import Contents, opened
from ptycho_torch.data.hdf5.gathered import Gathered
from ptycho_torch.data.hdf5.positions import check_energy, check_pixel, positions_from_metres, zero_entries
from ptycho_torch.data.hdf5.product import write_product
from ptycho_torch.data.hdf5.writing import create_frames, new_file
from ptycho_torch.data.recognition import Candidate
from ptycho_torch.data.scan.contract import Scan
from ptycho_torch.data.scan.example import example_scan
from ptycho_torch.data.scan.geometry import (
    DETECTOR_PIXEL,
    DISTANCE,
    ENERGY,
    FAR_FIELD,
    FOCUS,
    OBJECT_PIXEL,
    Pair,
    ScanGeometry,
    is_near_field,
    object_pixels_m,
)
from ptycho_torch.data.scan.header import Located, ScanHeader
from ptycho_torch.diagnosis.table import CLEANING
from ptycho_torch.errors import Fault, fault

__all__ = ["files_of", "header", "make_example", "read", "recognise", "write"]

NAME = "ptychodus"
HELP = "diffraction.h5 and product.h5 of ptychodus in one folder; positions in metres"
SUFFIXES = (".h5", ".hdf5")
TARGETS = ("",)
NEAR_FIELD = True
TAKES_PARTS = True

_FILES = ("diffraction.h5", "product.h5")

_NAMES = {
    "diff3d": "patterns",
    "xcoords": "probe_position_x_m",
    "ycoords": "probe_position_y_m",
    "probeGuess": "probe",
    "objectGuess": "object",
}
_PRODUCT_NUMBERS = (
    "probe_photon_count",
    "exposure_time_s",
    "mass_attenuation_m2_per_kg",
    "tomography_angle_deg",
    "tilt_angle_deg",
    FOCUS,
)
_OLD_ENERGY = "probe_energy_eV"
_POSITIONS = ("probe_position_indexes", "probe_position_x_m", "probe_position_y_m")
_IN_PIXELS = frozenset({"probe_position_x_px", "probe_position_y_px"})


def recognise(candidate: Candidate) -> Located | str:
    """A folder with both files, or one of them with the other beside it."""
    if candidate.is_folder:
        if set(_FILES) <= set(candidate.names):
            return Located(NAME, tuple(candidate.path / name for name in _FILES))
        return candidate.half_pair(*_FILES)
    reason = candidate.why_not_hdf5()
    if reason is not None:
        return reason
    keys = candidate.hdf5_names()
    has_frames, has_positions = "patterns" in keys, bool(keys & set(_POSITIONS))
    if keys & _IN_PIXELS or (has_frames and "probe" in keys):
        return "patterns and probe are in one file"
    if not (has_frames or has_positions):
        return f"neither patterns nor {_POSITIONS[1]}"
    mine, wanted = ("diffraction", "product") if has_frames else ("product", "diffraction")
    other = _other(candidate.path, mine, wanted)
    if other is None:
        holds = "frames" if has_frames else "positions and probe"
        return f"this file holds the {holds} only; put {wanted}.h5 beside it"
    return Located(NAME, (candidate.path, other) if has_frames else (other, candidate.path))


def _other(source: Path, mine: str, wanted: str) -> Path | None:
    """The other file of a pair, named alike or by its usual name."""
    alike = source.with_name(source.name.replace(mine, wanted))
    usual = source.with_name(f"{wanted}.h5")
    return next((path for path in (alike, usual) if path != source and path.is_file()), None)


def header(located: Located) -> ScanHeader:
    """Sizes and metadata of both files."""
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
    """Scan of both files, frames left in theirs.

    Frames and positions are paired by their numbers, see `ptycho_torch.data.hdf5.gathered.pair_by_index`.
    """
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
        A file does not exist.
    DataError
        A file is damaged.
    """
    first, second = located.files
    found = Gathered(located=located, names=_NAMES)
    with opened(first) as file:
        contents = Contents(file, found.problems, first.name)
        _read_diffraction(contents, found)
    with opened(second) as file:
        contents = Contents(file, found.problems, second.name)
        _read_product(contents, found)
        found.own = read_own(contents)
    return found.settle()


def _read_diffraction(contents: Contents, found: Gathered) -> None:
    if not contents.require("patterns", "indexes"):
        return
    found.frames = contents.frames("patterns")
    indexes = contents.array("indexes", are_few=True)
    if indexes is not None:
        found.frame_index = whole_numbers(indexes, "indexes", contents)
    if found.frames is not None and found.frame_index is not None:
        n, numbered = len(found.frames), len(found.frame_index)
        if n != numbered:
            contents.report(fault("indexes", one_per_frame(numbered, n, "numbers")))
            found.frame_index = None
    found.bad_pixels = read_plain_mask(contents, "bad_pixels", found)
    for entry in DETECTOR_PIXEL:
        value = positive(contents.attribute(entry, "patterns"), f"patterns: attribute {entry}", contents)
        if value is not None:
            found.metadata.setdefault(entry, value)


def _read_product(contents: Contents, found: Gathered) -> None:
    probe = ["probe"] if found.needs_probe else []
    contents.require(*probe, *(["object", *_POSITIONS] if found.needs_positions else []))
    read_probe(contents, "probe", found)
    read_object(contents, "object", found)
    for entry in ("name", "comments"):
        text = contents.text(entry)
        if text:
            found.metadata[entry] = text
    _read_propagation(contents, found)
    found.object_is_guess = True
    for entry in _PRODUCT_NUMBERS:
        number = contents.attribute(entry)
        if number:
            found.metadata[entry] = number
    _read_optics(contents, found)
    if found.needs_positions:
        _read_positions(contents, found)
    if found.object is not None and not found.object.size:
        found.object = None


def _read_propagation(contents: Contents, found: Gathered) -> None:
    """Whether the detector is in the near field; what there is no model for is reported."""
    far_field = contents.file.attrs.get(FAR_FIELD)
    if far_field is not None and not bool(np.asarray(far_field).all()):
        found.metadata.setdefault(FAR_FIELD, False)
    tilt = contents.attribute("tilt_angle_deg")
    if tilt:
        contents.report(
            Fault(
                f"attribute tilt_angle_deg is {tilt:g}: the detector must not be tilted, expected 0; "
                "bring such frames to a straight detector first",
                "tilt_angle_deg",
            )
        )


def _read_positions(contents: Contents, found: Gathered) -> None:
    indexes = contents.array(_POSITIONS[0], are_few=True)
    x, y = (found.lengths(contents, name) for name in _POSITIONS[1:])
    if indexes is None or x is None or y is None:
        return
    found.position_index = whole_numbers(indexes, _POSITIONS[0], contents)
    if not (x.ndim == 1 and x.shape == y.shape == indexes.shape):
        contents.report(
            fault(
                ", ".join(_POSITIONS),
                f"expected real numbers of one length, got shapes {indexes.shape}, {x.shape} and {y.shape}; "
                "store index, x and y of every position",
            )
        )
        return
    pixel = _object_pixel(contents, found)
    if found.object is not None and not found.object.size:
        contents.report(
            fault(
                "object",
                "holds no value, but its size and centre place the positions; "
                "store it, or state other positions with --positions",
            )
        )
    if pixel is None or found.object is None or found.object.ndim != 2:
        return
    y_m, x_m = (contents.attribute(name, "object") for name in ("center_y_m", "center_x_m"))
    if y_m is None or x_m is None:
        contents.report(
            fault(
                "object",
                "attributes center_x_m and center_y_m are missing, which place the positions; "
                "add them, or state other positions with --positions",
            )
        )
        return
    shape = (found.object.shape[0], found.object.shape[1])
    found.metadata |= zero_entries(pixel, (y_m, x_m), shape)
    found.positions = positions_from_metres(y, x, pixel_m=pixel, centre_m=(y_m, x_m), shape=shape)


def _read_optics(contents: Contents, found: Gathered) -> None:
    distance = contents.attribute(DISTANCE)
    name = ENERGY if ENERGY in contents.file.attrs else _OLD_ENERGY
    energy = check_energy(contents.attribute(name), name, found.problems)
    if distance:
        found.metadata.setdefault(DISTANCE, abs(distance))
    if energy is not None:
        found.metadata.setdefault(ENERGY, energy)


def _object_pixel(contents: Contents, found: Gathered) -> Pair | None:
    """Object pixel as stated, else as detector, energy and distance make it."""
    if all(name in found.metadata for name in OBJECT_PIXEL):
        return float(found.metadata[OBJECT_PIXEL[0]]), float(found.metadata[OBJECT_PIXEL[1]])
    names = ("pixel_height_m", "pixel_width_m")
    stated = [positive(contents.attribute(n, "object"), f"object: attribute {n}", contents) for n in names]
    known = {
        name: found.metadata[name] for name in (ENERGY, DISTANCE, *DETECTOR_PIXEL) if name in found.metadata
    }
    size = None if found.frames is None else (found.frames.shape[1], found.frames.shape[2])
    # A beam that has a focus is the simple cone of the near field, or one whose far field has other pixels.
    simple = is_near_field(found.metadata) or FOCUS not in found.metadata
    complete = len(known) == 4 and size is not None and simple
    optics = {"energy_eV": known.get(ENERGY, 0.0), "distance_m": known.get(DISTANCE, 0.0)}
    if stated[0] is not None and stated[1] is not None:
        pixel = (stated[0], stated[1])
        if complete and size is not None:
            detector = (known[DETECTOR_PIXEL[0]], known[DETECTOR_PIXEL[1]])
            check_pixel(pixel, detector, size, found.remarks, metadata=found.metadata, **optics)
        return pixel
    if complete and size is not None:
        detector = (known[DETECTOR_PIXEL[0]], known[DETECTOR_PIXEL[1]])
        return object_pixels_m(found.metadata, detector, size, **optics)
    missing = [name for name in (ENERGY, DISTANCE, *DETECTOR_PIXEL) if name not in known]
    contents.report(
        Fault(
            "object: attributes pixel_width_m and pixel_height_m are missing, and the pixel size cannot be "
            f"computed without {', '.join(missing) or 'parallel illumination'}",
            ", ".join(("object", *missing)),
        )
    )
    return None


def files_of(path: Path) -> tuple[Path, ...]:
    """The two files in the folder ``path``."""
    return tuple(path / name for name in _FILES)


def write(path: Path, scan: Scan, *, progress: Progress | None = None) -> None:
    """Write ``diffraction.h5`` and ``product.h5``, in counts and metres.

    Parameters
    ----------
    path
        Folder, made if it is not there. Each file is complete or not there; both appear when both are
        complete.
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
    is_new = not path.exists()
    path.mkdir(exist_ok=True)
    first, second = files_of(path)
    try:
        with new_file(first) as frames, new_file(second) as product:
            write_product(product.root, scan, geometry, numbers_to_write(scan))
            write_own(product.root, scan)
            product.require_written()
            frames.root.create_dataset("indexes", data=numbers_to_write(scan))
            patterns = create_frames(frames, "patterns", scan.diffraction, progress=progress)
            for name, value in zip(DETECTOR_PIXEL, geometry.detector_pixel_m, strict=True):
                patterns.attrs[name] = value
            frames.root.create_dataset("bad_pixels", data=mask_to_write(scan), compression="lzf")
            # Both are whole before either takes its place.
            for new in (frames, product):
                new.close()
    except BaseException:
        if is_new and not any(path.iterdir()):
            path.rmdir()
        raise


def make_example(path: Path) -> None:
    """Write the example scan as ptychodus does, in the folder ``path``."""
    scan = example_scan()
    geometry = ScanGeometry.from_entries(scan.metadata, scan.N)
    y, x = geometry.middles_m(scan.positions, scan.N).T
    path.mkdir(exist_ok=True)
    first, second = files_of(path)
    with h5py.File(first, "w") as file:
        file["indexes"] = np.arange(scan.n_frames)
        patterns = file.create_dataset("patterns", data=scan.diffraction[:], chunks=True, compression="lzf")
        for name, value in zip(DETECTOR_PIXEL, geometry.detector_pixel_m, strict=True):
            patterns.attrs[name] = value
        file["bad_pixels"] = np.zeros((scan.N, scan.N), dtype=np.bool_)
    with h5py.File(second, "w") as file:
        file.attrs[ENERGY], file.attrs[DISTANCE] = geometry.energy_eV, geometry.distance_m
        file.attrs["probe_photon_count"] = float(scan.counts_per_frame().mean())
        file["probe"] = scan.probe[None]
        side = int(np.ceil(scan.positions.max())) + scan.N
        file["object"] = np.ones((1, side, side), dtype=np.complex64)
        for name in ("probe", "object"):
            item = file[name]
            item.attrs["pixel_height_m"], item.attrs["pixel_width_m"] = geometry.object_pixel_m
        centre_y, centre_x = geometry.centre_m((side, side), np.zeros(2))
        file["object"].attrs["center_y_m"], file["object"].attrs["center_x_m"] = centre_y, centre_x
        for name, values in zip(_POSITIONS, (np.arange(scan.n_frames), x, y), strict=True):
            file[name] = values
