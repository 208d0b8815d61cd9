"""One canvas per group of patches, which lie on it at whole pixels."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ptycho_torch.errors import ShapeError
from ptycho_torch.physics.patches_fourier import nearest_pixels
from ptycho_torch.types import ComplexPatches

__all__ = ["GroupCanvas"]


class GroupCanvas:
    """Where the patches of each group lie on a canvas of the group.

    Canvases have one size, that of the offsets reaching farthest in the batch. Pixels are looked up once,
    however often patches are placed and cut.

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
    positions
        float64, ``(batch * channel, 2)``: place of every patch, ``[y, x]`` in px, on the tall array that
        holds the canvases one below another, so that no patch touches a neighbour's.
    rest
        float64, ``(batch * channel, 2)``, in ``[-1/2, 1/2)`` px: how much further than its whole pixel a
        patch lies.

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
        self.positions = flat + corner + start
        first, self.rest = nearest_pixels(self.positions, n_pixels)
        step = torch.arange(n_pixels, device=first.device)
        self._index = (first[:, :1] + step)[:, :, None] * width + (first[:, 1:] + step)[:, None, :]

    def place(self, patches: ComplexPatches) -> Tensor:
        """Sum patches ``(batch * channel, N, N)``, real or complex, on ``(batch, height, width)``."""
        canvas = patches.new_zeros(math.prod(self.shape))
        return canvas.index_add(0, self._index.reshape(-1), patches.reshape(-1)).reshape(self.shape)

    def cut(self, canvas: Tensor) -> ComplexPatches:
        """Patches ``(batch * channel, N, N)`` of canvases: the adjoint of :meth:`place`."""
        return canvas.reshape(-1)[self._index]
