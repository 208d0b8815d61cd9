"""The illumination: power, support mask and smoothing kernel."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ptycho_torch.physics.shapes import check_probe
from ptycho_torch.types import Probe

__all__ = ["gaussian_transfer", "illumination", "probe_power", "soft_disk", "with_power"]


def probe_power(probe: Probe) -> Tensor:
    r"""Total power :math:`\sum_m \sum_r |P_m(r)|^2` of a probe ``(modes, N, N)``; a real scalar."""
    check_probe(probe)
    return illumination(probe).sum()


def illumination(probe: Probe) -> Tensor:
    r"""Intensity on the sample, :math:`\sum_m |P_m|^2`.

    The modes are mutually incoherent: their intensities add, not their fields.

    Parameters
    ----------
    probe
        Complex, ``(modes, N, N)``.

    Returns
    -------
    Tensor
        Real, ``(N, N)``.
    """
    check_probe(probe)
    return (probe.real.square() + probe.imag.square()).sum(dim=0)


def with_power(probe: Probe, power: float | Tensor) -> Probe:
    """Rescale all modes by one real factor so that the total power is ``power``.

    The balance between the modes is unchanged.
    """
    return probe * torch.sqrt(power / probe_power(probe))


def soft_disk(n_pixels: int, *, diameter: float, sigma: float, dtype: torch.dtype = torch.float32) -> Tensor:
    r"""Circular support with a Gaussian edge.

    The disk is one up to its radius :math:`R` and falls as
    :math:`\exp(-(r - R)^2 / 2\sigma^2)` outside, with :math:`r` the distance in pixels from the
    patch centre ``[N // 2, N // 2]``. With ``sigma = 0`` the edge is sharp.

    Parameters
    ----------
    n_pixels
        Side ``N`` of the patch in px.
    diameter
        Diameter of the disk in px, positive.
    sigma
        Width of the edge in px, zero or more.
    dtype
        Real dtype of the result.

    Returns
    -------
    Tensor
        Real, ``(N, N)``, values in ``[0, 1]``.

    Raises
    ------
    ValueError
        If the diameter is not positive or sigma is negative.
    """
    if diameter <= 0 or sigma < 0:
        raise ValueError(
            f"soft_disk: expected diameter > 0 and sigma >= 0, got diameter={diameter}, sigma={sigma}"
        )
    axis = torch.arange(n_pixels, dtype=dtype) - n_pixels // 2
    outside = torch.clamp(torch.hypot(axis[:, None], axis[None, :]) - diameter / 2, min=0)
    if sigma == 0:
        return (outside == 0).to(dtype)
    return torch.exp(-outside.square() / (2 * sigma**2))


def gaussian_transfer(n_pixels: int, sigma: float, *, dtype: torch.dtype = torch.float32) -> Tensor:
    r"""Transfer function of a periodic Gaussian blur, for use with :func:`torch.fft.fft2`.

    .. math:: G(k) = \exp(-2 \pi^2 \sigma^2 |k|^2)

    Parameters
    ----------
    n_pixels
        Side ``N`` of the field in px.
    sigma
        Width of the blur in px.
    dtype
        Real dtype of the result.

    Returns
    -------
    Tensor
        Real, ``(N, N)``, zero frequency at ``[0, 0]``.
    """
    frequency = torch.fft.fftfreq(n_pixels, dtype=dtype)
    squared = frequency[:, None].square() + frequency[None, :].square()
    return torch.exp(-2 * math.pi**2 * sigma**2 * squared)
