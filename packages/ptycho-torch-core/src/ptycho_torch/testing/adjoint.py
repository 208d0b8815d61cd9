"""The test that every linear operator of the package has to pass."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ptycho_torch.testing.tolerances import relative_error, tolerance

__all__ = ["assert_adjoint"]


def assert_adjoint(
    forward: Callable[[Tensor], Tensor],
    adjoint: Callable[[Tensor], Tensor],
    x_like: Tensor,
    y_like: Tensor,
    generator: torch.Generator,
) -> None:
    r"""Assert that two functions are a linear operator and its adjoint, in double precision.

    .. math:: \langle A x, y \rangle = \langle x, A^H y \rangle

    for random complex :math:`x` and :math:`y` (Claerbout 1992, the dot-product test), that the
    vector-Jacobian product of ``forward`` is ``adjoint``, that the one of ``adjoint`` is
    ``forward``, and that both map complex numbers linearly. Random numbers with real and
    imaginary parts are used because real ones hide a missing conjugate.

    Parameters
    ----------
    forward, adjoint
        Functions of one tensor, of double precision inside.
    x_like, y_like
        Tensors with the shapes and the device of input and output; their values and dtype do not
        matter.
    generator
        Source of the random numbers, on the device of the tensors.

    Raises
    ------
    AssertionError
        If a shape or a value differs.

    Examples
    --------
    >>> matrix = torch.tensor([[1, 2j, 0], [0, 1 + 1j, 3]], dtype=torch.complex128)
    >>> assert_adjoint(
    ...     lambda x: matrix @ x,
    ...     lambda y: matrix.conj().T @ y,
    ...     torch.empty(3),
    ...     torch.empty(2),
    ...     torch.Generator().manual_seed(0),
    ... )
    """
    x, y = _random(x_like, generator), _random(y_like, generator)
    image, back = forward(x), adjoint(y)
    _assert_shape("forward(x)", image, y)
    _assert_shape("adjoint(y)", back, x)
    left, right = torch.vdot(image.flatten(), y.flatten()), torch.vdot(x.flatten(), back.flatten())
    # Random vectors are nearly orthogonal, so the products are judged against the norms.
    scale = float(torch.linalg.vector_norm(image) * torch.linalg.vector_norm(y))
    _assert_small("<Ax, y> against <x, A*y>", float((left - right).abs()) / max(scale, 1e-300))
    _assert_small("vjp of forward against adjoint", relative_error(_vjp(forward, x, y), back))
    _assert_small("vjp of adjoint against forward", relative_error(_vjp(adjoint, y, x), image))
    factor = torch.randn((), dtype=torch.complex128, generator=generator, device=x.device)
    _assert_small("forward(c x) against c forward(x)", relative_error(forward(factor * x), factor * image))
    _assert_small("adjoint(c y) against c adjoint(y)", relative_error(adjoint(factor * y), factor * back))


def _random(like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(like.shape, dtype=torch.complex128, generator=generator, device=like.device)


def _vjp(function: Callable[[Tensor], Tensor], at: Tensor, cotangent: Tensor) -> Tensor:
    leaf = at.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(function(leaf), leaf, cotangent)
    return gradient


def _assert_shape(name: str, actual: Tensor, expected: Tensor) -> None:
    if actual.shape != expected.shape:
        raise AssertionError(f"{name}: expected shape {tuple(expected.shape)}, got {tuple(actual.shape)}")
    if actual.dtype != torch.complex128:
        raise AssertionError(f"{name}: expected complex128 from complex128, got {actual.dtype}")


def _assert_small(name: str, error: float) -> None:
    allowed = tolerance(torch.complex128)
    if not error <= allowed:
        raise AssertionError(f"{name}: relative error {error:.3g}, expected at most {allowed:.3g}")
