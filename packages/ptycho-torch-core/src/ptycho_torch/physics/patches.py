"""Cut patches out of an object and put them back: an exact pair of adjoint operators.

A frame at position ``(y, x)`` sees the patch whose pixel ``(r, c)`` lies at the object coordinate
``(y - N // 2 + r, x - N // 2 + c)``; an object array holds coordinate ``q`` at index
``q + origin``. At sub-pixel positions the object is interpolated bilinearly.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ptycho_torch.errors import ShapeError
from ptycho_torch.physics.shapes import check_positions
from ptycho_torch.types import ComplexPatches, ObjectImage, Positions

__all__ = ["check_room", "extract_patches", "patch_corners", "place_patches"]


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


def check_room(first: Tensor, last: Tensor, shape: tuple[int, int]) -> None:
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


def _neighbours(positions: Positions, n_pixels: int, shape: tuple[int, int], origin: Tensor) -> list:
    """Index and weight of the object pixels that each patch pixel touches.

    Returns a list of ``(index (batch, N, N), weight (batch, 1, 1))``. A shift along an axis where
    every remainder is zero contributes nothing and is left out, so whole-pixel positions never
    touch a pixel beyond the patch.
    """
    corner, remainder = patch_corners(positions, n_pixels, origin)
    uses_next = (remainder > 0).any(dim=0)
    last = corner + (remainder > 0).to(torch.int64) + n_pixels
    check_room(corner, last, shape)
    step = torch.arange(n_pixels, device=corner.device)
    found = []
    for down in (0, 1) if bool(uses_next[0]) else (0,):
        for right in (0, 1) if bool(uses_next[1]) else (0,):
            # A neighbour of weight zero may lie outside the array; clamping keeps the index legal.
            rows = (corner[:, 0, None] + step + down).clamp(max=shape[0] - 1)
            columns = (corner[:, 1, None] + step + right).clamp(max=shape[1] - 1)
            weight_y = remainder[:, 0] if down else 1 - remainder[:, 0]
            weight_x = remainder[:, 1] if right else 1 - remainder[:, 1]
            index = rows[:, :, None] * shape[1] + columns[:, None, :]
            found.append((index, (weight_y * weight_x)[:, None, None]))
    return found


def extract_patches(
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
        Dtype of ``image``, ``(batch, N, N)``.

    Raises
    ------
    ShapeError
        If a patch reaches beyond the array, or an array has the wrong rank.
    """
    if image.ndim != 2:
        raise ShapeError("object", "(height, width)", tuple(image.shape))
    check_positions(positions, positions.shape[0])
    origin = positions.new_zeros(2) if origin is None else origin
    shape = (int(image.shape[0]), int(image.shape[1]))
    flat = image.reshape(-1)
    real = flat.real.dtype if flat.is_complex() else flat.dtype
    patches = image.new_zeros(positions.shape[0], n_pixels, n_pixels)
    for index, weight in _neighbours(positions, n_pixels, shape, origin):
        patches = patches + flat[index] * weight.to(real)
    return patches


def place_patches(
    patches: ComplexPatches,
    positions: Positions,
    shape: tuple[int, int],
    *,
    origin: Tensor | None = None,
) -> ObjectImage:
    """Sum patches into an object array: the adjoint of :func:`extract_patches`.

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
    if patches.ndim != 3 or patches.shape[-1] != patches.shape[-2]:
        raise ShapeError("patches", "(batch, N, N)", tuple(patches.shape))
    check_positions(positions, patches.shape[0])
    origin = positions.new_zeros(2) if origin is None else origin
    n_pixels = int(patches.shape[-1])
    real = patches.real.dtype if patches.is_complex() else patches.dtype
    total = patches.new_zeros(shape[0] * shape[1])
    for index, weight in _neighbours(positions, n_pixels, shape, origin):
        total = total.index_add(0, index.reshape(-1), (patches * weight.to(real)).reshape(-1))
    return total.reshape(shape)
