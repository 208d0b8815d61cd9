"""What lies between the slices of a thick object: so far the light goes, in the pixels of a scan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ptycho_torch.data.scan.geometry import FOCUS, ScanGeometry, is_near_field, wavelength_m
from ptycho_torch.data.scan.near_field import NearFieldOptics
from ptycho_torch.errors import DataError, Fault

__all__ = ["between_slices"]


def between_slices(metadata: Mapping[str, Any], n_pixels: int, distance_m: float) -> NearFieldOptics:
    """Free space from a slice to the next one.

    Parameters
    ----------
    metadata
        Of the scan: they say energy and object pixels.
    n_pixels
        Edge of the frames; px.
    distance_m
        From slice to slice.

    Raises
    ------
    DataError
        If the metadata do not say what the object pixels are, if the beam magnifies each slice in its own
        way, or if detail of a pixel spreads over more than a frame from a slice to the next one.
    """
    geometry = ScanGeometry.from_entries(metadata, n_pixels, why="light between slices depends on it")
    if is_near_field(metadata) and metadata.get(FOCUS):
        said = f"{FOCUS} is {metadata[FOCUS]!r}: a cone beam magnifies every slice by another factor"
        raise DataError(Fault(f"{said}, expected a parallel beam; reconstruct one slice", FOCUS))
    optics = NearFieldOptics(
        wavelength_m=wavelength_m(geometry.energy_eV),
        distance_m=distance_m,
        pixel_m=geometry.object_pixel_m,
    )
    spread, smallest = max(optics.spread_px()), min(optics.pixel_m)
    if spread > n_pixels:
        said = f"slice_distance is {distance_m:g} m, over which a pixel of {smallest:.3g} m spreads"
        raise DataError(
            Fault(
                f"{said} over {spread:.3g} px, expected at most the {n_pixels} px of a frame; "
                "bring the slices nearer",
                "slice_distance",
            )
        )
    return optics
