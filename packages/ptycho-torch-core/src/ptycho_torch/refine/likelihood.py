r"""Gradient of the misfit by the detector field, under a noise model.

With the predicted amplitude :math:`a = \sqrt\lambda` and the measured one :math:`A = \sqrt I`, both
in normalised units, the gradient by every field :math:`\Psi_m` is :math:`w\,\Psi_m` with one real
weight per pixel:

- amplitude, the least-squares distance :math:`\sum (a - A)^2`:
  :math:`w = 1 - A/a`, the modulus constraint of Fienup (1982) as a gradient;
- Poisson, :math:`\sum \lambda - I\log\lambda` (Thibault and Guizar-Sicairos, New J. Phys. 14,
  063004, 2012): its gradient is :math:`1 - I/\lambda = (1 - A/a)(1 + A/a)`, of which half is taken:
  :math:`w = (1 - A/a)(1 + \min(A/a, 2))/2`.

Half the Poisson gradient has the curvature of the amplitude distance where prediction and data
agree, so that both share one preconditioner. The bound of 2 acts on pixels that are predicted more
than four times too dark. There the likelihood is so steep that no common step length fits it, and
the amplitude gradient, three halves of it, takes its place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

__all__ = ["Likelihood", "Misfit", "field_weight"]

Likelihood = Literal["poisson", "amplitude"]

_STEEPEST_RATIO = 2.0
_TINY = 1e-12
_DARK = 1e-30
"""Intensity that stands for none: libraries take a slow path for the root and the logarithm of zero."""


@dataclass
class Misfit:
    """Sums over the pixels seen so far, in normalised units.

    Attributes
    ----------
    difference, amplitude
        Sums of :math:`|a - A|` and of :math:`A`.
    objective, intensity
        Sum of the likelihood term and of :math:`I`.
    """

    difference: float = 0.0
    amplitude: float = 0.0
    objective: float = 0.0
    intensity: float = 0.0

    def add(self, difference: float, amplitude: float, objective: float, intensity: float) -> None:
        """Add sums over further pixels."""
        self.difference += difference
        self.amplitude += amplitude
        self.objective += objective
        self.intensity += intensity

    @property
    def residual(self) -> float:
        """Forward residual, see :class:`ptycho_torch.refine.RefineResult`."""
        return self.difference / max(self.amplitude, _TINY)

    @property
    def per_photon(self) -> float:
        """Likelihood term per measured photon."""
        return self.objective / max(self.intensity, _TINY)


def field_weight(
    predicted: Tensor, measured_intensity: Tensor, likelihood: Likelihood, mask: Tensor | None, misfit: Misfit
) -> Tensor:
    """Weight of the detector field in the gradient; adds the pixels to ``misfit``.

    Parameters
    ----------
    predicted
        Real, ``(batch, N, N)``: normalised intensity of all modes. Overwritten.
    measured_intensity
        Same shape. Overwritten.
    likelihood
        Noise model.
    mask
        Real, ``(N, N)`` or ``(batch, N, N)``, one where measured, zero elsewhere; or None.
    misfit
        Running sums.

    Returns
    -------
    Tensor
        Real, ``(batch, N, N)``; zero at pixels that were not measured.
    """
    if mask is not None:
        predicted = predicted.mul_(mask)
    predicted, intensity = predicted.clamp_(min=_TINY**2), measured_intensity.clamp_(min=_DARK)
    poisson = likelihood == "poisson"
    # lambda - I + I log(I / lambda), summed in two parts that share the ratio of the amplitudes.
    excess = (predicted - intensity).sum() if poisson else None
    modulus, amplitude = predicted.sqrt_(), intensity.sqrt()
    difference = modulus - amplitude
    total_intensity, total_amplitude = intensity.sum(), amplitude.sum()
    ratio = amplitude.div_(modulus)
    if excess is None:
        total_difference = torch.linalg.vector_norm(difference, 1)
        objective = difference.square_().sum()
        weight = ratio.neg_().add_(1)
    else:
        total_difference = difference.abs_().sum()
        information = torch.log(ratio, out=modulus).mul_(intensity).sum()
        objective = excess + 2 * information
        bounded = torch.clamp(ratio, max=_STEEPEST_RATIO, out=difference).add_(1).mul_(0.5)
        weight = torch.addcmul(bounded, bounded, ratio, value=-1, out=ratio)
    sums = torch.stack((total_difference, total_amplitude, objective, total_intensity))
    misfit.add(*sums.tolist())
    return weight if mask is None else weight.mul_(mask)
