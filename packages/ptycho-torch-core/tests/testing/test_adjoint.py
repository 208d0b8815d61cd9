"""The operator check passes what is right and catches each way of being wrong."""

from __future__ import annotations

import doctest

import pytest
import torch

import ptycho_torch.testing.adjoint as module
from ptycho_torch.testing import assert_adjoint, random_probe

MATRIX = random_probe(1, 5, torch.Generator().manual_seed(1))[0, :3]


def _right(y):
    return MATRIX.conj().T @ y


def _check(forward, adjoint, x_shape=5, y_shape=3):
    generator = torch.Generator().manual_seed(0)
    assert_adjoint(forward, adjoint, torch.empty(x_shape), torch.empty(y_shape), generator)


def test_accepts_a_matrix_and_its_conjugate_transpose():
    _check(lambda x: MATRIX @ x, _right)


@pytest.mark.parametrize(
    ("forward", "adjoint", "said"),
    [
        (lambda x: MATRIX @ x, lambda y: MATRIX.T @ y, "<Ax, y>"),
        (lambda x: MATRIX @ x, lambda y: 2 * _right(y), "<Ax, y>"),
        (lambda x: MATRIX @ x.conj(), lambda y: MATRIX.T @ y.conj(), "relative error"),
        (lambda x: MATRIX @ x.detach() + 0 * MATRIX @ x, _right, "vjp of forward"),
        (lambda x: MATRIX @ x, lambda y: _right(y).expand(2, 5), "adjoint.y.: expected shape"),
        (lambda x: (MATRIX @ x)[None], _right, "forward.x.: expected shape"),
        (lambda x: (MATRIX @ x).to(torch.complex64), _right, "complex128"),
        (lambda x: MATRIX @ x * float("nan"), _right, "nan"),
    ],
    ids=["no conjugate", "factor", "antilinear", "detached", "adjoint shape", "shape", "single", "nan"],
)
def test_refuses_what_is_no_adjoint(forward, adjoint, said):
    with pytest.raises(AssertionError, match=said):
        _check(forward, adjoint)


def test_refuses_a_pair_that_is_not_linear():
    # Both satisfy the dot-product test as real operators; only the factor c gives them away.
    with pytest.raises(AssertionError):
        _check(lambda x: x.real.to(x.dtype), lambda y: y.real.to(y.dtype), 3, 3)


def test_example_runs():
    assert doctest.testmod(module, extraglobs={"torch": torch}).failed == 0
