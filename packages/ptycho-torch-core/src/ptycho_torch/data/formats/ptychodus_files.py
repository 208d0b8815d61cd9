"""Read and write the HDF5 files of ptychodus: the pair diffraction.h5 and product.h5, and training files."""

from __future__ import annotations

import logging
from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from ptycho_torch.atomic import atomic_path
from ptycho_torch.data.hdf5.extension import read_own, write_own
from ptycho_torch.data.hdf5.files import Contents, create_frames, opened
from ptycho_torch.data.hdf5.gathered import (
    Gathered,
    check_energy,
    check_pixel,
    positions_from_metres,
    zero_entries,
)
from ptycho_torch.data.hdf5.product import placeholder_object, write_product
from ptycho_torch.data.scan.contract import Scan
from ptycho_torch.data.scan.geometry import (
    DETECTOR_PIXEL,
    DISTANCE,
    ENERGY,
    Pair,
    ScanGeometry,
    conjugate_pixel_m,
)

__all__ = ["DIFFRACTION_NAME", "PRODUCT_NAME", "read_pair", "read_training", "write_pair", "write_training"]

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]

DIFFRACTION_NAME, PRODUCT_NAME = "diffraction.h5", "product.h5"

_PAIR_NAMES = {
    "diff3d": "patterns",
    "xcoords": "probe_position_x_m",
    "ycoords": "probe_position_y_m",
    "probeGuess": "probe",
    "objectGuess": "object",
}
_TRAINING_NAMES = {**_PAIR_NAMES, "xcoords": "probe_position_x_px", "ycoords": "probe_position_y_px"}
_PRODUCT_NUMBERS = (
    "probe_photon_count",
    "exposure_time_s",
    "mass_attenuation_m2_per_kg",
    "tomography_angle_deg",
    "tilt_angle_deg",
    "focus_object_distance_m",
)
_OLD_ENERGY = "probe_energy_eV"


def canonical_modes(probe: npt.NDArray[Any], where: str) -> npt.NDArray[Any]:
    """Modes (P, H, W) of a probe (coherent, incoherent, H, W); it varies over the scan when coherent > 1."""
    if probe.ndim != 4:
        return probe
    if probe.shape[0] > 1:
        logger.warning(
            "%s: the probe varies over the scan in %d parts; the first is used throughout",
            where,
            probe.shape[0],
        )
    return probe[0]


def first_layer(values: npt.NDArray[Any], where: str) -> npt.NDArray[Any]:
    """Layer (H, W) of an object (layers, H, W)."""
    if values.ndim != 3:
        return values
    if values.shape[0] > 1:
        logger.warning("%s: the object has %d layers; the first is used", where, values.shape[0])
    return values[0]


def whole_numbers(values: npt.NDArray[Any], name: str, contents: Contents) -> npt.NDArray[np.int64] | None:
    """Numbers of frames or positions as (n,) int64, None with a problem when they are not."""
    if values.ndim != 1 or not values.size or values.dtype.kind not in "iu":
        contents.report(
            f"{name}: expected integers of shape (n,), got {values.dtype} of shape {values.shape}"
        )
        return None
    return values.astype(np.int64)


def _positive(value: float | None, name: str, contents: Contents) -> float | None:
    if value is not None and not (np.isfinite(value) and value > 0):
        contents.report(f"{name}: expected a positive number, got {value:g}")
        return None
    return value


def _read_diffraction(contents: Contents, found: Gathered) -> None:
    if not contents.require("patterns", "indexes"):
        return
    found.frames = contents.frames("patterns")
    indexes = contents.array("indexes")
    if indexes is not None:
        found.frame_index = whole_numbers(indexes, "indexes", contents)
    if found.frames is not None and found.frame_index is not None:
        n, numbered = len(found.frames), len(found.frame_index)
        if n != numbered:
            contents.report(f"indexes: {numbered} entries, expected {n}, one per pattern")
            found.frame_index = None
    found.bad_pixels = contents.array("bad_pixels")
    for entry in DETECTOR_PIXEL:
        value = _positive(contents.attribute(entry, "patterns"), f"patterns: attribute {entry}", contents)
        if value is not None:
            found.metadata[entry] = value


_POSITIONS = ("probe_position_indexes", "probe_position_x_m", "probe_position_y_m")


def _read_product(contents: Contents, found: Gathered) -> None:
    contents.require("probe", "object", *_POSITIONS)
    probe, image = contents.array("probe"), contents.array("object")
    found.probe = None if probe is None else canonical_modes(probe, str(contents.path))
    found.object = None if image is None else first_layer(image, str(contents.path))
    for entry in ("name", "comments"):
        text = contents.text(entry)
        if text:
            found.metadata[entry] = text
    for entry in _PRODUCT_NUMBERS:
        number = contents.attribute(entry)
        if number:
            found.metadata[entry] = number
    _read_optics(contents, found)
    _read_positions(contents, found)
    if found.object is not None and not found.object.size:
        found.object = None


def _read_positions(contents: Contents, found: Gathered) -> None:
    indexes, x, y = (contents.array(name) for name in _POSITIONS)
    if indexes is None or x is None or y is None:
        return
    found.position_index = whole_numbers(indexes, _POSITIONS[0], contents)
    real = {x.dtype.kind, y.dtype.kind} <= {*"iuf"}
    if not (real and x.ndim == 1 and x.shape == y.shape == indexes.shape):
        contents.report(
            f"{', '.join(_POSITIONS)}: expected real numbers of one length, got shapes {indexes.shape}, "
            f"{x.shape} and {y.shape}"
        )
        return
    pixel = _object_pixel(contents, found)
    if pixel is None or found.object is None or found.object.ndim != 2:
        return
    y_m, x_m = (contents.attribute(name, "object") for name in ("center_y_m", "center_x_m"))
    if y_m is None or x_m is None:
        contents.report("object: attributes center_x_m and center_y_m are missing; they place the positions")
        return
    shape = (found.object.shape[0], found.object.shape[1])
    found.metadata |= zero_entries(pixel, (y_m, x_m), shape)
    found.positions = positions_from_metres(
        y.astype(np.float64),
        x.astype(np.float64),
        pixel_m=pixel,
        centre_m=(y_m, x_m),
        shape=shape,
        problems=found.problems,
    )


def _read_optics(contents: Contents, found: Gathered) -> None:
    distance = contents.attribute(DISTANCE)
    name = ENERGY if ENERGY in contents.file.attrs else _OLD_ENERGY
    energy = check_energy(contents.attribute(name), name, found.problems)
    if distance:
        found.metadata[DISTANCE] = abs(distance)
    if energy is not None:
        found.metadata[ENERGY] = energy


def _object_pixel(contents: Contents, found: Gathered) -> Pair | None:
    """Object pixel as stated, else as detector, energy and distance make it."""
    names = ("pixel_height_m", "pixel_width_m")
    stated = [_positive(contents.attribute(n, "object"), f"object: attribute {n}", contents) for n in names]
    known = {
        name: found.metadata[name] for name in (ENERGY, DISTANCE, *DETECTOR_PIXEL) if name in found.metadata
    }
    size = None if found.frames is None else (found.frames.shape[1], found.frames.shape[2])
    complete = len(known) == 4 and size is not None and "focus_object_distance_m" not in found.metadata
    optics = {"energy_eV": known.get(ENERGY, 0.0), "distance_m": known.get(DISTANCE, 0.0)}
    if stated[0] is not None and stated[1] is not None:
        pixel = (stated[0], stated[1])
        if complete and size is not None:
            detector = (known[DETECTOR_PIXEL[0]], known[DETECTOR_PIXEL[1]])
            check_pixel(pixel, detector, size, **optics)
        return pixel
    if complete and size is not None:
        y, x = (conjugate_pixel_m(known[d], n, **optics) for d, n in zip(DETECTOR_PIXEL, size, strict=True))
        return y, x
    missing = [name for name in (ENERGY, DISTANCE, *DETECTOR_PIXEL) if name not in known]
    contents.report(
        "object: attributes pixel_width_m and pixel_height_m are missing, and the pixel size cannot be "
        f"computed without {', '.join(missing) or 'parallel illumination'}"
    )
    return None


def read_pair(
    diffraction: str | PathLike[str],
    product: str | PathLike[str],
    *,
    measurement_domain: str = "auto",
    N: int | None = None,
    progress: Progress | None = None,
) -> Scan:
    """Scan of a pair of files, frames left in theirs.

    Parameters
    ----------
    diffraction, product
        The two files. Frames and positions are paired by their numbers, see
        `ptycho_torch.data.hdf5.gathered.pair_by_index`.
    measurement_domain, N, progress
        As for `ptycho_torch.data.opening.open_scan`.

    Raises
    ------
    FileNotFoundError
        A file does not exist.
    DataError
        With every problem of both files.
    """
    first, second = Path(diffraction), Path(product)
    found = Gathered(source=first, names=_PAIR_NAMES)
    with opened(first) as file:
        _read_diffraction(Contents(file, found.problems, first.name), found)
    with opened(second) as file:
        contents = Contents(file, found.problems, second.name)
        _read_product(contents, found)
        found.own = read_own(contents)
    return found.scan(measurement_domain=measurement_domain, N=N, progress=progress)


def read_training(
    path: str | PathLike[str],
    *,
    measurement_domain: str = "auto",
    N: int | None = None,
    progress: Progress | None = None,
) -> Scan:
    """Scan of a training file, whose positions are object pixels; frames left in the file.

    Parameters
    ----------
    path, measurement_domain, N, progress
        As for `ptycho_torch.data.opening.open_scan`.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    DataError
        With every problem of the file.
    """
    found = Gathered(source=Path(path), names=_TRAINING_NAMES)
    with opened(path) as file:
        contents = Contents(file, found.problems)
        contents.require("patterns", "probe", "probe_position_x_px", "probe_position_y_px")
        found.frames = contents.frames("patterns")
        found.bad_pixels = contents.array("bad_pixels")
        probe, image = contents.array("probe"), contents.array("object")
        found.probe = None if probe is None else canonical_modes(probe, str(path))
        found.object = None if image is None else first_layer(image, str(path))
        x, y = contents.array("probe_position_x_px"), contents.array("probe_position_y_px")
        if x is not None and y is not None:
            if x.ndim == 1 and x.shape == y.shape and {x.dtype.kind, y.dtype.kind} <= {*"iuf"}:
                found.positions = np.stack([y, x], axis=1).astype(np.float64)
            else:
                contents.report(
                    "probe_position_x_px, probe_position_y_px: expected real numbers of one length, got "
                    f"shapes {x.shape} and {y.shape}"
                )
        _training_geometry(contents, found)
        found.own = read_own(contents)
    return found.scan(measurement_domain=measurement_domain, N=N, progress=progress)


def _training_geometry(contents: Contents, found: Gathered) -> None:
    """Geometry of the file; the detector pixel is not stored, but follows from the object pixel."""
    names = ("object_pixel_height_m", "object_pixel_width_m")
    pixel = [_positive(contents.number(name), name, contents) for name in names]
    distance = contents.number(DISTANCE)
    energy = check_energy(contents.number(ENERGY), ENERGY, found.problems)
    if distance:
        found.metadata[DISTANCE] = abs(distance)
    if energy is not None:
        found.metadata[ENERGY] = energy
    if pixel[0] is None or pixel[1] is None:
        return
    shape = (1, 1) if found.object is None or found.object.ndim != 2 else found.object.shape
    found.metadata |= zero_entries((pixel[0], pixel[1]), (0.0, 0.0), (shape[0], shape[1]))
    if distance and energy is not None and found.frames is not None:
        for name, value, size in zip(DETECTOR_PIXEL, pixel, found.frames.shape[1:], strict=True):
            if value is not None:
                found.metadata[name] = conjugate_pixel_m(value, size, energy_eV=energy, distance_m=distance)


def numbers_to_write(scan: Scan) -> npt.NDArray[np.int64]:
    """Frame numbers that pair frames and positions: those of the scan where they tell its frames apart."""
    numbers = scan.frame_index
    distinct = len(np.unique(numbers)) == len(numbers) and bool((numbers >= 0).all())
    return numbers if distinct else np.arange(scan.n_frames)


def _mask(scan: Scan) -> npt.NDArray[np.bool_]:
    return np.zeros((scan.N, scan.N), dtype=np.bool_) if scan.bad_pixels is None else scan.bad_pixels


def write_pair(directory: str | PathLike[str], scan: Scan, *, progress: Progress | None = None) -> None:
    """Write ``diffraction.h5`` and ``product.h5``, in counts and metres.

    Parameters
    ----------
    directory
        Directory that exists. Each file is complete or not there; both appear when both are complete.
    scan
        With photon energy, distance and detector pixels in its metadata.
    progress
        Called with frames written and frames in all.

    Raises
    ------
    DataError
        The metadata lack what it takes to say positions in metres.
    """
    folder = Path(directory)
    geometry = ScanGeometry.from_entries(scan.metadata, scan.N)
    with atomic_path(folder / DIFFRACTION_NAME) as one, atomic_path(folder / PRODUCT_NAME) as other:
        with h5py.File(other, "w") as file:
            write_product(file, scan, geometry, numbers_to_write(scan))
            write_own(file, scan)
        with h5py.File(one, "w") as file:
            file.create_dataset("indexes", data=numbers_to_write(scan))
            patterns = create_frames(file, "patterns", scan.diffraction, progress=progress)
            for name, value in zip(DETECTOR_PIXEL, geometry.detector_pixel_m, strict=True):
                patterns.attrs[name] = value
            file.create_dataset("bad_pixels", data=_mask(scan), compression="lzf")


def write_training(path: str | PathLike[str], scan: Scan, *, progress: Progress | None = None) -> None:
    """Write a training file, in counts and object pixels; complete or not at all.

    Parameters
    ----------
    path
        File to create or replace.
    scan, progress
        As for `write_pair`.

    Raises
    ------
    DataError
        The metadata lack photon energy, distance or pixel sizes, which the layout requires.
    """
    geometry = ScanGeometry.from_entries(scan.metadata, scan.N)
    image, origin = placeholder_object(scan)
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        file.create_dataset("probe", data=scan.probe, compression="lzf")
        file.create_dataset("object", data=image, compression="lzf")
        file.create_dataset("bad_pixels", data=_mask(scan), compression="lzf")
        for column, axis in enumerate("yx"):
            file.create_dataset(f"probe_position_{axis}_px", data=scan.positions[:, column] + origin[column])
        for name, value in zip(("height", "width"), geometry.object_pixel_m, strict=True):
            file.create_dataset(f"object_pixel_{name}_m", data=value)
        file.create_dataset(DISTANCE, data=geometry.distance_m)
        file.create_dataset(ENERGY, data=geometry.energy_eV)
        write_own(file, scan)
        create_frames(file, "patterns", scan.diffraction, progress=progress)
