"""What moves by the fraction of a pixel that is left of a position: the object or the probe."""

from __future__ import annotations

from typing import TypeAlias

import torch
from torch import Tensor

from ptycho_torch.physics.placement_bilinear import BilinearRows
from ptycho_torch.physics.placement_moved_probe import MovedProbe
from ptycho_torch.refine.result import SubPixel

__all__ = ["SolverPlacement", "placement_of"]

SolverPlacement: TypeAlias = BilinearRows | MovedProbe


def placement_of(
    sub_pixel: SubPixel,
    positions: Tensor,
    n_pixels: int,
    shape: tuple[int, int],
    origin: Tensor,
    dtype: torch.dtype,
) -> SolverPlacement:
    """Placement for what moves by fractions of a pixel: the probe, or the object.

    Parameters
    ----------
    sub_pixel
        ``"probe"`` or ``"object"``.
    positions, n_pixels, shape, origin, dtype
        As for :class:`~ptycho_torch.physics.placement_bilinear.BilinearRows`.
    """
    kind = MovedProbe if sub_pixel == "probe" else BilinearRows
    return kind(positions, n_pixels, shape, origin=origin, dtype=dtype)
