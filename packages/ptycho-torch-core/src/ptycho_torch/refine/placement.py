"""Bilinear cutting and placing of patches for a loop that does little else.

The same pair of operators as :mod:`ptycho_torch.physics.patches`, arranged for speed: one gather
of ``(N + 1) x (N + 1)`` pixels and two linear interpolations instead of four gathers, whole rows
copied at once, and bounds checked when positions change instead of at every batch.
"""

from __future__ import annotations

from copy import copy
from typing import Self

import torch
from torch import Tensor

from ptycho_torch.errors import ShapeError
from ptycho_torch.physics.patches import patch_corners

__all__ = ["Placement"]


class Placement:
    """Where the patches of a batch lie on a canvas.

    Parameters
    ----------
    positions
        float64, ``(batch, 2)``, ``[y, x]`` in px.
    origin
        float64, ``(2,)``: array index = coordinate + origin.
    n_pixels
        Side ``N`` of a patch.
    shape
        ``(height, width)`` of the canvas. A patch needs one more row and column than ``N``.
    dtype
        Real dtype of the interpolation weights.

    Raises
    ------
    ShapeError
        If a patch reaches beyond the canvas.
    """

    def __init__(
        self, positions: Tensor, origin: Tensor, n_pixels: int, shape: tuple[int, int], dtype: torch.dtype
    ) -> None:
        corner, remainder = patch_corners(positions, n_pixels, origin)
        room = torch.tensor(shape, device=corner.device) - n_pixels - 1
        if bool((corner < 0).any()) or bool((corner > room).any()):
            low, high = corner.amin(dim=0).tolist(), (corner.amax(dim=0) + n_pixels).tolist()
            needed = f"room for rows {low[0]} to {high[0]} and columns {low[1]} to {high[1]}"
            raise ShapeError("canvas", needed, f"shape {shape}", "enlarge the canvas")
        self.n_pixels = n_pixels
        self.shape = shape
        self.row_step = torch.arange(n_pixels + 1, device=corner.device)
        self.row_start = (corner[:, :1] + self.row_step) * shape[1] + corner[:, 1:]
        self.down = remainder[:, 0].to(dtype)[:, None, None]
        self.right = remainder[:, 1].to(dtype)[:, None, None]

    def __len__(self) -> int:
        return len(self.row_start)

    def part(self, chosen: slice | Tensor) -> Self:
        """The same for some of the patches."""
        part = copy(self)
        part.row_start = self.row_start[chosen]
        part.down, part.right = self.down[chosen], self.right[chosen]
        return part

    def _neighbourhood(self, image: Tensor) -> Tensor:
        """Pixels under each patch and one row and column more, as reals ``(batch, N + 1, 2 (N + 1))``."""
        side = self.n_pixels + 1
        # Overlapping windows of the flat image: a row of a patch is one contiguous copy.
        windows = image.view(-1).as_strided((image.numel() - side + 1, side), (1, 1))
        rows = windows.index_select(0, self.row_start.view(-1))
        return torch.view_as_real(rows).view(-1, side, 2 * side)

    def light(self, probe: Tensor) -> Tensor:
        """Probe on every patch, ``(modes, N, N)`` or ``(batch, modes, N, N)``: the same on all of them."""
        return probe

    def gather_light(self, waves: Tensor) -> Tensor:
        """Sum waves ``(batch, modes, N, N)`` over the patches: the adjoint of :meth:`light`."""
        return waves.sum(dim=0)

    def cut(self, image: Tensor) -> Tensor:
        """Patches, complex ``(batch, N, N)``, of an image ``(height, width)``."""
        return self._across(self._along(self._neighbourhood(image)))

    def cut_with_slopes(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Patches, and the derivatives of each by its own y and by its own x."""
        pixels = self._neighbourhood(image)
        along = self._along(pixels)
        slope_y = self._across(pixels[:, 1:] - pixels[:, :-1])
        slope_x = self._as_patches(along[..., 2:] - along[..., :-2])
        return self._across(along), slope_y, slope_x

    def add_to(self, image: Tensor, patches: Tensor) -> None:
        """Add real or complex patches ``(batch, N, N)`` to an image: the adjoint of :meth:`cut`."""
        batch, side = len(patches), self.n_pixels
        parts = 2 if patches.is_complex() else 1
        real = torch.view_as_real(patches) if patches.is_complex() else patches
        real = real.reshape(batch, side, parts * side)
        wide = real.new_empty(batch, side, parts * (side + 1))
        moved = real * self.right
        torch.sub(real, moved, out=wide[..., :-parts])
        wide[..., -parts:] = 0
        wide[..., parts:] += moved
        tall = real.new_empty(batch, side + 1, parts * (side + 1))
        moved = wide * self.down
        torch.sub(wide, moved, out=tall[:, :-1])
        tall[:, -1] = 0
        tall[:, 1:] += moved
        index = (self.row_start[..., None] + self.row_step).view(-1)
        flat = torch.view_as_complex(tall.view(-1, 2)) if parts == 2 else tall.view(-1)
        image.view(-1).index_add_(0, index, flat)

    def _along(self, pixels: Tensor) -> Tensor:
        return torch.lerp(pixels[:, :-1], pixels[:, 1:], self.down)

    def _across(self, pixels: Tensor) -> Tensor:
        return self._as_patches(torch.lerp(pixels[..., :-2], pixels[..., 2:], self.right))

    def _as_patches(self, pixels: Tensor) -> Tensor:
        return torch.view_as_complex(pixels.view(-1, self.n_pixels, self.n_pixels, 2))
