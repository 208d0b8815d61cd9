"""How far predicted counts are from measured ones, and how rough an object is.

Every measurement loss is a sum over the measured pixels of a frame, averaged over frames and
divided by a constant of the scan, never by a quantity of the batch: a batch-dependent divisor
changes the objective with the batch size.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ptycho_torch.errors import ShapeError
from ptycho_torch.types import ComplexPatches, Counts, PixelMask

__all__ = ["amplitude_mae", "label_mae", "poisson_deviance", "total_variation"]


def _zero_where_bad(measured_counts: Counts, measured: PixelMask | None) -> Counts:
    # Whatever a dead pixel reports, not a number included, must not reach the gradient: zero times
    # an infinite slope would.
    if measured is None:
        return measured_counts
    return torch.where(measured, measured_counts, measured_counts.new_zeros(()))


def _frame_mean(per_pixel: Tensor, measured: PixelMask | None) -> Tensor:
    if measured is not None:
        per_pixel = torch.where(measured, per_pixel, per_pixel.new_zeros(()))
    return per_pixel.sum(dim=(-2, -1)).mean()


def poisson_deviance(
    predicted: Counts,
    measured_counts: Counts,
    *,
    mean_counts: float | Tensor,
    measured: PixelMask | None = None,
) -> Tensor:
    r"""Poisson negative log-likelihood above its minimum, per measured photon.

    .. math:: \frac{1}{\langle\sum I\rangle} \sum_{pixels}
              \left[\lambda - I + I \log\frac{I}{\lambda}\right]

    This is :math:`\lambda - I \log\lambda` plus terms of the data alone (half the deviance of a
    Poisson model, McCullagh and Nelder 1989), so gradients are those of the likelihood while the
    value is zero for a perfect prediction at every dose. Written with
    :math:`\delta = (\lambda - I)/I` as :math:`I(\delta - \log(1 + \delta))` it keeps float32
    precision at :math:`10^9` counts, where :math:`\lambda - I\log\lambda` cancels.

    Parameters
    ----------
    predicted
        :math:`\lambda`, real, ``(..., N, N)``, counts, zero or more.
    measured_counts
        :math:`I`, same shape, counts, zero or more; need not be whole numbers.
    mean_counts
        Mean counts per frame of the scan, positive.
    measured
        Bool, ``(N, N)``; pixels that are False carry no loss.

    Returns
    -------
    Tensor
        Scalar, zero or more.
    """
    measured_counts = _zero_where_bad(measured_counts, measured)
    # A count so small beside the rest that its inverse would overflow is no count.
    has_counts = measured_counts > 1e-20 * mean_counts
    counts = torch.where(has_counts, measured_counts, torch.ones_like(measured_counts))
    # Where the predicted field vanishes the slope 1 - I / lambda is infinite. One millionth of the
    # measured counts, far below their noise, bounds it without ever making it zero.
    excess = (predicted - counts) / counts + 1e-6
    per_pixel = torch.where(has_counts, counts * (excess - torch.log1p(excess)), predicted)
    return _frame_mean(per_pixel, measured) / mean_counts


def amplitude_mae(
    predicted: Counts,
    measured_counts: Counts,
    *,
    mean_counts: float | Tensor,
    measured: PixelMask | None = None,
) -> Tensor:
    r"""Mean absolute difference of amplitudes, per root-mean-square amplitude of the scan.

    .. math:: \frac{1}{N \sqrt{\langle\sum I\rangle}} \sum_{pixels}
              \left|\sqrt{\lambda} - \sqrt{I}\right|

    Parameters
    ----------
    predicted, measured_counts, mean_counts, measured
        As for :func:`poisson_deviance`.

    Returns
    -------
    Tensor
        Scalar, zero or more; independent of dose for the same relative prediction.

    Notes
    -----
    The gradient of the square root is infinite at zero. The floor, far below one count, bounds it.
    """
    floor = 1e-6
    measured_counts = _zero_where_bad(measured_counts, measured)
    difference = torch.sqrt(predicted.clamp(min=floor)) - torch.sqrt(measured_counts)
    n_pixels = predicted.shape[-1]
    return _frame_mean(difference.abs(), measured) / (n_pixels * mean_counts**0.5)


def total_variation(patches: ComplexPatches) -> Tensor:
    r"""Mean absolute difference between neighbouring pixels of complex patches.

    .. math:: \langle |O_{r+1,c} - O_{r,c}| \rangle + \langle |O_{r,c+1} - O_{r,c}| \rangle

    the anisotropic form of Rudin, Osher and Fatemi (1992) for a complex image.

    Parameters
    ----------
    patches
        Complex, ``(..., N, N)``.

    Returns
    -------
    Tensor
        Scalar, zero or more.
    """
    down = (patches[..., 1:, :] - patches[..., :-1, :]).abs().mean()
    right = (patches[..., :, 1:] - patches[..., :, :-1]).abs().mean()
    return down + right


def label_mae(patches: ComplexPatches, labels: ComplexPatches, weight: Tensor) -> Tensor:
    r"""Weighted mean absolute difference between complex patches and known ones.

    .. math:: \frac{\langle \sum w\,|O - Y| \rangle}{\sum w}

    Parameters
    ----------
    patches, labels
        Complex, ``(..., N, N)``, of one shape.
    weight
        Real, ``(N, N)``, zero or more: what each pixel of a patch is worth. Outside the illumination
        no frame can tell what the object is.

    Returns
    -------
    Tensor
        Scalar, zero or more.

    Raises
    ------
    ShapeError
        If patches and labels have different shapes.
    """
    if patches.shape != labels.shape:
        raise ShapeError("labels", tuple(patches.shape), tuple(labels.shape))
    return (weight * (patches - labels).abs()).sum(dim=(-2, -1)).mean() / weight.sum()
