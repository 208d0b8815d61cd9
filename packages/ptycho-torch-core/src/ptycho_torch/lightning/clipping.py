"""Bounds on gradients that are right for complex parameters too."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from ptycho_config import PyTorchExecutionConfig, TrainingConfig, stated_fields

__all__ = ["clip_adaptively", "clip_algorithm", "clip_values"]

_SMALLEST_NORM = 1e-3


def clip_algorithm(training: TrainingConfig, execution: PyTorchExecutionConfig) -> str:
    """What a bound on the gradients bounds; stated beside it or, in an older place, in the training."""
    older = stated_fields(training).get("gradient_clip_algorithm")
    return execution.gradient_clip_algorithm if older is None else str(older)


@torch.no_grad()
def clip_values(parameters: Iterable[nn.Parameter], bound: float) -> None:
    """Limit every gradient to ``[-bound, bound]``, in place; real and imaginary parts each for itself.

    Parameters
    ----------
    parameters
        Those without a gradient are left alone.
    bound
        Greater than zero.
    """
    for gradient in _gradients(parameters):
        parts = torch.view_as_real(gradient) if gradient.is_complex() else gradient
        parts.clamp_(-bound, bound)


@torch.no_grad()
def clip_adaptively(parameters: Iterable[nn.Parameter], ratio: float) -> None:
    r"""Limit the gradient of every unit relative to its weights, in place.

    .. math:: G_i \leftarrow G_i \min\left(1,\;
              \rho\,\frac{\max(\|W_i\|, 10^{-3})}{\|G_i\|}\right)

    Adaptive gradient clipping of Brock et al. (2021). A unit :math:`i` is what one output channel is
    made from: a row along the first axis of a weight, and a bias or another vector as a whole. The
    floor on the norm of the weights lets weights that start at zero move.

    Parameters
    ----------
    parameters
        Those without a gradient are left alone.
    ratio
        :math:`\rho`, greater than zero: the largest norm of a gradient per norm of its weights.
    """
    for parameter in parameters:
        gradient = parameter.grad
        if gradient is None:
            continue
        allowed = ratio * _unit_norm(parameter).clamp(min=_SMALLEST_NORM)
        norm = _unit_norm(gradient)
        gradient.mul_(torch.where(norm > allowed, allowed / norm, 1.0))


def _gradients(parameters: Iterable[nn.Parameter]) -> Iterable[Tensor]:
    return (parameter.grad for parameter in parameters if parameter.grad is not None)


def _unit_norm(values: Tensor) -> Tensor:
    """Norm of every unit, in a shape that multiplies the values."""
    axes = tuple(range(1, values.ndim)) if values.ndim > 1 else tuple(range(values.ndim))
    if not axes:
        return values.abs()
    return torch.linalg.vector_norm(values, dim=axes, keepdim=True)
