r"""Standard deviation that shot noise leaves in an object.

With Poisson counts of mean :math:`\lambda = s|\Psi|^2` the Fisher information of a complex pixel is, averaged
over the phases of the detector field, :math:`2sL` for either of its two parts, with the summed illumination
:math:`L = \sum_j |P_j|^2`. The bound on the variance of the complex value is then :math:`1/(sL)` (Wei et al.,
Opt. Express 28, 2020).

Three things make it larger.

- Incoherent modes: a frame shows their sum only. A mode that has the share :math:`w_m` of the light speaks
  with this share, and :math:`\sum_m |P_m|^2` becomes :math:`\sum_m w_m |P_m|^2`.
- Interpolation: where patches lie between pixels, fine detail reaches the frames weakened. At a fraction
  :math:`f` an axis passes :math:`|h(k)|^2 = 1 - 2f(1-f)(1 - \cos k)`, and the information on a frequency is
  the mean of :math:`|h|^2` over the frames, weighted with their light.
- Lost phases: a frame tells one of the two parts of each value of its field. Its information is twice a
  projector on half of all directions, another half for every frame. For k such projectors in general position
  the mean of the inverse of their sum is :math:`(k-1)/(k-2)` times the inverse of their mean: twice a
  projector less one is a reflection, and the sum of k free reflections has the spectrum of Kesten (Trans.
  Amer. Math. Soc. 92, 336, 1959) and McKay (Linear Algebra Appl. 40, 203, 1981).

Together

.. math:: \sigma^2(r) = \frac1s \left\langle \frac{k(r, q) - 1}{k(r, q) - 2}\,
          \frac{1}{\sum_j \sum_m w_m |P_{jm}(r)|^2\, |h_{jy}(q_y)|^2\, |h_{jx}(q_x)|^2} \right\rangle_q ,

with the mean over the frequencies q of an object pixel and the number of frames k that tell of one,
:math:`(\sum_j p_j)^2 / \sum_j p_j^2` of their light and of what they pass.
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
_FEWEST_FRAMES = 3.0
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
    # Light, its square, and where patches lie between pixels what neighbours share of it.
    total = unknowns.probe.value.real.new_zeros((5 if between else 2, *placement.shape))
    for start in range(0, len(placement), _CHUNK):
        chosen = slice(start, start + _CHUNK)
        part = placement.part(chosen)
        power = _told(unknowns.light(part, np.arange(len(placement))[chosen])).expand(len(part), -1, -1)
        images = [power, power.square()]
        if between:
            assert isinstance(part, BilinearRows)
            y, x = _shared(part.fractions, power.dtype)[:, :, None, None].unbind(dim=1)
            images += [power * share for share in (y * (1 - 2 * x), (1 - 2 * y) * x, y * x)]
        for values, image in zip(images, total, strict=True):
            part.add(values, image)
    light, square = total[:2]
    frames = light.square() / square.clamp_min(torch.finfo(square.dtype).tiny)
    if not between:
        return _redundancy(frames) / light
    assert isinstance(placement, BilinearRows)
    return _mean_inverse(light, frames, total[2:], _shared(placement.fractions, torch.float64))


def _shared(fractions: Tensor, dtype: torch.dtype) -> Tensor:
    """What an interpolation lets neighbours share, f (1 - f) along each axis."""
    return (fractions * (1 - fractions)).to(dtype)


def _redundancy(frames: Tensor) -> Tensor:
    """Factor of the variance where so many frames tell of a pixel; fewer than three are taken for three."""
    frames = frames.clamp_min(_FEWEST_FRAMES)
    return (frames - 1) / (frames - 2)


def _told(light: Tensor) -> Tensor:
    """Light that a frame tells apart: real, ``(N, N)`` or ``(batch, N, N)``, from that of its modes."""
    power = squared_modulus(light)
    if power.shape[-3] == 1:
        return power.squeeze(-3)
    share = power.sum(dim=(-2, -1), keepdim=True)
    return (power * (share / share.sum(dim=-3, keepdim=True))).sum(dim=-3)


def _mean_inverse(light: Tensor, frames: Tensor, shared: Tensor, fractions: Tensor) -> Tensor:
    """Mean over the frequencies of the variance, from what the frames pass of them.

    Parameters
    ----------
    light, frames
        Real, ``(height, width)``: summed light, and how many frames bring it.
    shared
        ``(3, height, width)``: what neighbours below, to the right and across share of it.
    fractions
        ``(frames, 2)``, from :func:`_shared`.
    """
    down, right, both = shared / light.clamp_min(torch.finfo(light.dtype).tiny)
    middle = 1 - 2 * down - 2 * right - 4 * both
    # The mean over a period of a function of the cosine, by Gauss-Chebyshev quadrature.
    nodes = np.cos(np.pi * (np.arange(_FREQUENCIES) + 0.5) / _FREQUENCIES).tolist()
    factor = torch.zeros_like(light)
    for cos_y, cos_x in product(nodes, nodes):
        passed = middle + 2 * cos_y * down + 2 * cos_x * right + 4 * cos_y * cos_x * both
        # Frames that hardly pass a frequency do not count as frames that tell of it.
        each = (1 - 2 * fractions * (1 - fractions.new_tensor([cos_y, cos_x]))).prod(dim=1)
        share = float(each.mean().square() / each.square().mean())
        factor += _redundancy(share * frames) / passed.clamp_min(_LEAST_PASSED)
    return factor / _FREQUENCIES**2 / light
