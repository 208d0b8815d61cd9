r"""Total variation, as a penalty on objects that change everywhere instead of at edges.

.. math:: V(O) = \sum_{y,x} \sqrt{|O_{y+1,x} - O_{y,x}|^2 + |O_{y,x+1} - O_{y,x}|^2 + \epsilon^2} - \epsilon

(Rudin, Osher and Fatemi, Physica D 60, 259, 1992, rounded at differences of :math:`\epsilon = 0.02`). It
lies below the sum of squared differences with weights :math:`1/(2\sqrt{\cdot})`, where the root is taken at
the place of the step, so that a step that divides by the curvature of that sum never overshoots (Vogel and
Oman, SIAM J. Sci. Comput. 17, 227, 1996).
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["total_variation", "total_variation_slope"]

_ROUNDED = 0.02


def total_variation(image: Tensor) -> Tensor:
    """V(O), a real scalar, of an object ``(height, width)``, real or complex, of amplitudes about one."""
    return (_lengths(image) - _ROUNDED).sum()


def total_variation_slope(image: Tensor) -> tuple[Tensor, Tensor]:
    """Derivative of V by the conjugate of the object, and a bound of its curvature, pixel by pixel.

    Parameters
    ----------
    image
        Real or complex, ``(height, width)``.

    Returns
    -------
    slope : Tensor
        Like ``image``.
    curvature : Tensor
        Real, of that shape.
    """
    weight = 0.5 / _lengths(image)
    slope, curvature = torch.zeros_like(image), torch.zeros_like(weight)
    for axis in (0, 1):
        n = image.shape[axis]
        held = weight.narrow(axis, 0, n - 1)
        step = held * torch.diff(image, dim=axis)
        slope.narrow(axis, 1, n - 1).add_(step)
        slope.narrow(axis, 0, n - 1).sub_(step)
        curvature.narrow(axis, 1, n - 1).add_(held, alpha=2)
        curvature.narrow(axis, 0, n - 1).add_(held, alpha=2)
    return slope, curvature


def _lengths(image: Tensor) -> Tensor:
    squares = torch.full_like(image.real, _ROUNDED**2)
    for axis in (0, 1):
        n = image.shape[axis]
        squares.narrow(axis, 0, n - 1).add_(torch.diff(image, dim=axis).abs().square())
    return squares.sqrt_()
