"""Write products in the layout of ptychodus: object, probe and positions in metres."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import numpy.typing as npt

from ptycho_torch.data.hdf5.writing import new_file
from ptycho_torch.data.scan.contract import Scan
from ptycho_torch.data.scan.geometry import (
    DISTANCE,
    ENERGY,
    FAR_FIELD,
    FOCUS,
    ScanGeometry,
    finite_number,
    is_near_field,
)
from ptycho_torch.errors import Fault, MissingMetadata, ShapeError

if TYPE_CHECKING:
    from ptycho_torch.reassembly import StitchedObject

__all__ = ["check_product_metadata", "placeholder_object", "save_product", "write_product"]

_NUMBERS = ("exposure_time_s", "mass_attenuation_m2_per_kg", "tomography_angle_deg", "tilt_angle_deg")
_PHOTONS = ("probe_photon_count", "nphotons")


def check_product_metadata(metadata: Mapping[str, Any], n_pixels: int) -> ScanGeometry:
    """Geometry of a product, if the metadata of a scan have all that a product says, and rightly.

    An entry that is null counts as left out.

    Parameters
    ----------
    metadata
        Of the scan.
    n_pixels
        Edge of the frames; px.

    Raises
    ------
    MissingMetadata
        With every entry that is missing or not of its kind.
    """
    problems = {
        entry: Fault(f"metadata: {entry} is {metadata[entry]!r}, expected a number; correct it", entry)
        for entry in (*_NUMBERS, *_PHOTONS, FOCUS)
        if metadata.get(entry) is not None and finite_number(metadata[entry]) is None
    }
    try:
        geometry = ScanGeometry.from_entries(metadata, n_pixels)
    except MissingMetadata as error:
        raise MissingMetadata(
            (*error.problems, *problems.values()), entries=(*error.entries, *problems)
        ) from error
    if problems:
        raise MissingMetadata(problems.values(), entries=problems)
    return geometry


def _number(metadata: Mapping[str, Any], *entries: str) -> float:
    """The first of some entries that says something; 0 if none does."""
    stated = (metadata[entry] for entry in entries if metadata.get(entry) is not None)
    return finite_number(next(stated, 0.0)) or 0.0


def _text(metadata: Mapping[str, Any], entry: str, default: str) -> str:
    """Text as HDF5 can hold it: without null characters and lone surrogates."""
    value = metadata.get(entry)
    text = default if value is None else str(value)
    return text.replace("\0", " ").encode("utf-8", "replace").decode("utf-8")


def placeholder_object(scan: Scan) -> tuple[npt.NDArray[np.complex64], npt.NDArray[np.float64]]:
    """Object of a scan and its origin; where there is none, empty space that holds every patch.

    Returns
    -------
    object, origin
        (H, W) complex64, and (2,) ``[y, x]``: array index = coordinate + origin.
    """
    if scan.object_truth is not None:
        return scan.object_truth, scan.object_truth_origin
    low = np.floor(scan.positions.min(axis=0)).astype(int) - scan.N // 2
    high = np.ceil(scan.positions.max(axis=0)).astype(int) - scan.N // 2 + scan.N
    height, width = (high - low).tolist()
    return np.ones((height, width), dtype=np.complex64), -low.astype(np.float64)


def _write(
    file: h5py.File,
    *,
    image: npt.NDArray[Any],
    origin: npt.NDArray[np.float64],
    probe: npt.NDArray[Any],
    positions: npt.NDArray[np.float64],
    indexes: npt.NDArray[np.int64],
    geometry: ScanGeometry,
    metadata: Mapping[str, Any],
    losses: Sequence[float],
    name: str,
) -> None:
    file.attrs["name"] = _text(metadata, "name", name)
    file.attrs["comments"] = _text(metadata, "comments", "")
    file.attrs[DISTANCE] = geometry.distance_m
    file.attrs[ENERGY] = geometry.energy_eV
    for entry in _NUMBERS:
        file.attrs[entry] = _number(metadata, entry)
    file.attrs["probe_photon_count"] = _number(metadata, *_PHOTONS)
    if metadata.get(FOCUS) is not None:
        file.attrs[FOCUS] = _number(metadata, FOCUS)
    if is_near_field(metadata):
        file.attrs[FAR_FIELD] = False
    file.create_dataset("probe_position_indexes", data=indexes)
    y, x = geometry.middles_m(positions, probe.shape[-1]).T
    file.create_dataset("probe_position_x_m", data=x)
    file.create_dataset("probe_position_y_m", data=y)
    stored_probe = file.create_dataset("probe", data=probe[None])
    stored_object = file.create_dataset("object", data=image[None])
    for stored in (stored_probe, stored_object):
        stored.attrs["pixel_height_m"], stored.attrs["pixel_width_m"] = geometry.object_pixel_m
    centre = geometry.centre_m((image.shape[0], image.shape[1]), origin)
    stored_object.attrs["center_y_m"], stored_object.attrs["center_x_m"] = centre
    file.create_dataset("object_layer_spacing_m", data=np.zeros(0))
    file.create_dataset("loss_values", data=np.asarray(losses, dtype=np.float64))
    file.create_dataset("loss_epochs", data=np.arange(len(losses)))


def write_product(
    file: h5py.File, scan: Scan, geometry: ScanGeometry, indexes: npt.NDArray[np.int64]
) -> None:
    """Write probe, positions and object of a scan into an open file.

    Parameters
    ----------
    file
        Open for writing, empty.
    scan
        The scan; without an object, empty space is written.
    geometry
        Of the scan.
    indexes
        int64, ``(n,)``: numbers of the frames.

    Raises
    ------
    MissingMetadata
        An entry of the metadata that a product has room for is of another kind.
    """
    check_product_metadata(scan.metadata, scan.N)
    image, origin = placeholder_object(scan)
    _write(
        file,
        image=image,
        origin=origin,
        probe=scan.probe,
        positions=scan.positions,
        indexes=indexes,
        geometry=geometry,
        metadata=scan.metadata,
        losses=(),
        name=scan.source.stem if scan.source is not None else "scan",
    )


def save_product(
    path: str | PathLike[str],
    reconstruction: StitchedObject,
    *,
    probe: npt.NDArray[Any],
    positions: npt.NDArray[np.float64],
    metadata: Mapping[str, Any],
    frame_index: npt.NDArray[np.int64] | None = None,
    losses: Sequence[float] = (),
    others: Mapping[str, npt.NDArray[Any] | float] | None = None,
) -> None:
    """Write a reconstruction as a product that ptychodus opens; complete or not at all.

    Parameters
    ----------
    path
        File to create or replace, ``reconstruction.h5`` for example.
    reconstruction
        Object and its origin.
    probe
        (P, N, N) complex.
    positions
        (n, 2) ``[y, x]``; px.
    metadata
        Of the scan: photon energy, distance, detector pixels, where known object pixels and where coordinate
        zero lies (`ptycho_torch.data.scan.geometry.GEOMETRY_ENTRIES`), and what else a product has room for.
    frame_index
        int64, ``(n,)``: numbers of the frames in the measurement; 0 to n - 1 when left out.
    losses
        Loss of each epoch.
    others
        Further results, an array or a number each, which are written under their names into the group
        ``ptycho_torch``, beside the weight.

    Raises
    ------
    MissingMetadata
        The metadata lack what it takes to say positions in metres, or a number there is none; nothing is
        written.
    ShapeError
        Probe or positions have another shape.
    """
    if probe.ndim != 3:
        hint = "add a leading mode axis with probe[None]" if probe.ndim == 2 else ""
        raise ShapeError("probe", "(modes, N, N)", probe.shape, hint)
    if positions.ndim != 2 or positions.shape[1] != 2:
        raise ShapeError("positions", "(n, 2)", positions.shape)
    if frame_index is not None and frame_index.shape != (len(positions),):
        raise ShapeError("frame_index", (len(positions),), frame_index.shape, "one number per position")
    try:
        geometry = check_product_metadata(metadata, probe.shape[-1])
    except MissingMetadata as error:
        raise MissingMetadata(error.problems, path, error.entries) from error
    with new_file(path) as new:
        _write(
            new.root,
            image=np.asarray(reconstruction.object),
            origin=np.asarray(reconstruction.origin),
            probe=probe,
            positions=positions,
            indexes=np.arange(len(positions)) if frame_index is None else frame_index,
            geometry=geometry,
            metadata=metadata,
            losses=losses,
            name=Path(path).stem,
        )
        new.root.create_dataset(
            "ptycho_torch/weight", data=np.asarray(reconstruction.weight), compression="lzf"
        )
        for name, value in (others or {}).items():
            new.root.create_dataset(f"ptycho_torch/{name}", data=value)
