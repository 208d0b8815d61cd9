"""Beam and detector as files state them: energies, wavelengths and axes must not contradict each other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ptycho_torch.data.hdf5.files import Contents
from ptycho_torch.data.hdf5.positions import (
    check_energy,
    check_pixel,
    positions_from_metres,
    zero_entries,
)
from ptycho_torch.data.hdf5.units import scale_of, stated_unit
from ptycho_torch.data.scan.geometry import (
    DETECTOR_PIXEL,
    DISTANCE,
    ENERGY,
    OBJECT_PIXEL,
    Pair,
    ScanGeometry,
    electron_wavelength_m,
    energy_eV_of_wavelength,
    finite_number,
    wavelength_m,
)
from ptycho_torch.errors import Fault, MissingMetadata, fault

if TYPE_CHECKING:
    from ptycho_torch.data.hdf5.gathered import Gathered

__all__ = ["object_pixel", "place", "read_axes", "read_beam", "read_lengths"]

_RING_eV = (1e8, 1e12)
"""Energies between are those of electrons in a storage ring: nobody images with photons of this energy."""

_PHOTON_eV = (1.0, 1e6)
"""Energies of the photons that somebody images with."""

_SAME = 0.01
_TILTED = 0.02
_PIXEL_DIFFERS = 0.01
_UNIT_VECTOR = 0.5


def read_beam(
    contents: Contents,
    found: Gathered,
    *,
    energies: Sequence[str],
    wavelengths: Sequence[str] = (),
    particle: str = "",
    default: str = "J",
) -> None:
    """Photon energy, from every dataset that states it or the wavelength; those that contradict are refused.

    Electrons are given the energy of photons of their wavelength, with a remark, because only the wavelength
    matters.

    Parameters
    ----------
    contents, found
        The file, and where the energy is put.
    energies, wavelengths
        Datasets, those that are believed first at the front. An energy of a storage ring is passed over.
    particle
        Dataset with the name of what shines.
    default
        Unit of an energy without one. Where that is J, numbers that no photon has in joules are in eV or keV.
    """
    if ENERGY in found.metadata:
        return
    said = contents.string(particle) if particle else None
    are_electrons = found.parts.particle == "electron" or "electron" in (said or "").lower()
    lengths_m = _wavelengths(contents, wavelengths)
    stated_eV = _energies(contents, found, energies, default, lengths_m)
    if stated_eV and lengths_m and not are_electrons:
        energy, length = stated_eV[0][1], lengths_m[0][1]
        are_electrons = not _alike(wavelength_m(energy), length) and _alike(
            electron_wavelength_m(energy), length
        )
    if are_electrons:
        as_photons = [
            (name, energy_eV_of_wavelength(electron_wavelength_m(value))) for name, value in stated_eV
        ]
    else:
        as_photons = stated_eV
    as_photons = [*as_photons, *((name, energy_eV_of_wavelength(value)) for name, value in lengths_m)]
    if not as_photons:
        return
    first, energy = as_photons[0]
    for name, other in as_photons[1:]:
        if not _alike(energy, other):
            contents.report(
                Fault(
                    f"{first} and {name} contradict each other: {energy:.5g} eV and {other:.5g} eV as the "
                    f"energy of "
                    f"photons, {wavelength_m(energy):.4g} m and {wavelength_m(other):.4g} m as their "
                    f"wavelength; correct one",
                    f"{first}, {name}",
                )
            )
            return
    if are_electrons:
        found.remarks.append(
            f"the beam is of electrons with a wavelength of {wavelength_m(energy):.4g} m; {ENERGY} is that "
            f"of photons "
            f"of this wavelength, {energy:.6g} eV"
        )
    found.metadata[ENERGY] = energy


def _alike(one: float, other: float) -> bool:
    return abs(one / other - 1) <= _SAME


def _energies(
    contents: Contents,
    found: Gathered,
    names: Sequence[str],
    default: str,
    lengths_m: Sequence[tuple[str, float]],
) -> list[tuple[str, float]]:
    result: list[tuple[str, float]] = []
    unsure: dict[str, float] = {}
    for name in names:
        data = contents.dataset(name)
        if data is not None and default == "J" and stated_unit(data) is None:
            number = contents.quantity(name, "eV", "eV")
            if number is not None:
                unsure[name] = number
            continue
        value = contents.quantity(name, "eV", default)
        if value is None or _RING_eV[0] <= value < _RING_eV[1]:
            continue
        if check_energy(value, name, found.problems) is not None:
            result.append((name, value))
    for name, number in unsure.items():
        known = [energy for _, energy in result] + [
            energy_eV_of_wavelength(length) for _, length in lengths_m
        ]
        value = _without_unit(contents, found, name, number, known)
        if value is not None:
            result.append((name, value))
    return sorted(result, key=lambda item: names.index(item[0]))


def _without_unit(
    contents: Contents, found: Gathered, name: str, number: float, known: Sequence[float]
) -> float | None:
    """Energy of photons, eV, of a number without a unit: joules by the layout, if that can be.

    A number that no photon has in joules is in eV or keV, whichever can be or agrees with what is known. None
    where it is the energy of a ring, or with a problem.
    """
    readings = {unit: number * (scale_of(unit, "eV") or 1.0) for unit in ("J", "eV", "keV", "GeV")}
    photons = {unit: value for unit, value in readings.items() if _PHOTON_eV[0] <= value < _PHOTON_eV[1]}
    if "J" in photons:
        return photons["J"]
    agreeing = [unit for unit, value in photons.items() if any(_alike(value, other) for other in known)]
    if agreeing or len(photons) == 1:
        unit = agreeing[0] if agreeing else next(iter(photons))
        said = f"{number:g} without a unit is taken as {unit}, because no photon has it in joules"
        found.remarks.append(f"{name}: {said}")
        return photons[unit]
    if any(_RING_eV[0] <= value < _RING_eV[1] for value in readings.values()) and (known or not photons):
        return None
    said = f"an energy of {number:g} without a unit, which is no photon's in joules"
    contents.report(fault(name, f"{said}; state eV, keV or J in an attribute units"))
    return None


def _wavelengths(contents: Contents, names: Sequence[str]) -> list[tuple[str, float]]:
    result = []
    for name in names:
        value = contents.quantity(name, "m")
        if value is None:
            continue
        if math.isfinite(value) and 1e-13 < value < 1e-3:
            result.append((name, value))
        else:
            contents.report(fault(name, f"a wavelength of {value:g} m; state its unit in an attribute units"))
    return result


def read_lengths(
    contents: Contents, found: Gathered, *, distance: str, pixel_y: str, pixel_x: str, corner: str = ""
) -> None:
    """Distance and detector pixels, where an earlier file has not stated them; m.

    One pixel size that is stated alone is that of both axes. Without a distance, that of the ``corner`` of
    the detector along the beam is taken.
    """
    lengths = {DISTANCE: distance, DETECTOR_PIXEL[0]: pixel_y, DETECTOR_PIXEL[1]: pixel_x}
    for entry, name in lengths.items():
        value = contents.quantity(name, "m")
        if value is None or entry in found.metadata:
            continue
        if np.isfinite(value) and value != 0:
            found.metadata[entry] = abs(value)
        else:
            contents.report(fault(name, f"expected a positive length in metres, got {value:g}; correct it"))
    stated = [found.metadata.get(entry) for entry in DETECTOR_PIXEL]
    for entry, other in zip(DETECTOR_PIXEL, reversed(stated), strict=True):
        if entry not in found.metadata and other is not None:
            found.metadata[entry] = other
    place = contents.quantities(corner, "m") if corner and DISTANCE not in found.metadata else None
    if place is not None and place.size == 3 and np.isfinite(place).all() and place.reshape(-1)[2]:
        found.metadata[DISTANCE] = abs(float(place.reshape(-1)[2]))


def read_axes(contents: Contents, found: Gathered, name: str) -> npt.NDArray[np.float64] | None:
    """From the place of the sample to the place of the beam on it, along rows and columns of the detector.

    The first vector points from row to row, the second from column to column, in the coordinates of the
    sample: z along the beam, y up. A detector that is mounted straight has its rows along -y and its columns
    along -x, and where the sample is moved to +x, the beam meets it at -x; so this is the unit matrix for
    such a detector.

    Returns
    -------
    matrix or None
        (2, 2), from ``[y, x]`` to ``[row, column]``; None where the file states no axes.
    """
    values = contents.quantities(name, "m")
    if values is None:
        return None
    vectors = _two_vectors(values)
    if vectors is None:
        contents.report(
            fault(
                name,
                f"expected two vectors of shape (2, 3), the same for all frames, got {values.shape}; "
                "correct them, or leave them out",
            )
        )
        return None
    lengths = np.linalg.norm(vectors, axis=1)
    if not np.isfinite(vectors).all() or not (lengths > 0).all():
        contents.report(
            fault(
                name,
                f"expected two vectors with a direction, got {vectors.tolist()}; "
                "correct them, or leave them out",
            )
        )
        return None
    axes = vectors / lengths[:, None]
    if np.abs(axes[:, 2]).max() > _TILTED or abs(axes[0] @ axes[1]) > _TILTED:
        contents.report(
            fault(
                name,
                f"the detector is tilted against the beam, or its axes are not at a right angle "
                f"({np.round(axes, 3).tolist()}); bring such frames to a straight detector first",
            )
        )
        return None
    _compare_lengths(contents, found, name, lengths)
    # Rows of the result: slow and fast axis; columns: y and x.
    matrix = -axes[:, [1, 0]]
    if not np.allclose(matrix, np.eye(2), atol=_TILTED):
        how = "mirrored" if np.linalg.det(matrix) < 0 else "turned"
        found.remarks.append(
            f"{name}: the detector is mounted {how}; the positions are taken along its rows and columns"
        )
    return matrix


def _two_vectors(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64] | None:
    if values.ndim == 3 and len(values):
        if not np.allclose(values, values[:1], rtol=1e-6, atol=0):
            return None
        values = values[0]
    if values.shape == (3, 2):
        values = values.T
    return values if values.shape == (2, 3) else None


def _compare_lengths(
    contents: Contents, found: Gathered, name: str, lengths: npt.NDArray[np.float64]
) -> None:
    """The lengths of the vectors are those of a pixel; vectors of length one are directions alone."""
    for entry, length in zip(DETECTOR_PIXEL, lengths.tolist(), strict=True):
        if length > _UNIT_VECTOR:
            continue
        stated = found.metadata.setdefault(entry, length)
        if abs(length / stated - 1) > _PIXEL_DIFFERS:
            contents.report(
                fault(
                    name,
                    f"a pixel of {length:.4g} m, but {entry} is stated as {stated:.4g} m; correct one "
                    f"of them",
                )
            )


def place(found: Gathered, places_m: npt.NDArray[np.float64]) -> None:
    """Positions in pixels from those in metres, (n, 2) ``[y, x]``, by the geometry that was found.

    Coordinate zero is put into the middle of the scan.
    """
    pixel = None if found.frames is None else object_pixel(found, found.frames.shape[1:])
    if pixel is None:
        return
    real = places_m[np.isfinite(places_m).all(axis=1)]
    middle = (real.min(axis=0) + real.max(axis=0)) / 2 if len(real) else np.zeros(2)
    centre = (float(middle[0]), float(middle[1]))
    found.metadata |= zero_entries(pixel, centre, (1, 1))
    found.positions = positions_from_metres(
        places_m[:, 0], places_m[:, 1], pixel_m=pixel, centre_m=centre, shape=(1, 1)
    )


def object_pixel(found: Gathered, shape: tuple[int, int]) -> Pair | None:
    """Edge ``(y, x)`` of an object pixel, m: as it is stated, else from the optics; None with problems.

    Parameters
    ----------
    found
        With what is known of the geometry in its metadata.
    shape
        ``(H, W)`` of the frames.
    """
    y, x = (finite_number(found.metadata.get(name)) for name in OBJECT_PIXEL)
    try:
        geometry = ScanGeometry.from_entries(found.metadata, shape[0])
    except MissingMetadata as error:
        if y is not None and x is not None and min(y, x) > 0:
            return y, x
        found.problems.extend(error.problems)
        return None
    if y is not None and x is not None:
        optics = {"energy_eV": geometry.energy_eV, "distance_m": geometry.distance_m}
        check_pixel(
            geometry.object_pixel_m,
            geometry.detector_pixel_m,
            shape,
            found.remarks,
            metadata=found.metadata,
            **optics,
        )
    return geometry.object_pixel_m
