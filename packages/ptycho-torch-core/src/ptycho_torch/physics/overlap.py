r"""The overlap constraint: patches of a group agree where they show the same part of the object.

.. math::

    M_c = \frac{E_c \sum_j P_j (w\, O_j)}{E_c \sum_j P_j w}
    \quad\text{where}\quad E_c \sum_j P_j w > \varepsilon \max w, \qquad M_c = O_c \text{ elsewhere}

:math:`P_j` places a patch at its offset on a canvas of the group and :math:`E_c`, its adjoint, cuts one out.
Numerator and denominator go through the same operators, so a common object comes back as it was.
Dividing after the cut, rather than on the canvas, keeps the Fourier shift away from the edge where the
coverage ends; and since :math:`E_c P_c = 1` at every frequency but Nyquist, a patch loses nothing by
its own way to the canvas and back.

Where the weights leave nothing to average, nothing is known from the other patches, and each patch
keeps its own value.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ptycho_torch.errors import ShapeError
from ptycho_torch.physics.placement import Fourier, Placement, WholePixel
from ptycho_torch.physics.placement_groups import GroupCanvases
from ptycho_torch.types import ComplexPatches

__all__ = ["merge_groups"]

# A quotient magnifies the error of the interpolation by up to 1 / _FLOOR.
_FLOOR = 0.05


def _check(patches: Tensor, offsets: Tensor, weight: Tensor) -> None:
    shape = tuple(patches.shape)
    if patches.ndim != 4 or shape[-1] != shape[-2]:
        raise ShapeError("patches", "(batch, channel, N, N)", shape)
    if not patches.is_complex():
        raise ShapeError("patches", "a complex tensor", patches.dtype)
    if tuple(offsets.shape) != (*shape[:2], 2):
        raise ShapeError("offsets", f"{(*shape[:2], 2)} in the order [y, x]", tuple(offsets.shape))
    if tuple(weight.shape) != shape[-2:]:
        raise ShapeError("weight", f"{shape[-2:]} to match the patches", tuple(weight.shape))
    if weight.is_complex():
        raise ShapeError("weight", "a real tensor", weight.dtype)


def _sums(values: Tensor, placement: Placement) -> Tensor:
    """What every patch sees of the sum of all patches of its group, ``(batch * channel, N, N)``."""
    return placement.cut(placement.add(values))


def merge_groups(patches: ComplexPatches, offsets: Tensor, weight: Tensor) -> ComplexPatches:
    """Average the patches of each group where they overlap and cut them out again.

    Patches that were cut from one object come back unchanged: to rounding at whole offsets, else to
    the error of the interpolation. At whole offsets a second pass changes nothing. Where the summed weight
    is at most a twentieth of the largest value of ``weight``, a patch keeps its own value.

    Parameters
    ----------
    patches
        Complex, ``(batch, channel, N, N)``.
    offsets
        Real, ``(batch, channel, 2)``, ``[y, x]`` in px: position of a patch − centre of its group, as
        :class:`~ptycho_torch.data.groups.grouping.Groups` holds it. Patch pixel ``(r, c)`` lies at
        ``(y - N // 2 + r, x - N // 2 + c)`` of the canvas.
    weight
        Real, ``(N, N)``, zero or more: weight of each patch pixel, for instance the intensity of the
        probe. It should fall to zero before the rim, smoothly if it can: otherwise the Fourier shift lets the
        two sides of a patch wrap into each other.

    Returns
    -------
    Tensor
        Complex, ``(batch, channel, N, N)``; with one channel the patches themselves. Gradients are
        finite everywhere, including where every weight is zero.

    Raises
    ------
    ShapeError
        If shapes do not fit or a dtype is of the wrong kind.
    """
    _check(patches, offsets, weight)
    if patches.shape[1] == 1 or patches.shape[0] == 0:
        return patches
    n_pixels = int(patches.shape[-1])
    weight = weight.to(patches.real.dtype)
    flat = patches.reshape(-1, n_pixels, n_pixels)
    canvases, weights = GroupCanvases(offsets, n_pixels), weight.expand(flat.shape)
    placement = canvases.placement(Fourier)
    numerator, denominator = _sums(weight * flat, placement), _sums(weights, placement)
    # A weight with hard edges rings when it is shifted; the same weight at whole pixels says where it is.
    covered = torch.minimum(denominator, _sums(weights, canvases.placement(WholePixel)))
    known = covered > _FLOOR * weight.max()
    # Dividing by one where the quotient is not used keeps its gradient finite.
    merged = torch.where(known, numerator / torch.where(known, denominator, 1), flat)
    return merged.reshape(patches.shape)
