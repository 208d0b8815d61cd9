r"""Squared differences between neighbouring pixels, as a penalty on rough objects.

.. math:: R(O) = \sum_{y,x} |O_{y+1,x} - O_{y,x}|^2 + |O_{y,x+1} - O_{y,x}|^2

the discrete form of Tikhonov regularisation of the gradient (Tikhonov and Arsenin 1977). It is quadratic, so
a step that divides by its largest curvature never overshoots, and it favours no phase.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["LARGEST_CURVATURE", "roughness", "roughness_gradient"]

LARGEST_CURVATURE = 8.0
"""Largest eigenvalue of the discrete negative Laplacian in two dimensions."""


def roughness(image: Tensor) -> Tensor:
    """R(O), a real scalar, of an object ``(height, width)``, real or complex."""
    return sum(
        (torch.diff(image, dim=axis).abs().square().sum() for axis in (0, 1)), start=image.real.new_zeros(())
    )


def roughness_gradient(image: Tensor) -> Tensor:
    """Derivative of R by the conjugate of the object: its negative Laplacian, zero slope at the rim.

    Parameters
    ----------
    image
        Real or complex, ``(height, width)``.

    Returns
    -------
    Tensor
        Like ``image``.
    """
    gradient = torch.zeros_like(image)
    for axis in (0, 1):
        step = torch.diff(image, dim=axis)
        n = image.shape[axis]
        gradient.narrow(axis, 1, n - 1).add_(step)
        gradient.narrow(axis, 0, n - 1).sub_(step)
    return gradient
