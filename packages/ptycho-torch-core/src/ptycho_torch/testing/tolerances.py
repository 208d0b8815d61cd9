"""One tolerance per dtype, measured against the largest value of an array.

Rounding in a Fourier transform is spread over all pixels and scales with the brightest one, so an
error is judged against that and not pixel by pixel.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

__all__ = ["TOLERANCES", "assert_close", "relative_error", "tolerance"]

TOLERANCES: Mapping[torch.dtype, float] = MappingProxyType(
    {
        torch.bfloat16: 2e-2,
        torch.float16: 2e-3,
        torch.float32: 1e-5,
        torch.complex64: 1e-5,
        torch.float64: 1e-12,
        torch.complex128: 1e-12,
    }
)
"""Largest relative error of a short computation, by dtype."""


def tolerance(dtype: torch.dtype) -> float:
    """Relative tolerance of a dtype.

    Raises
    ------
    KeyError
        If the dtype has no rounding error, such as an integer.
    """
    if dtype not in TOLERANCES:
        raise KeyError(f"no tolerance for {dtype}; known: {', '.join(map(str, TOLERANCES))}")
    return TOLERANCES[dtype]


def relative_error(actual: Any, expected: Any) -> float:
    r"""Largest difference over largest expected magnitude, :math:`\max|a - e| / \max|e|`.

    Parameters
    ----------
    actual, expected
        Tensors, arrays or numbers of one shape. Compared in double precision.

    Raises
    ------
    AssertionError
        If the shapes differ; nothing is broadcast.
    """
    ours, reference = _double(actual), _double(expected)
    if ours.shape != reference.shape:
        raise AssertionError(f"expected shape {tuple(reference.shape)}, got {tuple(ours.shape)}")
    if not reference.numel():
        return 0.0
    largest = float(reference.abs().max())
    error = float((ours - reference).abs().max())
    return error if largest == 0 else error / largest


def assert_close(actual: Tensor, expected: Any, *, factor: float = 1.0) -> None:
    """Assert that a tensor agrees with a reference to the tolerance of its dtype.

    Parameters
    ----------
    actual
        Floating or complex tensor; its dtype sets the tolerance.
    expected
        Tensor, array or number of the same shape.
    factor
        Multiplies the tolerance, for sums over many terms.

    Raises
    ------
    AssertionError
        If the shapes differ, or the relative error is too large or not a number.

    Examples
    --------
    >>> assert_close(torch.ones(3), torch.ones(3) + 1e-7)
    """
    allowed, error = factor * tolerance(actual.dtype), relative_error(actual, expected)
    # The negated form also catches an error that is not a number.
    if not error <= allowed:
        raise AssertionError(f"relative error {error:.3g}, expected at most {allowed:.3g} for {actual.dtype}")


def _double(values: Any) -> Tensor:
    tensor = torch.as_tensor(values).detach().cpu()
    return tensor.to(torch.complex128 if tensor.is_complex() else torch.float64)
