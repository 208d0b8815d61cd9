"""Bounds on gradients, by their definitions."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ptycho_torch.lightning.clipping import clip_adaptively, clip_values


def _parameter(value, gradient):
    parameter = nn.Parameter(value)
    parameter.grad = gradient
    return parameter


@pytest.mark.rule("RUN-020")
def test_each_unit_is_bounded_by_its_own_weights():
    torch.manual_seed(0)
    weight = torch.randn(6, 3, 2, 2) * torch.logspace(-5, 1, 6)[:, None, None, None]
    gradient = torch.randn(6, 3, 2, 2)
    parameter = _parameter(weight.clone(), gradient.clone())
    clip_adaptively([parameter], 0.1)
    for before, after, unit in zip(gradient, parameter.grad, weight, strict=True):
        allowed = 0.1 * max(float(unit.norm()), 1e-3)
        expected = before * min(1.0, allowed / float(before.norm()))
        torch.testing.assert_close(after, expected)
    # The last unit is large enough to be left alone.
    assert torch.equal(parameter.grad[-1], gradient[-1])


@pytest.mark.parametrize("shape", [(5,), ()])
def test_vectors_and_numbers_are_one_unit(shape):
    parameter = _parameter(torch.full(shape, 2.0), torch.full(shape, 100.0))
    clip_adaptively([parameter], 0.5)
    assert float(parameter.grad.norm()) == pytest.approx(0.5 * float(parameter.detach().norm()))
    assert parameter.grad.shape == shape


def test_weights_of_zero_can_move_and_gradients_of_zero_stay():
    still = _parameter(torch.zeros(2, 3), torch.zeros(2, 3))
    clip_adaptively([still, nn.Parameter(torch.ones(2))], 0.1)
    assert torch.equal(still.grad, torch.zeros(2, 3))
    moved = _parameter(torch.zeros(2, 3), torch.ones(2, 3))
    clip_adaptively([moved], 0.1)
    torch.testing.assert_close(moved.grad.norm(dim=1), torch.full((2,), 1e-4))


@pytest.mark.rule("RUN-020")
def test_complex_gradients_are_bounded_too():
    gradient = torch.complex(torch.tensor([[3.0, -0.1]]), torch.tensor([[-4.0, 0.2]]))
    by_value = _parameter(torch.ones(1, 2, dtype=torch.complex64), gradient.clone())
    clip_values([by_value, nn.Parameter(torch.ones(2))], 0.5)
    torch.testing.assert_close(
        by_value.grad, torch.complex(torch.tensor([[0.5, -0.1]]), torch.tensor([[-0.5, 0.2]]))
    )
    adaptive = _parameter(torch.ones(1, 2, dtype=torch.complex64), gradient.clone())
    clip_adaptively([adaptive], 0.01)
    torch.testing.assert_close(adaptive.grad, gradient * (0.01 * 2**0.5 / gradient.abs().norm()))
