r"""Where patches lie on an object: cutting them out and adding them to it, exact adjoints of each other.

A frame at position ``(y, x)`` sees the patch whose pixel ``(r, c)`` lies at the object coordinate
``(y - N // 2 + r, x - N // 2 + c)``; an object array holds coordinate ``q`` at index ``q + origin``.
Networks, stitching and solver take their patches from here, and so agree about fractions of a pixel.

Positions fall between pixels. Three kinds of placement treat the remainder in three ways:

- :class:`WholePixel`: patches are copies, and the probe is moved by the remainder;
- :class:`~ptycho_torch.physics.placement_bilinear.Bilinear`: the object is interpolated between pixels;
- :class:`Fourier`: patches are shifted on their own periodic grid. Nothing is blurred, as bilinear
  interpolation does: what is left is wrap-around at the rim, where the two sides of a patch differ.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from copy import copy
from functools import cached_property
from typing import ClassVar, Self

import torch
from torch import Tensor

from ptycho_torch.errors import ShapeError
from ptycho_torch.physics.shapes import check_positions
from ptycho_torch.physics.shifts import fourier_shift
from ptycho_torch.types import ComplexPatches, ObjectImage, Positions, Probe

__all__ = [
    "Fourier",
    "Placement",
    "WholePixel",
    "check_room",
    "nearest_pixels",
    "patch_corners",
    "pixel_index",
    "plane_shape",
]


def patch_corners(positions: Positions, n_pixels: int, origin: Tensor) -> tuple[Tensor, Tensor]:
    """Split patch corners into a whole pixel and a remainder.

    Parameters
    ----------
    positions
        Real, ``(batch, 2)``, ``[y, x]`` in px. Use float64 for large scans.
    n_pixels
        Side ``N`` of a patch.
    origin
        Real, ``(2,)``: object index = coordinate + origin.

    Returns
    -------
    corner : Tensor
        int64, ``(batch, 2)``: array index of patch pixel ``(0, 0)``, rounded down.
    remainder : Tensor
        Same dtype as ``positions``, ``(batch, 2)``, in ``[0, 1)``.
    """
    exact = positions + origin.to(positions) - n_pixels // 2
    corner = torch.floor(exact)
    return corner.to(torch.int64), exact - corner


def nearest_pixels(positions: Positions, n_pixels: int, origin: Tensor) -> tuple[Tensor, Tensor]:
    """Split patch corners into the nearest whole pixel and the rest.

    Parameters are those of :func:`patch_corners`.

    Returns
    -------
    corner : Tensor
        int64, ``(batch, 2)``: array index of patch pixel ``(0, 0)``, rounded, halves up.
    rest : Tensor
        Same dtype as ``positions``, ``(batch, 2)``, in ``[-1/2, 1/2)``: how much further the corner is.
    """
    # The corner of a position half a pixel further on, rounded down, is the nearest corner.
    corner, remainder = patch_corners(positions + 0.5, n_pixels, origin)
    return corner, remainder - 0.5


def check_room(first: Tensor, last: Tensor, shape: tuple[int, ...]) -> None:
    """Refuse patches that reach beyond an object array.

    Parameters
    ----------
    first, last
        int64, ``(batch, 2)``: index of the first pixel of each patch, and one more than that of the last.
    shape
        ``(height, width)`` of the array.

    Raises
    ------
    ShapeError
        Saying how large the array should be.
    """
    limit = torch.tensor(shape, device=first.device)
    if bool((first < 0).any()) or bool((last > limit).any()):
        low, high = first.amin(dim=0).tolist(), last.amax(dim=0).tolist()
        raise ShapeError(
            "object",
            f"room for rows {low[0]} to {high[0] - 1} and columns {low[1]} to {high[1] - 1}",
            f"shape {tuple(shape)}",
            "enlarge the array or correct the origin",
        )


def pixel_index(corner: Tensor, n_pixels: int, shape: tuple[int, ...]) -> Tensor:
    """Index in the flattened array of every pixel of patches, int64 ``(batch, N, N)``.

    A pixel beyond the last row or column is taken for one in it: interpolation gives such pixels the
    weight zero, and their index has to be legal.
    """
    height, width = shape
    step = torch.arange(n_pixels, device=corner.device)
    rows = (corner[:, :1] + step).clamp(max=height - 1)
    columns = (corner[:, 1:] + step).clamp(max=width - 1)
    return rows[:, :, None] * width + columns[:, None, :]


def plane_shape(shape: Sequence[int]) -> tuple[int, int]:
    """Shape of an array as two integers.

    Raises
    ------
    ShapeError
        If it has another rank than two.
    """
    if len(shape) != 2:
        raise ShapeError("object", "(height, width)", tuple(shape))
    return int(shape[0]), int(shape[1])


class Placement(ABC):
    """Where the patches of a batch lie on an array.

    Attributes
    ----------
    n_pixels
        Side ``N`` of a patch.
    shape
        ``(height, width)`` of the array.
    """

    n_pixels: int
    shape: tuple[int, int]
    _per_patch: ClassVar[tuple[str, ...]] = ()
    _derived: ClassVar[tuple[str, ...]] = ()

    shares_light: ClassVar[bool] = True
    """Whether all patches see the same light."""

    def __len__(self) -> int:
        return len(getattr(self, self._per_patch[0]))

    def part(self, chosen: slice | Tensor) -> Self:
        """The same for some of the patches, without another look at the bounds."""
        part = copy(self)
        for name in self._per_patch:
            setattr(part, name, getattr(self, name)[chosen])
        for name in self._derived:
            part.__dict__.pop(name, None)
        return part

    @abstractmethod
    def cut(self, image: ObjectImage) -> ComplexPatches:
        """Patches, ``(batch, N, N)`` in the dtype of a real or complex image ``(height, width)``.

        Raises
        ------
        ShapeError
            If the image has another shape than the array of this placement.
        """

    @abstractmethod
    def add(self, patches: ComplexPatches, image: ObjectImage | None = None) -> ObjectImage:
        """Sum patches into an image: the adjoint of :meth:`cut`.

        Parameters
        ----------
        patches
            Real or complex, ``(batch, N, N)``.
        image
            What they are added to, in place, contiguous ``(height, width)``; zeros if it is not given.

        Returns
        -------
        Tensor
            The image: the plain sum; nothing is divided by the overlap.

        Raises
        ------
        ShapeError
            If the patches do not fit the placement.
        """

    def light(self, probe: Probe) -> Tensor:
        """Probe on every patch, ``(modes, N, N)`` if all see the same, else ``(batch, modes, N, N)``."""
        return probe

    def gather_light(self, waves: Tensor) -> Tensor:
        """Sum waves ``(batch, modes, N, N)`` over the patches: the adjoint of :meth:`light`."""
        return waves.sum(dim=0)

    def _flat(self, image: ObjectImage) -> Tensor:
        if tuple(image.shape) != self.shape:
            raise ShapeError("object", f"(height, width) = {self.shape}", tuple(image.shape))
        return image.reshape(-1)

    def _room_for(self, patches: ComplexPatches, image: ObjectImage | None) -> ObjectImage:
        expected = (len(self), self.n_pixels, self.n_pixels)
        if tuple(patches.shape) != expected:
            raise ShapeError("patches", f"(batch, N, N) = {expected}", tuple(patches.shape))
        return patches.new_zeros(self.shape) if image is None else image


class WholePixel(Placement):
    """Patches at the nearest whole pixel; the light moves by the rest of the position.

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

    Attributes
    ----------
    corner
        int64, ``(batch, 2)``: array index of patch pixel ``(0, 0)``.
    rest
        In the dtype of the positions, ``(batch, 2)``, in ``[-1/2, 1/2)`` px: how much further than its
        whole pixel a patch lies.

    Raises
    ------
    ShapeError
        If a patch reaches beyond the array, or positions have the wrong shape.
    """

    _per_patch: ClassVar[tuple[str, ...]] = ("corner", "rest")
    _derived: ClassVar[tuple[str, ...]] = ("index",)
    shares_light: ClassVar[bool] = False

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
        corner, rest = nearest_pixels(positions, n_pixels, origin)
        check_room(corner, corner + n_pixels, plane_shape(shape))
        self._hold(corner, rest, n_pixels, plane_shape(shape))

    @classmethod
    def at(cls, corner: Tensor, rest: Tensor, n_pixels: int, shape: tuple[int, int]) -> Self:
        """Patches with known corners; bounds are not checked.

        Pixels beyond the last row or column of the array are laid on it; they should weigh nothing.
        """
        placement = cls.__new__(cls)
        placement._hold(corner, rest, n_pixels, shape)
        return placement

    def _hold(self, corner: Tensor, rest: Tensor, n_pixels: int, shape: tuple[int, int]) -> None:
        self.corner, self.rest, self.n_pixels, self.shape = corner, rest, n_pixels, shape

    @cached_property
    def index(self) -> Tensor:
        """Where every pixel lies in the flattened array; looked up once, however often it is needed."""
        return pixel_index(self.corner, self.n_pixels, self.shape)

    def cut(self, image: ObjectImage) -> ComplexPatches:
        """Patches, ``(batch, N, N)``: copies; see :meth:`Placement.cut`."""
        return self._flat(image).index_select(0, self.index.reshape(-1)).reshape(self.index.shape)

    def add(self, patches: ComplexPatches, image: ObjectImage | None = None) -> ObjectImage:
        """Sum patches into an image; see :meth:`Placement.add`."""
        image = self._room_for(patches, image)
        image.view(-1).index_add_(0, self.index.reshape(-1), patches.reshape(-1))
        return image

    def light(self, probe: Probe) -> Tensor:
        """Probe on every patch, moved by the rest of its position, ``(batch, modes, N, N)``."""
        return fourier_shift(probe.expand(len(self), -1, -1, -1), self._rests(probe))

    def gather_light(self, waves: Tensor) -> Tensor:
        """Sum waves ``(batch, modes, N, N)``, each moved back: the adjoint of :meth:`light`."""
        return fourier_shift(waves, -self._rests(waves)).sum(dim=0)

    def _rests(self, waves: Tensor) -> Tensor:
        return self.rest[:, None].to(waves.real.dtype).expand(-1, waves.shape[-3], -1)


class Fourier(WholePixel):
    """Patches at the nearest whole pixel, shifted by the rest on their own periodic grid.

    Parameters are those of :class:`WholePixel`. Cutting is differentiable in the image and, between the
    points where the nearest pixel changes, in the positions; so is adding in the patches.
    """

    shares_light = True
    light = Placement.light
    gather_light = Placement.gather_light

    def cut(self, image: ObjectImage) -> ComplexPatches:
        """Patches, ``(batch, N, N)``; see :meth:`Placement.cut`."""
        return fourier_shift(super().cut(image), -self.rest)

    def add(self, patches: ComplexPatches, image: ObjectImage | None = None) -> ObjectImage:
        """Sum patches into an image; see :meth:`Placement.add`."""
        image = self._room_for(patches, image)
        return super().add(fourier_shift(patches, self.rest), image)
