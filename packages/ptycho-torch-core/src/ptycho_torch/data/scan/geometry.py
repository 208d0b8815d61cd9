"""Metres and pixels of a scan.

In the far field an object pixel is ``wavelength * distance / (N * detector_pixel)`` wide, the sampling of a
discrete Fourier transform between detector and sample. The relation is its own inverse. In the near field
(`ptycho_torch.data.scan.near_field`) it is a detector pixel over the magnification.

What is known of the geometry travels in the metadata of a scan under the names of `GEOMETRY_ENTRIES`, so it
survives every file format. Pairs are ``(y, x)``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
import numpy.typing as npt

from ptycho_torch.errors import Fault, MissingMetadata

__all__ = [
    "GEOMETRY_ENTRIES",
    "NEEDED_ENTRIES",
    "ScanGeometry",
    "beyond_middle",
    "conjugate_pixel_m",
    "electron_wavelength_m",
    "energy_eV_of_wavelength",
    "energy_joule_from_eV",
    "finite_number",
    "is_near_field",
    "magnification",
    "object_pixels_m",
    "rescaled_entries",
    "wavelength_m",
]

Pair = tuple[float, float]

_PLANCK_J_S = 6.62607015e-34
_LIGHT_M_PER_S = 299792458.0
_ELECTRONVOLT_J = 1.602176634e-19
_ELECTRON_REST_eV = 510998.95
_LARGEST = 1e15
"""Energies, distances and pixels beyond, or below the reciprocal, are those of no measurement."""

ENERGY, DISTANCE = "photon_energy_eV", "detector_object_distance_m"
DETECTOR_PIXEL = ("detector_pixel_height_m", "detector_pixel_width_m")
OBJECT_PIXEL = ("object_pixel_height_m", "object_pixel_width_m")
ZERO = ("coordinate_zero_y_m", "coordinate_zero_x_m")
FAR_FIELD = "far_field"
"""Metadata entry: false where the detector is in the near field."""
FOCUS = "focus_object_distance_m"
"""Metadata entry: where the focus of the beam lies along it, from the sample on: negative before it."""

NEEDED_ENTRIES = (ENERGY, DISTANCE, *DETECTOR_PIXEL)
"""Metadata entries without which nothing can be said in metres."""

GEOMETRY_ENTRIES = (ENERGY, DISTANCE, *DETECTOR_PIXEL, *OBJECT_PIXEL, *ZERO)
"""Metadata entries; the last two are where pixel coordinate zero lies."""


def beyond_middle(n_pixels: int) -> float:
    """From the middle of a patch, ``(N - 1) / 2``, to pixel ``N // 2``; px. Half a pixel for even ``N``.

    A position names pixel ``N // 2`` in this program, and the middle in ptychodus and in every file that says
    positions in metres.
    """
    return n_pixels // 2 - (n_pixels - 1) / 2


def wavelength_m(energy_eV: float) -> float:
    """Wavelength of photons of ``energy_eV``, ``h c / E``; m."""
    return _PLANCK_J_S * _LIGHT_M_PER_S / (energy_eV * _ELECTRONVOLT_J)


def energy_eV_of_wavelength(length_m: float) -> float:
    """Energy of photons of a wavelength; eV."""
    return _PLANCK_J_S * _LIGHT_M_PER_S / (length_m * _ELECTRONVOLT_J)


def electron_wavelength_m(energy_eV: float) -> float:
    """Wavelength of electrons of a kinetic energy, ``h c / sqrt(E (E + 2 m c^2))``; m."""
    momentum_eV = math.sqrt(energy_eV * (energy_eV + 2 * _ELECTRON_REST_eV))
    return wavelength_m(momentum_eV)


def energy_joule_from_eV(energy_eV: float) -> float:
    """Energy in joules."""
    return energy_eV * _ELECTRONVOLT_J


def energy_eV_from_joule(energy_J: float) -> float:
    """Energy in electronvolts."""
    return energy_J / _ELECTRONVOLT_J


def conjugate_pixel_m(pixel_m: float, n_pixels: int, *, energy_eV: float, distance_m: float) -> float:
    """Pixel of the sample plane from that of the detector, or the other way round; m.

    Parameters
    ----------
    pixel_m
        Pixel of one plane; m.
    n_pixels
        Pixels along the axis.
    energy_eV, distance_m
        Photon energy and distance between sample and detector.
    """
    return wavelength_m(energy_eV) * abs(distance_m) / (n_pixels * pixel_m)


def is_near_field(metadata: Mapping[str, Any]) -> bool:
    """Whether metadata of a scan say that its detector is in the near field."""
    stated = metadata.get(FAR_FIELD)
    return stated is not None and not bool(stated)


def magnification(metadata: Mapping[str, Any]) -> float:
    """Magnification of a cone beam, ``1 - distance / focus``, with the focus from the sample on; one without.

    Parameters
    ----------
    metadata
        Of a scan in the near field, with its distance.

    Raises
    ------
    MissingMetadata
        The place of the focus is no number, or between sample and detector, where the image turns over.
    """
    focus = metadata.get(FOCUS) or 0.0
    at = _coordinate(focus)
    distance = float(metadata[DISTANCE])
    if at == 0:
        return 1.0
    if at is None or 0 < at <= distance:
        said = f"metadata: {FOCUS} is {focus!r}; expected the place of the focus from the sample on, negative"
        hint = "before the sample, or zero for a parallel beam"
        raise MissingMetadata([Fault(f"{said} {hint}", FOCUS)], entries=[FOCUS])
    return 1.0 - distance / at


def object_pixels_m(
    metadata: Mapping[str, Any],
    detector_pixel_m: Pair,
    shape: Sequence[int],
    *,
    energy_eV: float,
    distance_m: float,
) -> Pair:
    """Edge of an object pixel, ``(y, x)``, that follows from the optics; m.

    Parameters
    ----------
    metadata
        Of the scan: whether it is in the near field, and where the focus is.
    detector_pixel_m
        ``(y, x)``.
    shape
        ``(H, W)`` of the frames.
    energy_eV, distance_m
        Photon energy, and distance between sample and detector.

    Raises
    ------
    MissingMetadata
        As for `magnification`.
    """
    if is_near_field(metadata):
        factor = magnification({**metadata, DISTANCE: abs(distance_m)})
        y, x = (pixel / factor for pixel in detector_pixel_m)
    else:
        y, x = (
            conjugate_pixel_m(pixel, n, energy_eV=energy_eV, distance_m=distance_m)
            for pixel, n in zip(detector_pixel_m, shape, strict=True)
        )
    return y, x


@dataclass(frozen=True, kw_only=True, slots=True)
class ScanGeometry:
    """Everything that is needed to say in metres what a scan says in pixels.

    Attributes
    ----------
    energy_eV
        Photon energy.
    distance_m
        From sample to detector.
    detector_pixel_m, object_pixel_m
        ``(y, x)``.
    zero_m
        ``(y, x)``: where pixel coordinate zero lies.
    """

    energy_eV: float
    distance_m: float
    detector_pixel_m: Pair
    object_pixel_m: Pair
    zero_m: Pair = (0.0, 0.0)

    def to_metres(self, coordinates: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Coordinates (n, 2) ``[y, x]`` in metres from object pixels."""
        return coordinates * np.asarray(self.object_pixel_m) + np.asarray(self.zero_m)

    def middles_m(self, positions: npt.NDArray[np.float64], n_pixels: int) -> npt.NDArray[np.float64]:
        """Where the middles of patches lie, (n, 2) ``[y, x]``; m.

        Parameters
        ----------
        positions
            (n, 2) ``[y, x]``, of pixel ``N // 2`` of each patch; px.
        n_pixels
            Edge ``N`` of the patches.
        """
        return self.to_metres(positions - beyond_middle(n_pixels))

    def centre_m(self, shape: tuple[int, int], origin: npt.NDArray[np.float64]) -> Pair:
        """``(y, x)`` of the centre of an object array whose index is coordinate + ``origin``; m."""
        index = (np.asarray(shape, dtype=np.float64) - 1) / 2
        y, x = self.to_metres((index - origin)[None])[0]
        return float(y), float(x)

    def entries(self) -> dict[str, float]:
        """As metadata."""
        values = (
            self.energy_eV,
            self.distance_m,
            *self.detector_pixel_m,
            *self.object_pixel_m,
            *self.zero_m,
        )
        return {name: float(value) for name, value in zip(GEOMETRY_ENTRIES, values, strict=True)}

    @classmethod
    def from_entries(
        cls,
        metadata: Mapping[str, Any],
        n_pixels: int,
        *,
        why: str = "this format stores lengths in metres",
    ) -> ScanGeometry:
        """Geometry that the metadata of a scan tell, the object pixels from the detector's where left out.

        Parameters
        ----------
        metadata
            Of the scan.
        n_pixels
            Edge of the frames; px.
        why
            What an entry is needed for, as the end of a sentence.

        Raises
        ------
        MissingMetadata
            With every entry that is missing or no positive number, and a coordinate zero that is no number.
        """
        problems: dict[str, str] = {}
        for name in NEEDED_ENTRIES:
            if not _is_positive(metadata.get(name)):
                said = f"is {metadata[name]!r}" if _is_stated(metadata, name) else "is missing"
                problems[name] = Fault(
                    f"metadata: {name} {said}, expected a positive number; correct it, because {why}",
                    name,
                )
        zero = [_coordinate(metadata[name]) if _is_stated(metadata, name) else 0.0 for name in ZERO]
        problems |= {
            name: Fault(f"metadata: {name} is {metadata[name]!r}, expected a number; correct it", name)
            for name, value in zip(ZERO, zero, strict=True)
            if value is None
        }
        if problems:
            raise MissingMetadata(problems.values(), entries=problems)
        energy, distance = float(metadata[ENERGY]), float(metadata[DISTANCE])
        detector = (float(metadata[DETECTOR_PIXEL[0]]), float(metadata[DETECTOR_PIXEL[1]]))
        stated = [metadata.get(name) for name in OBJECT_PIXEL]
        computed = object_pixels_m(
            metadata, detector, (n_pixels, n_pixels), energy_eV=energy, distance_m=distance
        )
        pixels = [
            float(value) if value is not None and _is_positive(value) else fallback
            for value, fallback in zip(stated, computed, strict=True)
        ]
        return cls(
            energy_eV=energy,
            distance_m=distance,
            detector_pixel_m=detector,
            object_pixel_m=(pixels[0], pixels[1]),
            zero_m=(zero[0] or 0.0, zero[1] or 0.0),
        )


def finite_number(value: Any) -> float | None:
    """The value as a float if it is a finite number; a truth value or text is none."""
    if not isinstance(value, Real) or isinstance(value, bool | np.bool_):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _coordinate(value: Any) -> float | None:
    number = finite_number(value)
    return number if number is not None and abs(number) < _LARGEST else None


def _is_stated(metadata: Mapping[str, Any], name: str) -> bool:
    """Whether an entry is there and says something; null says nothing."""
    return metadata.get(name) is not None


def _is_positive(value: Any) -> bool:
    """Whether this is a positive number from which others can be computed."""
    number = finite_number(value)
    return number is not None and 1 / _LARGEST < number < _LARGEST


def rescaled_entries(metadata: Mapping[str, Any], factor: float) -> dict[str, Any]:
    """Metadata of a scan whose object pixels became ``factor`` times larger."""
    result = dict(metadata)
    for name in OBJECT_PIXEL:
        if _is_positive(result.get(name)):
            result[name] = result[name] * factor
    return result
