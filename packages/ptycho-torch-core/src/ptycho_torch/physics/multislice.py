r"""Light that goes through a thick object, slice after slice.

The wave behind a slice is the incident one times the slice; free space carries it to the next one:

.. math:: u_{s+1} = D\,(O_s\, u_s)

(multislice: Cowley and Moodie, Acta Cryst. 10, 609, 1957; in ptychography Maiden, Humphry and Rodenburg,
J. Opt. Soc. Am. A 29, 1606, 2012). In the light this is linear, and its adjoint goes the same way back.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ptycho_torch.physics.propagation import Propagation
from ptycho_torch.types import ComplexPatches, Field

__all__ = ["Transmission"]


class Transmission:
    """What some frames see of the slices before the last one.

    Parameters
    ----------
    patches
        Of every slice, the first one met first: complex, ``(batch, N, N)`` each.
    between
        Carries waves from a slice to the next one.
    """

    def __init__(self, patches: Sequence[ComplexPatches], between: Propagation) -> None:
        self.patches, self.between = tuple(patches), between

    def incident(self, light: Field) -> list[Field]:
        """Waves that fall on every slice, and on the one behind them all.

        Parameters
        ----------
        light
            Complex, ``(modes, N, N)`` or ``(batch, modes, N, N)``: that on the first slice.
        """
        waves = [light]
        for patch in self.patches:
            waves.append(self.between.to_detector(patch[:, None] * waves[-1]))
        return waves

    def forward(self, light: Field) -> Field:
        """The wave on what comes behind these slices, ``(batch, modes, N, N)``."""
        return self.incident(light)[-1]

    def by_distance(self, incident: Sequence[Field], angle: Tensor) -> Field:
        r"""Derivative of :meth:`forward` by the distance between slices, which all have in common.

        .. math:: \frac{\partial u_{s+1}}{\partial d} = D\left(i\,F^{-1} \phi F\, O_s u_s
                  + O_s \frac{\partial u_s}{\partial d}\right)

        Parameters
        ----------
        incident
            From :meth:`incident`.
        angle
            Real, ``(N, N)``: phase :math:`\phi` of free space over a unit of distance, in the order of the
            transforms of the waves.
        """
        slope = torch.zeros_like(incident[-1])
        for patch, wave in zip(self.patches, incident, strict=False):
            turned = torch.fft.ifft2(torch.fft.fft2(patch[:, None] * wave) * (1j * angle))
            slope = self.between.to_detector(turned + patch[:, None] * slope)
        return slope

    def exits(self, wave: Field) -> list[Field]:
        """Gradients by the waves right behind every slice, from the gradient by that on what comes next.

        Parameters
        ----------
        wave
            Complex, ``(batch, modes, N, N)``.
        """
        found: list[Field] = []
        for patch in reversed(self.patches):
            found.append(self.between.to_sample(wave))
            wave = patch.conj()[:, None] * found[-1]
        return found[::-1]

    def adjoint(self, wave: Field) -> Field:
        """The adjoint of :meth:`forward` of light that differs from frame to frame."""
        return self.patches[0].conj()[:, None] * self.exits(wave)[0] if self.patches else wave

    def patch_gradients(self, incident: Sequence[Field], wave: Field) -> list[Tensor]:
        """Gradients by the conjugates of the patches, complex, ``(batch, N, N)`` each.

        Parameters
        ----------
        incident
            From :meth:`incident`.
        wave
            As for :meth:`exits`.
        """
        pairs = zip(incident, self.exits(wave), strict=False)
        return [torch.sum(before.conj() * behind, dim=-3) for before, behind in pairs]
