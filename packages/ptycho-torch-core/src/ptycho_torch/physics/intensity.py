"""Intensity of fields."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["squared_modulus"]


def squared_modulus(field: Tensor) -> Tensor:
    """Squares of the moduli of complex numbers, real, of the same shape.

    Several times as fast as the square of ``abs()``, which guards against overflow.
    """
    squares = torch.view_as_real(field).square()
    return squares[..., 0] + squares[..., 1]
