"""The default generator: physics steps and small U-Nets in object space, in turn.

A convolutional network that reads diffraction patterns must first learn a Fourier transform,
because each detector pixel depends on the whole patch. Here a few iterations of a classical
update carry the measurement into object space before a network sees it, and what the network
proposes is held against the measurement again before the next one refines it. What is left to
learn is local: which of the remaining ambiguities and artefacts belong to the sample.

The update is the regularised step of Maiden, Johnson and Li (2017, rPIE), one frame alone:

.. math:: O \\leftarrow O + \\frac{\\sum_m P_m^* F^{-1}[\\Psi_m (A/|\\Psi| - 1)]}
          {(1 - \\alpha)\\sum_m|P_m|^2 + \\alpha\\max\\sum_m|P_m|^2}

Alternating learned and physical steps is the scheme of variational networks (Hammernik et al.
2018); the first start is the fully transmitting object.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ptycho_torch.models.heads import amplitude_activation, to_object, zero_init
from ptycho_torch.models.registry import GeneratorSpec, register_generator
from ptycho_torch.physics.forward import DiffractionOperator, incoherent_intensity
from ptycho_torch.physics.probe import illumination
from ptycho_torch.physics.shapes import check_frames
from ptycho_torch.types import Amplitudes, ComplexPatches, PixelMask, Probe

__all__ = ["N_FEATURES", "UnrolledGenerator", "amplitude_gradient", "object_features", "physics_steps"]

_N_STEPS_PER_STAGE = (2, 2)
_REGULARISATION = 0.1
_GRADIENT_REGULARISATION = 0.05
N_FEATURES = 6
# Feature maps at the three scales of a U-Net for a width multiplier of one.
_WIDTHS = (8, 12, 16)
_BLOCKS = (1, 1, 2)
# Larger patches start from a quarter of the resolution instead of half.
_FINEST = 64


def amplitude_gradient(
    operator: DiffractionOperator,
    patches: ComplexPatches,
    amplitude: Amplitudes,
    measured: PixelMask | None = None,
) -> ComplexPatches:
    r"""Direction in which the predicted amplitudes approach the measured ones.

    .. math:: \sum_m P_m^* F^{-1}\left[\Psi_m \left(A / |\Psi| - 1\right)\right]

    half the negative gradient of :math:`\sum (|\Psi| - A)^2` (Fienup 1982). Pixels that were not
    measured keep their predicted field.

    Parameters
    ----------
    operator
        Far-field operator with the probe.
    patches
        Complex, ``(..., N, N)``.
    amplitude
        Real, ``(..., N, N)``, normalised.
    measured
        Bool, ``(N, N)``.

    Returns
    -------
    Tensor
        Complex, ``(..., N, N)``.
    """
    field = operator(patches)
    # The floor only matters where the field vanishes: there it keeps the ratio finite, and inside
    # the root, where its slope would be infinite, it keeps the gradient from becoming NaN.
    magnitude = torch.sqrt(incoherent_intensity(field).clamp(min=1e-12))
    excess = amplitude / magnitude - 1
    if measured is not None:
        excess = torch.where(measured, excess, excess.new_zeros(()))
    return operator.adjoint(field * excess.unsqueeze(-3))


def physics_steps(
    operator: DiffractionOperator,
    patches: ComplexPatches,
    amplitude: Amplitudes,
    n_steps: int,
    measured: PixelMask | None = None,
) -> ComplexPatches:
    """Object patches after ``n_steps`` regularised updates; shapes as in :func:`amplitude_gradient`."""
    light = illumination(operator.probe)
    step = 1 / ((1 - _REGULARISATION) * light + _REGULARISATION * light.max())
    for _ in range(n_steps):
        patches = patches + step * amplitude_gradient(operator, patches, amplitude, measured)
    return patches


class _Residual(nn.Module):
    """Pre-activation residual block that starts as the identity (Zhang et al. 2019, Fixup)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = zero_init(nn.Conv2d(width, width, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.silu(self.first(F.silu(x))))


class _UNet(nn.Module):
    """U-Net (Ronneberger et al. 2015) that works from a reduced resolution downwards.

    Rearranging squares of ``factor`` × ``factor`` pixels into channels at the input and back at the
    output saves the most expensive stages and loses nothing.
    """

    def __init__(self, n_in: int, n_out: int, widths: tuple[int, ...], factor: int) -> None:
        super().__init__()
        self.factor = factor
        steps = list(pairwise(widths))
        self.first = nn.Conv2d(factor**2 * n_in, widths[0], 3, padding=1)
        self.encode = nn.ModuleList(
            nn.Sequential(*(_Residual(width) for _ in range(count)))
            for width, count in zip(widths, _BLOCKS, strict=True)
        )
        self.down = nn.ModuleList(nn.Conv2d(fine, coarse, 2, stride=2) for fine, coarse in steps)
        self.up = nn.ModuleList(nn.Conv2d(coarse, 4 * fine, 1) for fine, coarse in steps)
        self.decode = nn.ModuleList(_Residual(fine) for fine, _ in steps)
        self.last = zero_init(nn.Conv2d(widths[0], factor**2 * n_out, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(F.pixel_unshuffle(x, self.factor))
        skipped = []
        for encode, down in zip(self.encode, self.down, strict=False):
            x = encode(x)
            skipped.append(x)
            x = down(x)
        x = self.encode[-1](x)
        for up, decode, skip in zip(reversed(self.up), reversed(self.decode), reversed(skipped), strict=True):
            x = decode(F.pixel_shuffle(up(x), 2) + skip)
        return F.pixel_shuffle(self.last(x), self.factor)


@register_generator("unrolled")
class UnrolledGenerator(nn.Module):
    """Alternating physics steps and U-Nets; the default architecture.

    Per patch a U-Net sees the object estimate, the direction that would still improve it, the
    illumination (where the data say nothing the estimate means nothing) and the logarithm of the
    measured amplitude. Each U-Net starts as the fully transmitting object.

    Parameters
    ----------
    spec
        See :class:`~ptycho_torch.models.registry.GeneratorSpec`. ``split_border`` has no meaning
        here: the whole patch is decoded by one branch.
    """

    def __init__(self, spec: GeneratorSpec) -> None:
        super().__init__()
        widths = tuple(max(8, round(width * spec.width)) for width in _WIDTHS)
        self.n_pixels = spec.n_pixels
        factor = 2 if spec.n_pixels <= _FINEST else 4
        self.unets = nn.ModuleList(_UNet(N_FEATURES, 2, widths, factor) for _ in _N_STEPS_PER_STAGE)
        self.activation = amplitude_activation(spec.amp_activation)

    def forward(
        self, amplitude: Amplitudes, probe: Probe, measured: PixelMask | None = None
    ) -> ComplexPatches:
        """Object patches ``(batch, channel, N, N)``; see :func:`register_generator` for arguments.

        Raises
        ------
        ShapeError
            If the amplitudes are not ``(batch, channel, N, N)`` or the probe has the wrong rank.
        """
        check_frames(amplitude, self.n_pixels, name="amplitude")
        if measured is not None:
            amplitude = torch.where(measured, amplitude, amplitude.new_zeros(()))
        shape = amplitude.shape
        # One network for every patch of a group: what a patch shows does not depend on its neighbours.
        amplitude = amplitude.reshape(-1, 1, *shape[-2:])
        operator = DiffractionOperator(probe)
        patches = torch.ones_like(amplitude).to(probe.dtype)
        for n_steps, unet in zip(_N_STEPS_PER_STAGE, self.unets, strict=True):
            patches = physics_steps(operator, patches, amplitude, n_steps, measured)
            # Every U-Net draws the whole object anew. Letting it only correct the one before lowers
            # the loss and raises the error: what the data leave open then stays as it came.
            logits = unet(object_features(operator, patches, amplitude, measured)).to(amplitude.dtype)
            log_amplitude, phase = logits.chunk(2, dim=1)
            patches = to_object(self.activation(log_amplitude), phase)
        return patches.reshape(shape)


def object_features(
    operator: DiffractionOperator,
    patches: ComplexPatches,
    amplitude: Amplitudes,
    measured: PixelMask | None,
) -> Tensor:
    """What a network in object space sees of a patch, real ``(batch, N_FEATURES, N, N)``.

    The estimate, the direction that would still improve it, the illumination (where the data say nothing
    the estimate means nothing) and the logarithm of the measured amplitude.

    Parameters
    ----------
    operator
        Far-field operator with the probe.
    patches
        Complex, ``(batch, 1, N, N)``.
    amplitude
        Real, ``(batch, 1, N, N)``, normalised.
    measured
        Bool, ``(N, N)``.
    """
    light = illumination(operator.probe)
    gradient = amplitude_gradient(operator, patches, amplitude, measured)
    gradient = gradient / (light + _GRADIENT_REGULARISATION * light.max())
    maps = (
        patches.real - 1,
        patches.imag,
        gradient.real,
        gradient.imag,
        (light / light.max()).expand_as(amplitude),
        torch.log1p(amplitude),
    )
    return torch.cat(maps, dim=1)
