"""Known object patches for supervised training."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ptycho_torch.data.scan.contract import Scan
from ptycho_torch.errors import DataError, Fault
from ptycho_torch.physics.placement_bilinear import Bilinear

__all__ = ["LabelSource", "labels_of"]


@dataclass(frozen=True, kw_only=True)
class LabelSource:
    """Patches by frame number: stored ones, or cut from a known object when they are asked for.

    Attributes
    ----------
    n_pixels
        Side ``N`` of a patch.
    positions
        Float64, ``(n, 2)``, ``[y, x]`` in px.
    stored
        Complex64, ``(n, N, N)``, or ``None``.
    image
        Complex64, ``(height, width)``, or ``None``.
    origin
        Float64, ``(2,)``: index into ``image`` = coordinate + origin.
    scale
        Real factor from the units of the labels to the gauge of the model.
    """

    n_pixels: int
    positions: np.ndarray = field(repr=False)
    stored: np.ndarray | None = field(repr=False, default=None)
    image: Tensor | None = field(repr=False, default=None)
    origin: np.ndarray = field(repr=False)
    scale: float = 1.0

    def patches(self, frame: np.ndarray) -> Tensor:
        """Complex64, ``(..., N, N)``, for int64 frame numbers ``(...)``.

        Raises
        ------
        ShapeError
            If a patch reaches beyond the known object.
        """
        flat = frame.reshape(-1)
        if self.stored is not None:
            found = torch.from_numpy(self.stored[flat])
        else:
            assert self.image is not None
            positions = torch.from_numpy(self.positions[flat])
            origin = torch.from_numpy(self.origin)
            where = Bilinear(positions, self.n_pixels, self.image.shape, origin=origin)
            found = where.cut(self.image)
        return (self.scale * found).reshape(*frame.shape, self.n_pixels, self.n_pixels)


def labels_of(scan: Scan) -> LabelSource:
    """Labels of a scan: its patches ``Y``, or patches cut from ``objectGuess`` at the scan positions.

    Raises
    ------
    DataError
        If the scan holds neither, or its object does not cover the positions.
    """
    if scan.labels is None and scan.object_truth is None:
        raise DataError(
            Fault(
                "no labels: supervised training needs the key Y (n, N, N) or objectGuess (height, width)",
                "Y or objectGuess",
            ),
            scan.source,
        )
    source = LabelSource(
        n_pixels=scan.N,
        positions=scan.positions,
        stored=scan.labels,
        image=None if scan.labels is not None else torch.from_numpy(scan.object_truth),
        origin=scan.object_truth_origin,
    )
    if scan.labels is None:
        _check_cover(scan)
    return source


def _check_cover(scan: Scan) -> None:
    assert scan.object_truth is not None
    corner = scan.positions + scan.object_truth_origin - scan.N // 2
    low, high = np.floor(corner.min(axis=0)), np.ceil(corner.max(axis=0)) + scan.N
    if (low < 0).any() or (high > scan.object_truth.shape).any():
        raise DataError(
            Fault(
                f"objectGuess of shape {scan.object_truth.shape} does not cover the patches, which reach "
                f"from index {low.astype(int).tolist()} to {high.astype(int).tolist()}; give a larger "
                "object or Y",
                "objectGuess",
            ),
            scan.source,
        )
