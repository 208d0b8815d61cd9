"""Cut and place patches with Fourier interpolation: an exact pair of adjoint operators.

The convention is that of :mod:`ptycho_torch.physics.patches`. A patch is cut at the nearest whole pixel
and shifted by the rest, at most half a pixel each way, on its own periodic grid. Nothing is blurred,
as bilinear interpolation does: what is left is wrap-around at the rim, where the two sides of a patch
differ. It is small if what is placed falls to zero towards the rim.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ptycho_torch.physics.patches import extract_patches, patch_corners, place_patches
from ptycho_torch.physics.shapes import check_positions
from ptycho_torch.physics.shifts import fourier_shift
from ptycho_torch.types import ComplexPatches, ObjectImage, Positions

__all__ = ["extract_patches_fourier", "nearest_pixels", "place_patches_fourier"]


def nearest_pixels(
    positions: Positions, n_pixels: int, origin: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Split patch corners into the nearest whole pixel and the rest.

    Parameters
    ----------
    positions
        Real, ``(batch, 2)``, ``[y, x]`` in px.
    n_pixels
        Side ``N`` of a patch.
    origin
        Real, ``(2,)``, in px: array index = coordinate + origin; zero if not given.

    Returns
    -------
    corner : Tensor
        int64, ``(batch, 2)``: array index of patch pixel ``(0, 0)``, rounded, halves up.
    rest : Tensor
        Same dtype as ``positions``, ``(batch, 2)``, in ``[-1/2, 1/2)``: how much further the corner is.
    """
    origin = positions.new_zeros(2) if origin is None else origin
    # The corner of a position half a pixel further on, rounded down, is the nearest corner.
    corner, remainder = patch_corners(positions + 0.5, n_pixels, origin)
    return corner, remainder - 0.5


def _centres(corner: Tensor, n_pixels: int) -> Tensor:
    """Positions in array indices; float64 holds every index of an array that fits into memory."""
    return (corner + n_pixels // 2).to(torch.float64)


def extract_patches_fourier(
    image: ObjectImage, positions: Positions, n_pixels: int, *, origin: Tensor | None = None
) -> ComplexPatches:
    """Cut one ``N × N`` patch around each position.

    Parameters
    ----------
    image
        Real or complex, ``(height, width)``.
    positions
        Real, ``(batch, 2)``, ``[y, x]`` in px.
    n_pixels
        Side ``N`` of a patch.
    origin
        Real, ``(2,)``, in px: array index = coordinate + origin; zero if not given.

    Returns
    -------
    Tensor
        Dtype of ``image``, ``(batch, N, N)``. Differentiable in ``image`` and, between the points
        where the nearest pixel changes, in ``positions``.

    Raises
    ------
    ShapeError
        If a patch reaches beyond the array, or an array has the wrong rank.
    """
    check_positions(positions, positions.shape[0])
    corner, rest = nearest_pixels(positions, n_pixels, origin)
    return fourier_shift(extract_patches(image, _centres(corner, n_pixels), n_pixels), -rest)


def place_patches_fourier(
    patches: ComplexPatches,
    positions: Positions,
    shape: tuple[int, int],
    *,
    origin: Tensor | None = None,
) -> ObjectImage:
    """Sum patches into an object array: the adjoint of :func:`extract_patches_fourier`.

    Parameters
    ----------
    patches
        Real or complex, ``(batch, N, N)``.
    positions
        Real, ``(batch, 2)``, ``[y, x]`` in px.
    shape
        ``(height, width)`` of the result.
    origin
        Real, ``(2,)``, in px: array index = coordinate + origin; zero if not given.

    Returns
    -------
    Tensor
        Dtype of ``patches``, ``shape``: the plain sum; nothing is divided by the overlap.

    Raises
    ------
    ShapeError
        If a patch reaches beyond the array, or an array has the wrong rank.
    """
    check_positions(positions, patches.shape[0])
    corner, rest = nearest_pixels(positions, patches.shape[-1], origin)
    return place_patches(fourier_shift(patches, rest), _centres(corner, patches.shape[-1]), shape)
