r"""Scans whose detector is in the near field: how far their waves go, and on what pixels.

A point source (a focus) at the distance :math:`z_1` before the sample throws its image magnified by
:math:`M = (z_1 + z_2) / z_1` on a detector at :math:`z_2` behind it. By Fresnel's scaling theorem that image
is the one in a parallel beam, on pixels :math:`M` times smaller, at the effective distance
:math:`z = z_1 z_2 / (z_1 + z_2) = z_2 / M` (Paganin, Coherent X-Ray Optics, Oxford 2006, appendix B; for
ptychography: Stockmar et al., Sci. Rep. 3, 1927, 2013). Metadata say so in the words of ptychodus:
``far_field`` is false, and ``focus_object_distance_m`` is :math:`-z_1`, or zero where the beam is parallel.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ptycho_torch.data.scan.geometry import (
    DISTANCE,
    FAR_FIELD,
    ScanGeometry,
    is_near_field,
    magnification,
    wavelength_m,
)
from ptycho_torch.errors import DataError, Fault

__all__ = ["NearFieldOptics", "as_far_field", "cannot_be_cropped", "near_field_of", "require_far_field"]


@dataclass(frozen=True, kw_only=True, slots=True)
class NearFieldOptics:
    """Parallel beam that shows the same frames.

    Attributes
    ----------
    wavelength_m
        Wavelength.
    distance_m
        Effective distance from sample to detector.
    pixel_m
        ``(y, x)``: edge of an object pixel, that of a detector pixel over the magnification.
    """

    wavelength_m: float
    distance_m: float
    pixel_m: tuple[float, float]

    def spread_px(self) -> tuple[float, float]:
        """How far the finest detail of an object pixel spreads on the way, ``(y, x)``; px."""
        y, x = (self.wavelength_m * self.distance_m / pixel**2 for pixel in self.pixel_m)
        return y, x

    def transfer(self, n_pixels: int) -> npt.NDArray[np.complex128]:
        """Transfer function of free space, (N, N) complex128, frequency zero at ``[0, 0]``."""
        fy, fx = np.meshgrid(*(np.fft.fftfreq(n_pixels, pixel) for pixel in self.pixel_m), indexing="ij")
        sine = self.wavelength_m**2 * (fy**2 + fx**2)
        phase = -2 * np.pi * self.distance_m / self.wavelength_m * sine / (1 + np.sqrt(1 - sine))
        return np.asarray(np.exp(1j * phase))


def near_field_of(metadata: Mapping[str, Any], n_pixels: int) -> NearFieldOptics | None:
    """The near field that metadata of a scan tell of; None where they do not.

    Parameters
    ----------
    metadata
        Of the scan.
    n_pixels
        Edge of the frames; px.

    Raises
    ------
    DataError
        What the near field depends on is missing, or the frames cannot hold it: detail of one pixel spreads
        over more than a frame, where the transfer function is sampled too coarsely, or a pixel is smaller
        than a wavelength.
    """
    if not is_near_field(metadata):
        return None
    geometry = ScanGeometry.from_entries(metadata, n_pixels, why="the near field depends on it")
    optics = NearFieldOptics(
        wavelength_m=wavelength_m(geometry.energy_eV),
        distance_m=geometry.distance_m / magnification(metadata),
        pixel_m=geometry.object_pixel_m,
    )
    smallest = min(optics.pixel_m)
    if smallest < optics.wavelength_m:
        said = (
            f"object pixels of {smallest:.3g} m are smaller than the wavelength, {optics.wavelength_m:.3g} m"
        )
        raise DataError(
            Fault(f"{said}, expected larger ones; correct energy, pixels or distances", FAR_FIELD)
        )
    spread = max(optics.spread_px())
    if spread > n_pixels:
        raise DataError(
            Fault(
                f"at an effective distance of {optics.distance_m:.3g} m the finest detail of a pixel of "
                f"{smallest:.3g} m spreads over {spread:.3g} px, expected at most the {n_pixels} px "
                "of a frame; "
                f"take larger frames, or a shorter {DISTANCE}, or the far field",
                FAR_FIELD,
            )
        )
    return optics


def require_far_field(metadata: Mapping[str, Any], what: str) -> None:
    """Refuse a scan in the near field where nothing knows what that is.

    Parameters
    ----------
    metadata
        Of the scan.
    what
        What does not, as the beginning of a sentence.

    Raises
    ------
    DataError
        Its frames are those of the near field.
    """
    if is_near_field(metadata):
        raise DataError(
            Fault(
                f"{FAR_FIELD} is false: {what} know frames of the far field only; keep this scan as npz or "
                "ptychodus, and reconstruct it with ptycho-torch refine",
                FAR_FIELD,
            )
        )


def cannot_be_cropped(metadata: Mapping[str, Any], n_pixels: int) -> Fault | None:
    """Why frames of a scan cannot be cropped to an edge of ``n_pixels``, or None."""
    if not is_near_field(metadata):
        return None
    said = f"frames cannot be cropped to {n_pixels} px, which cuts off light of the sample"
    return Fault(f"{FAR_FIELD} is false: {said}", FAR_FIELD)


def as_far_field(probe: npt.NDArray[Any], optics: NearFieldOptics | None) -> npt.NDArray[np.complexfloating]:
    """Probe whose far field is the light that a probe sends to the detector.

    Whoever looks at frames asks how bright which pixel is without a sample, and how fast that changes from
    pixel to pixel. Both follow from the far field of a probe; this one has the answers of the near field.

    Parameters
    ----------
    probe
        (P, N, N) complex.
    optics
        Of the scan; None: it is in the far field, and the probe stays.
    """
    if optics is None:
        return probe
    field = np.fft.ifft2(np.fft.fft2(probe.astype(np.complex128)) * optics.transfer(probe.shape[-1]))
    centred = np.fft.ifft2(np.fft.ifftshift(field, axes=(-2, -1)), norm="ortho")
    return np.asarray(np.fft.fftshift(centred, axes=(-2, -1)))
