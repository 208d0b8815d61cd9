"""Least squares over frames of which some are wrong: weights by Huber (Ann. Math. Stat. 35, 73, 1964)."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["robust_fit", "robust_step"]

_HUBER = 2.0
"""Residuals below so many medians have the full weight."""
_GROSS = 5.0
"""The same for gradients: they cancel over all frames, and less so if many count less than others."""
_OF_MEAN = 0.1
_ROUNDS = 10
_SMALL = 1e-3
_TINY = 1e-30


def robust_step(pull: Tensor, stiffness: Tensor) -> Tensor:
    r"""Solution of :math:`\sum_j w_j (H_j c + b_j) = 0` with the weights of Huber.

    Parameters
    ----------
    pull
        float64, ``(n, K)``: gradient b of every frame; rows of zeros say nothing.
    stiffness
        float64, ``(n, K, K)``: its curvature H, at least its Gauss-Newton part.

    Returns
    -------
    Tensor
        float64, ``(K,)``.
    """
    seen = stiffness.diagonal(dim1=1, dim2=2).sum(dim=1) > 0
    pull, stiffness = pull[seen], stiffness[seen]
    if not len(pull):
        return pull.new_zeros(pull.shape[1])
    own = stiffness + _OF_MEAN * _held(stiffness.mean(dim=0))
    weight = pull.new_ones(len(pull))
    found = pull.new_zeros(pull.shape[1])
    for _ in range(_ROUNDS):
        total = _held(torch.einsum("j,jkl->kl", weight, stiffness))
        found = -torch.linalg.solve(total, weight @ pull)
        left = pull + stiffness @ found
        # A frame with much structure pulls more, for noise too: each is measured by its own curvature.
        size = (left * torch.linalg.solve(own, left[..., None])[..., 0]).sum(dim=1).clamp(min=0).sqrt()
        weight = _weights(size, _GROSS)
    return found


def robust_fit(values: Tensor, functions: Tensor) -> Tensor:
    """Coefficients ``(K, m)`` of functions ``(n, K)`` and a constant, whose sum is closest to ``(n, m)``.

    The constant is left out of what is returned.
    """
    columns = torch.cat((functions, torch.ones_like(functions[:, :1])), dim=1)
    weight = values.new_ones(len(values))
    found = values.new_zeros(columns.shape[1], values.shape[1])
    for _ in range(_ROUNDS):
        weighted = columns * weight[:, None]
        found = torch.linalg.lstsq(weighted.T @ columns, weighted.T @ values).solution
        weight = _weights(torch.linalg.norm(values - columns @ found, dim=1), _HUBER)
    return found[:-1]


def _held(curvature: Tensor) -> Tensor:
    """With a little more on the diagonal: what hardly matters to the frames stays."""
    diagonal = curvature.diagonal()
    return curvature + torch.diag(_SMALL * diagonal + _SMALL * _SMALL * diagonal.max() + _TINY)


def _weights(size: Tensor, threshold: float) -> Tensor:
    scale = size.median().clamp(min=_TINY)
    return (threshold * scale / size.clamp(min=_TINY)).clamp(max=1)
