"""How the waves of a scan get to its detector, as its metadata say."""

from __future__ import annotations

import torch

from ptycho_torch.data import Scan
from ptycho_torch.data.scan.near_field import NearFieldOptics, near_field_of
from ptycho_torch.data.scan.slices import between_slices
from ptycho_torch.physics.propagation import FarField, NearField, Propagation, near_field_transfer

__all__ = ["propagation_between_slices", "propagation_of"]


def propagation_of(scan: Scan, device: torch.device, dtype: torch.dtype) -> Propagation:
    """Propagation to the detector of a scan.

    Parameters
    ----------
    scan
        Its metadata say whether the detector is in the near field, and where.
    device, dtype
        Where to compute, and in which complex dtype.

    Raises
    ------
    DataError
        If the metadata lack what the near field depends on, or frames cannot hold it.
    """
    optics = near_field_of(scan.metadata, scan.N)
    return FarField() if optics is None else _near_field(optics, scan.N, device, dtype)


def propagation_between_slices(
    scan: Scan, distance_m: float, device: torch.device, dtype: torch.dtype
) -> Propagation:
    """Propagation from a slice of a thick object to the next one.

    Parameters
    ----------
    scan, device, dtype
        As for :func:`propagation_of`.
    distance_m
        From slice to slice.

    Raises
    ------
    DataError
        As for :func:`ptycho_torch.data.scan.slices.between_slices`.
    """
    return _near_field(between_slices(scan.metadata, scan.N, distance_m), scan.N, device, dtype)


def _near_field(
    optics: NearFieldOptics, n_pixels: int, device: torch.device, dtype: torch.dtype
) -> NearField:
    transfer = near_field_transfer(
        n_pixels, wavelength_m=optics.wavelength_m, distance_m=optics.distance_m, pixel_m=optics.pixel_m
    )
    return NearField(transfer.to(device, dtype))
