"""The gauge: how counts, probe and object share one intensity scale.

Ptychography determines the product of probe and object, so a factor can move between them. The
scale is fixed once per scan: the probe has power :math:`(N/2)^2` and the intensity scale is

.. math:: s = \\frac{\\langle \\sum I \\rangle_{frames}}{(N/2)^2},

so that a fully transmitting object, :math:`|O| = 1` everywhere, predicts the mean measured
counts. The same number normalises the network input, :math:`A = \\sqrt{I / s}`, whose mean power
per frame is then :math:`(N/2)^2`: amplitudes on the detector, probe and object are all of order
one at every dose. Where pixels were not measured, or a blur takes some of the power,
:math:`(N/2)^2` in the scale is replaced by the power of the empty beam on the measured pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from ptycho_torch.physics.forward import predicted_counts
from ptycho_torch.physics.probe import probe_power, with_power
from ptycho_torch.types import Amplitudes, Counts, PixelMask, Probe

__all__ = ["Calibration", "calibrate", "normalised_amplitude"]


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What fixes the gauge of one scan.

    Attributes
    ----------
    probe
        Complex64, ``(modes, N, N)``, power ``(N / 2) ** 2``.
    intensity_scale
        Counts per unit of normalised intensity, positive.
    mean_counts
        Mean over the calibration frames of the counts per frame.
    """

    probe: Probe = field(repr=False)
    intensity_scale: float
    mean_counts: float


def calibrate(
    probe: Probe,
    mean_counts: float,
    *,
    measured: PixelMask | None = None,
    smoothing_sigma: float = 0.0,
) -> Calibration:
    """Fix the gauge from a probe of any scale and the mean counts per frame.

    Parameters
    ----------
    probe
        Complex, ``(modes, N, N)``, any positive power.
    mean_counts
        Mean over the training frames of the sum over measured pixels, in counts.
    measured
        Bool, ``(N, N)``: False where the detector did not measure. What the empty beam would have
        sent there is not missed in the mean counts.
    smoothing_sigma
        Width in px of the blur of the illuminated field, which takes some of its power.

    Raises
    ------
    ShapeError
        If the probe has the wrong rank.
    ValueError
        If the mean counts or the power of the probe are not positive and finite, or if the empty
        beam reaches no measured pixel.
    """
    if not 0 < mean_counts < float("inf"):
        raise ValueError(f"mean_counts: expected a positive finite number of counts, got {mean_counts}")
    precise = probe.to(torch.complex128)
    given = float(probe_power(precise))
    if not 0 < given < float("inf"):
        raise ValueError(f"probe: expected a positive finite power, got {given}; check the probe in the data")
    n_pixels = int(probe.shape[-1])
    scaled = with_power(precise, (n_pixels / 2) ** 2)
    empty = torch.ones(n_pixels, n_pixels, dtype=scaled.dtype, device=scaled.device)
    beam = predicted_counts(empty, scaled, 1.0, smoothing_sigma=smoothing_sigma)
    seen = float(beam.sum() if measured is None else beam[measured].sum())
    if not seen > 0:
        raise ValueError("probe: the empty beam reaches no measured pixel; check the mask of bad pixels")
    return Calibration(
        probe=scaled.to(torch.complex64),
        intensity_scale=mean_counts / seen,
        mean_counts=mean_counts,
    )


def normalised_amplitude(counts: Counts, intensity_scale: float | torch.Tensor) -> Amplitudes:
    """Network input :math:`\\sqrt{I / s}` from counts; same shape, same real dtype."""
    return torch.sqrt(counts / intensity_scale)
