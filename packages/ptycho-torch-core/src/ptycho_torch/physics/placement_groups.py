"""One canvas per group of patches."""

from __future__ import annotations

import math
from typing import TypeVar

import torch
from torch import Tensor

from ptycho_torch.errors import ShapeError
from ptycho_torch.physics.placement import WholePixel, nearest_pixels

__all__ = ["GroupCanvases"]

Kind = TypeVar("Kind", bound=WholePixel)


class GroupCanvases:
    """Canvases of one size: that of the offsets that reach farthest in the batch.

    They lie one below another on a tall array, so that no patch touches a neighbour's and one placement
    serves all groups.

    Parameters
    ----------
    offsets
        Real, ``(batch, channel, 2)``, ``[y, x]`` in px: position of a patch − centre of its group.
    n_pixels
        Side ``N`` of a patch.

    Attributes
    ----------
    shape
        ``(batch, height, width)`` of the canvases.
    tall
        ``(batch * height, width)``: shape of the array that holds them.
    positions
        float64, ``(batch * channel, 2)``: place of every patch on the tall array, ``[y, x]`` in px.

    Raises
    ------
    ShapeError
        If the offsets are not ``(batch, channel, 2)``.
    """

    def __init__(self, offsets: Tensor, n_pixels: int) -> None:
        if offsets.ndim != 3 or offsets.shape[-1] != 2:
            raise ShapeError("offsets", "(batch, channel, 2) in the order [y, x]", tuple(offsets.shape))
        n_groups, n_channels = offsets.shape[:2]
        flat = offsets.reshape(-1, 2).to(torch.float64)
        ends = torch.stack([flat.detach().amin(dim=0), flat.detach().amax(dim=0)])
        (low_y, low_x), (high_y, high_x) = ends.tolist()
        height, width = (
            n_pixels + math.ceil(high) - math.floor(low) for low, high in ((low_y, high_y), (low_x, high_x))
        )
        half = n_pixels // 2
        corner = flat.new_tensor([half - math.floor(low_y), half - math.floor(low_x)])
        down = height * torch.arange(n_groups, dtype=torch.float64, device=offsets.device)
        start = torch.stack([down, torch.zeros_like(down)], dim=1).repeat_interleave(n_channels, dim=0)
        self.n_pixels = n_pixels
        self.shape = (int(n_groups), height, width)
        self.tall = (int(n_groups) * height, width)
        self.positions = flat + corner + start

    def placement(self, kind: type[Kind]) -> Kind:
        """Placement of all patches on the tall array.

        The canvases fit by construction: a GPU does not wait for a look at the bounds.
        """
        corner, rest = nearest_pixels(self.positions, self.n_pixels, self.positions.new_zeros(2))
        return kind.at(corner, rest, self.n_pixels, self.tall)
