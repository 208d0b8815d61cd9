r"""Frames taken one by one, seen from object space: the classical part of the networks.

The update is the regularised step of Maiden, Johnson and Li (2017, rPIE), one frame alone:

.. math:: O \leftarrow O + \frac{\sum_m P_m^* F^{-1}[\Psi_m (A/|\Psi| - 1)]}
          {(1 - \alpha)\sum_m|P_m|^2 + \alpha\max\sum_m|P_m|^2}
"""

from __future__ import annotations

import torch
from torch import Tensor

from ptycho_torch.physics.forward import DiffractionOperator, incoherent_intensity
from ptycho_torch.physics.probe import illumination
from ptycho_torch.physics.shapes import check_frames
from ptycho_torch.types import Amplitudes, ComplexPatches, PixelMask, Probe

__all__ = ["N_FEATURES", "OneFrame"]

_AXES = (-2, -1)
_REGULARISATION = 0.1
_GRADIENT_REGULARISATION = 0.05
N_FEATURES = 6


class OneFrame:
    """What single frames say about the patches under them.

    Parameters
    ----------
    amplitude
        Real, ``(batch, channel, N, N)``, normalised; the frames of a group are taken apart.
    probe
        Complex, ``(modes, N, N)``.
    measured
        Bool, ``(N, N)``: False where the detector did not measure. What it reports there is not used.

    Raises
    ------
    ShapeError
        If the amplitudes are not ``(batch, channel, N, N)`` or the probe has the wrong rank.
    """

    def __init__(self, amplitude: Amplitudes, probe: Probe, measured: PixelMask | None = None) -> None:
        # The field is only ever compared with the amplitudes pixel by pixel, so those are brought to its
        # order once, and not the field to theirs in every step.
        self._operator = DiffractionOperator(probe, centred=False)
        check_frames(amplitude, probe.shape[-1], name="amplitude")
        if measured is not None:
            amplitude = torch.where(measured, amplitude, amplitude.new_zeros(()))
        self._shown = amplitude.reshape(-1, 1, *amplitude.shape[-2:])
        self._amplitude = torch.fft.ifftshift(self._shown, dim=_AXES)
        self._measured = None if measured is None else torch.fft.ifftshift(measured, dim=_AXES)
        self._light = illumination(probe)

    def transmitting(self) -> ComplexPatches:
        """The fully transmitting object, complex ``(batch * channel, 1, N, N)``."""
        return torch.ones_like(self._shown).to(self._operator.probe.dtype)

    def gradient(self, patches: ComplexPatches) -> ComplexPatches:
        r"""Direction in which the predicted amplitudes approach the measured ones.

        .. math:: \sum_m P_m^* F^{-1}\left[\Psi_m \left(A / |\Psi| - 1\right)\right]

        half the negative gradient of :math:`\sum (|\Psi| - A)^2` (Fienup 1982). Pixels that were not
        measured keep their predicted field. Shapes are those of :meth:`transmitting`.
        """
        field = self._operator(patches)
        # The floor only matters where the field vanishes: there it keeps the ratio finite, and inside
        # the root, where its slope would be infinite, it keeps the gradient from becoming NaN.
        magnitude = torch.sqrt(incoherent_intensity(field).clamp(min=1e-12))
        excess = self._amplitude / magnitude - 1
        if self._measured is not None:
            excess = torch.where(self._measured, excess, excess.new_zeros(()))
        return self._operator.adjoint(field * excess.unsqueeze(-3))

    def advanced(self, patches: ComplexPatches, n_steps: int) -> ComplexPatches:
        """Object patches after ``n_steps`` regularised updates; shapes are those of :meth:`transmitting`."""
        step = 1 / ((1 - _REGULARISATION) * self._light + _REGULARISATION * self._light.max())
        for _ in range(n_steps):
            patches = patches + step * self.gradient(patches)
        return patches

    def features(self, patches: ComplexPatches) -> Tensor:
        """What a network in object space sees of a patch, real ``(batch * channel, N_FEATURES, N, N)``.

        The estimate, the direction that would still improve it, the illumination (where the data say nothing
        the estimate means nothing) and the logarithm of the measured amplitude.
        """
        gradient = self.gradient(patches)
        gradient = gradient / (self._light + _GRADIENT_REGULARISATION * self._light.max())
        maps = (
            patches.real - 1,
            patches.imag,
            gradient.real,
            gradient.imag,
            (self._light / self._light.max()).expand_as(self._shown),
            torch.log1p(self._shown),
        )
        return torch.cat(maps, dim=1)
