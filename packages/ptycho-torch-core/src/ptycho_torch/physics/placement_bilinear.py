"""Patches of an object that is interpolated bilinearly between its pixels."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from ptycho_torch.errors import ShapeError
from ptycho_torch.physics.placement import Placement, check_room, patch_corners, pixel_index, plane_shape
from ptycho_torch.physics.shapes import check_positions
from ptycho_torch.types import ComplexPatches, ObjectImage, Positions

__all__ = ["Bilinear", "BilinearRows"]


class Bilinear(Placement):
    """Patches between pixels, each pixel the weighted mean of the four around it.

    Differentiable in image, patches and positions. A patch at whole pixels touches nothing beyond itself.

    Parameters
    ----------
    positions
        Real, ``(batch, 2)``, ``[y, x]`` in px. Use float64 for large scans.
    n_pixels
        Side ``N`` of a patch.
    shape
        ``(height, width)`` of the array.
    origin
        Real, ``(2,)``, in px: array index = coordinate + origin; zero if not given.

    Raises
    ------
    ShapeError
        If a patch reaches beyond the array, or positions have the wrong shape.

    Examples
    --------
    >>> image = torch.arange(64.0).reshape(8, 8)
    >>> where = Bilinear(torch.tensor([[4.0, 3.5]], dtype=torch.float64), 2, (8, 8))
    >>> where.cut(image)
    tensor([[[26.5000, 27.5000],
             [34.5000, 35.5000]]])
    """

    _per_patch: ClassVar[tuple[str, ...]] = ("corner", "remainder")

    def __init__(
        self,
        positions: Positions,
        n_pixels: int,
        shape: Sequence[int],
        *,
        origin: Tensor | None = None,
    ) -> None:
        check_positions(positions, positions.shape[0])
        origin = positions.new_zeros(2) if origin is None else origin
        self.corner, self.remainder = patch_corners(positions, n_pixels, origin)
        self.n_pixels, self.shape = n_pixels, plane_shape(shape)
        self._check()

    def _check(self) -> None:
        check_room(
            self.corner, self.corner + (self.remainder > 0).to(torch.int64) + self.n_pixels, self.shape
        )

    def _neighbours(self) -> list[tuple[Tensor, Tensor]]:
        """Index ``(batch, N, N)`` and weight ``(batch, 1, 1)`` of the object pixels that each pixel touches.

        A neighbour along an axis where every remainder is zero contributes nothing and is left out.
        """
        uses_next = (self.remainder > 0).any(dim=0)
        found = []
        for down in (0, 1) if bool(uses_next[0]) else (0,):
            for right in (0, 1) if bool(uses_next[1]) else (0,):
                index = pixel_index(
                    self.corner + self.corner.new_tensor([down, right]), self.n_pixels, self.shape
                )
                weight_y = self.remainder[:, 0] if down else 1 - self.remainder[:, 0]
                weight_x = self.remainder[:, 1] if right else 1 - self.remainder[:, 1]
                found.append((index, (weight_y * weight_x)[:, None, None]))
        return found

    def cut(self, image: ObjectImage) -> ComplexPatches:
        """Patches, ``(batch, N, N)``; see :meth:`Placement.cut`."""
        flat = self._flat(image)
        patches = image.new_zeros(len(self), self.n_pixels, self.n_pixels)
        for index, weight in self._neighbours():
            near = flat.index_select(0, index.reshape(-1)).reshape(index.shape)
            patches = patches + near * weight.to(image.real.dtype)
        return patches

    def add(self, patches: ComplexPatches, image: ObjectImage | None = None) -> ObjectImage:
        """Sum patches into an image; see :meth:`Placement.add`."""
        image = self._room_for(patches, image)
        for index, weight in self._neighbours():
            weighted = patches * weight.to(patches.real.dtype)
            image.view(-1).index_add_(0, index.reshape(-1), weighted.reshape(-1))
        return image


class BilinearRows(Bilinear):
    """The same operator for a loop that does little else, on an array with a margin.

    Whole rows of ``N + 1`` pixels are copied at once and interpolated along one axis and then the other,
    instead of four gathers; the positions are constants.

    Parameters
    ----------
    positions, n_pixels, shape, origin
        As for :class:`Bilinear`. Below and right of each patch the array holds a row and a column more.
    dtype
        Real dtype of the interpolation weights: that of the images and patches.

    Attributes
    ----------
    corner
        int64, ``(batch, 2)``: array index of patch pixel ``(0, 0)``, rounded down.
    fractions
        In that dtype, ``(batch, 2)``, in ``[0, 1)`` px: how much further than its corner a patch lies.

    Raises
    ------
    ShapeError
        If a patch, or the row and the column beyond it, reaches beyond the array.
    """

    _per_patch = ("corner", "fractions")
    _derived = ("row_start",)

    def __init__(
        self,
        positions: Positions,
        n_pixels: int,
        shape: Sequence[int],
        *,
        origin: Tensor | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__(positions, n_pixels, shape, origin=origin)
        self.row_step = torch.arange(n_pixels + 1, device=self.corner.device)
        self.corner, self.fractions = self.corner.contiguous(), self.remainder.to(dtype).contiguous()

    @cached_property
    def row_start(self) -> Tensor:
        """Where every row of the patches begins in the flattened array, int64 ``(batch, N + 1)``."""
        return (self.corner[:, :1] + self.row_step) * self.shape[1] + self.corner[:, 1:]

    @property
    def _down(self) -> Tensor:
        return self.fractions[:, :1, None]

    @property
    def _right(self) -> Tensor:
        return self.fractions[:, 1:, None]

    def _check(self) -> None:
        check_room(self.corner, self.corner + self.n_pixels + 1, self.shape)

    def cut(self, image: ObjectImage) -> ComplexPatches:
        """Patches, complex ``(batch, N, N)``, of a complex image; see :meth:`Placement.cut`."""
        return self._across(self._along(self._neighbourhood(image)))

    def slopes(self, image: ObjectImage) -> tuple[Tensor, Tensor]:
        """Derivatives of each patch by its own y and by its own x, complex ``(batch, N, N)``."""
        pixels = self._neighbourhood(image)
        along = self._along(pixels)
        slope_y = self._across(pixels[:, 1:] - pixels[:, :-1])
        slope_x = self._as_patches(along[..., 2:] - along[..., :-2])
        return slope_y, slope_x

    def add(self, patches: ComplexPatches, image: ObjectImage | None = None) -> ObjectImage:
        """Sum patches into an image; see :meth:`Placement.add`."""
        image = self._room_for(patches, image)
        batch, side = len(patches), self.n_pixels
        parts = 2 if patches.is_complex() else 1
        real = torch.view_as_real(patches) if patches.is_complex() else patches
        real = real.reshape(batch, side, parts * side)
        wide = real.new_empty(batch, side, parts * (side + 1))
        moved = real * self._right
        wide[..., :-parts] = real - moved
        wide[..., -parts:] = 0
        wide[..., parts:] += moved
        tall = real.new_empty(batch, side + 1, parts * (side + 1))
        moved = wide * self._down
        tall[:, :-1] = wide - moved
        tall[:, -1] = 0
        tall[:, 1:] += moved
        index = (self.row_start[..., None] + self.row_step).view(-1)
        flat = torch.view_as_complex(tall.view(-1, 2)) if parts == 2 else tall.view(-1)
        image.view(-1).index_add_(0, index, flat)
        return image

    def _neighbourhood(self, image: ObjectImage) -> Tensor:
        """Pixels under each patch and one row and column more, as reals ``(batch, N + 1, 2 (N + 1))``."""
        if not image.is_complex():
            raise ShapeError("object", "a complex array", image.dtype)
        side = self.n_pixels + 1
        # Overlapping windows of the flat image: a row of a patch is one contiguous copy.
        windows = self._flat(image).as_strided((image.numel() - side + 1, side), (1, 1))
        rows = windows.index_select(0, self.row_start.reshape(-1))
        return torch.view_as_real(rows).view(-1, side, 2 * side)

    def _along(self, pixels: Tensor) -> Tensor:
        return torch.lerp(pixels[:, :-1], pixels[:, 1:], self._down)

    def _across(self, pixels: Tensor) -> Tensor:
        return self._as_patches(torch.lerp(pixels[..., :-2], pixels[..., 2:], self._right))

    def _as_patches(self, pixels: Tensor) -> Tensor:
        return torch.view_as_complex(pixels.view(-1, self.n_pixels, self.n_pixels, 2))
