"""How the waves of a scan get to its detector, as its metadata say."""

from __future__ import annotations

import torch

from ptycho_torch.data import Scan
from ptycho_torch.data.scan.near_field import near_field_of
from ptycho_torch.physics.propagation import FarField, NearField, Propagation, near_field_transfer

__all__ = ["propagation_of"]


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
    if optics is None:
        return FarField()
    transfer = near_field_transfer(
        scan.N, wavelength_m=optics.wavelength_m, distance_m=optics.distance_m, pixel_m=optics.pixel_m
    )
    return NearField(transfer.to(device, dtype))
