r"""Standard deviation that shot noise leaves in an object.

With Poisson counts of mean :math:`\lambda = s|\Psi|^2` the Fisher information of a complex pixel is, averaged
over the phases of the detector field, :math:`2sL` for either of its two parts, with the summed illumination
:math:`L = \sum_j |P_j|^2`. The bound on the variance of the complex value is then :math:`1/(sL)` (Wei et al.,
Opt. Express 28, 2020).

Two things make it larger. Of incoherent modes a frame shows the sum only: a mode that has the share
:math:`w_m` of the light speaks with this share, and :math:`\sum_m |P_m|^2` becomes
:math:`\sum_m w_m |P_m|^2`. And where patches are interpolated between pixels, fine detail reaches the frames
weakened: at a fraction :math:`f` between two pixels an axis passes
:math:`|h(k)|^2 = 1 - 2f(1-f)(1 - \cos k)`, and the information on a frequency is the mean of :math:`|h|^2`
over the frames, weighted with their light. Together

.. math:: \sigma^2(r) = \frac1s \left\langle \frac{1}{\sum_j \sum_m w_m |P_{jm}(r)|^2\,
          |h_{jy}(k_y)|^2\, |h_{jx}(k_x)|^2} \right\rangle_k .

For one mode at whole pixels, or where the probe is moved instead of the object, this is :math:`1/(sL)`; for
fractions that are spread evenly, about three times as much.
"""

from __future__ import annotations

from itertools import product

import numpy as np
import torch
from torch import Tensor

from ptycho_torch.metrics.region import COVERAGE_SHARE, lit_pixels
from ptycho_torch.physics.intensity import squared_modulus
from ptycho_torch.physics.placement_bilinear import BilinearRows
from ptycho_torch.refine.canvas import WorkingCanvas
from ptycho_torch.refine.error_bars.bars import ErrorBars
from ptycho_torch.refine.sub_pixel import SolverPlacement
from ptycho_torch.refine.unknowns import Unknowns

__all__ = ["relative_variance", "shot_noise"]

_CHUNK = 64
_FREQUENCIES = 6
_LEAST_PASSED = 1e-3
"""Information on a frequency is bounded below: at half a pixel nothing is known of the finest stripes."""


def shot_noise(
    unknowns: Unknowns,
    placement: SolverPlacement,
    weight: Tensor,
    intensity_scale: float,
    canvas: WorkingCanvas,
) -> ErrorBars:
    """Error bars of shot noise.

    Parameters
    ----------
    unknowns
        Their light falls on the frames.
    placement
        Where all frames lie.
    weight
        Real, ``(height, width)`` of the canvas: summed illumination, in normalised units.
    intensity_scale
        Counts per unit of normalised intensity.
    canvas
        Says what part of it belongs to the result.
    """
    variance = relative_variance(unknowns, placement) / intensity_scale
    light = np.asarray(canvas.crop(weight.float()), dtype=np.float32)
    return ErrorBars(
        sigma=np.asarray(canvas.crop(variance.sqrt().float()), dtype=np.float32),
        null_space=~lit_pixels(light, light.shape, COVERAGE_SHARE),
        null_share=COVERAGE_SHARE,
    )


def relative_variance(unknowns: Unknowns, placement: SolverPlacement) -> Tensor:
    """Variance of the complex value times the counts per unit of normalised intensity.

    Parameters
    ----------
    unknowns, placement
        As for :func:`shot_noise`.

    Returns
    -------
    Tensor
        Real, ``(height, width)`` of the canvas; infinite where no light falls.
    """
    between = isinstance(placement, BilinearRows) and bool(placement.fractions.any())
    total = unknowns.probe.value.real.new_zeros((4 if between else 1, *placement.shape))
    for start in range(0, len(placement), _CHUNK):
        chosen = slice(start, start + _CHUNK)
        part = placement.part(chosen)
        light = unknowns.light(part, np.arange(len(placement))[chosen])
        power = _told(light).expand(len(part), -1, -1)
        part.add(power, total[0])
        if between:
            # What an interpolation lets neighbours share: f (1 - f) along an axis.
            assert isinstance(part, BilinearRows)
            y, x = (part.fractions * (1 - part.fractions)).to(power.dtype)[:, :, None, None].unbind(dim=1)
            for image, share in zip(total[1:], (y * (1 - 2 * x), (1 - 2 * y) * x, y * x), strict=True):
                part.add(power * share, image)
    if not between:
        return total[0].reciprocal()
    return _mean_inverse(*total)


def _told(light: Tensor) -> Tensor:
    """Light that a frame tells apart: real, ``(N, N)`` or ``(batch, N, N)``, from that of its modes."""
    power = squared_modulus(light)
    if power.shape[-3] == 1:
        return power.squeeze(-3)
    share = power.sum(dim=(-2, -1), keepdim=True)
    return (power * (share / share.sum(dim=-3, keepdim=True))).sum(dim=-3)


def _mean_inverse(light: Tensor, down: Tensor, right: Tensor, both: Tensor) -> Tensor:
    """Mean over the frequencies of the inverse of what the frames pass of them."""
    scale = light.clamp_min(torch.finfo(light.dtype).tiny)
    down, right, both = down / scale, right / scale, both / scale
    middle = 1 - 2 * down - 2 * right - 4 * both
    # The mean over a period of a function of the cosine, by Gauss-Chebyshev quadrature.
    nodes = np.cos(np.pi * (np.arange(_FREQUENCIES) + 0.5) / _FREQUENCIES).tolist()
    factor = torch.zeros_like(light)
    for cos_y, cos_x in product(nodes, nodes):
        passed = middle + 2 * cos_y * down + 2 * cos_x * right + 4 * cos_y * cos_x * both
        factor += passed.clamp_min(_LEAST_PASSED).reciprocal()
    return factor / _FREQUENCIES**2 / light
