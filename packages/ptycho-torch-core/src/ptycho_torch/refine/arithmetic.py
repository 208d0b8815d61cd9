r"""Arithmetic of a few frames: from an object to the residual of their exit waves, and back.

:class:`Arithmetic` works through torch, on any device and in any precision.
:class:`~ptycho_torch.refine.compiled.CompiledArithmetic` does the same on a CPU in single precision with the
functions of :mod:`ptycho_torch.native`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ptycho_torch.physics.intensity import squared_modulus
from ptycho_torch.physics.propagation import FarField, Propagation
from ptycho_torch.refine.frames import FrameSource, Indices
from ptycho_torch.refine.likelihood import Likelihood, Misfit, field_weight
from ptycho_torch.refine.sub_pixel import SolverPlacement

__all__ = ["Arithmetic", "Batch"]


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Frames whose misfit is wanted at one place.

    Attributes
    ----------
    image
        Complex, ``(height, width)``: the object.
    where
        Placement of the frames.
    light
        Gives the light, complex ``(modes, N, N)`` or ``(batch, modes, N, N)``, on some of them.
    shares_light
        Whether all get the same.
    source
        Measured intensities.
    indices
        (batch,) numbers of the frames.
    likelihood
        Noise model.
    illumination
        Real, ``(height, width)``: gains the summed probe intensity of the frames; None: nobody asks for it.
    """

    image: Tensor
    where: SolverPlacement
    light: Callable[[SolverPlacement, Indices], Tensor]
    shares_light: bool
    source: FrameSource
    indices: Indices
    likelihood: Likelihood
    illumination: Tensor | None = None


class Arithmetic:
    """By torch.

    Parameters
    ----------
    propagation
        What carries exit waves to the detector; to the far field when left out.
    """

    def __init__(self, propagation: Propagation | None = None) -> None:
        self.propagation = FarField() if propagation is None else propagation

    def object_gradient(self, batch: Batch, chunk: int, misfit: Misfit, gradient: Tensor) -> None:
        """Add the gradient by the conjugate of the object to ``gradient``, complex ``(height, width)``.

        Parameters
        ----------
        batch
            The frames.
        chunk
            How many of them are worked on at once.
        misfit
            Receives the sums of the batch.
        gradient
            Complex, ``(height, width)``.
        """
        for start in range(0, len(batch.indices), chunk):
            chosen = slice(start, start + chunk)
            part, some = batch.where.part(chosen), batch.indices[chosen]
            light = batch.light(part, some)
            _, field = self.fields(batch.image, part, light)
            _, wave = self.residual(field, batch.source, some, batch.likelihood, misfit)
            self.lay(wave, light, part, gradient)
            if batch.illumination is not None:
                self.lay_light(light, part, batch.illumination)

    def fields(self, image: Tensor, where: SolverPlacement, light: Tensor) -> tuple[Tensor, Tensor]:
        """Patches ``(batch, N, N)`` of an object, and the fields that they make on the detector.

        Parameters
        ----------
        image
            Complex, ``(height, width)``.
        where
            Placement of the frames.
        light
            Complex, ``(modes, N, N)`` or ``(batch, modes, N, N)``, with the ramp of
            :func:`ptycho_torch.refine.step.detector_ramp`.

        Returns
        -------
        patches : Tensor
            Complex, ``(batch, N, N)``.
        field : Tensor
            Complex, ``(batch, modes, N, N)``.
        """
        patches = where.cut(image)
        return patches, self.transformed(patches, light)

    def transformed(self, patches: Tensor, light: Tensor) -> Tensor:
        """Detector fields ``(batch, modes, N, N)`` of patches ``(batch, N, N)``."""
        return self.propagation.to_detector(patches[:, None] * light)

    def predicted(self, field: Tensor) -> Tensor:
        """Intensity of all modes, real, ``(batch, N, N)``."""
        predicted = squared_modulus(field)
        return predicted.sum(dim=1) if field.shape[1] > 1 else predicted[:, 0]

    def residual(
        self, field: Tensor, source: FrameSource, some: Indices, likelihood: Likelihood, misfit: Misfit
    ) -> tuple[Tensor, Tensor]:
        """Weight of a field, real ``(batch, N, N)``, and residual of the waves, ``(batch, modes, N, N)``.

        Parameters
        ----------
        field
            From :meth:`fields`.
        source, some
            Measured intensities, and which frames these are.
        likelihood, misfit
            As for :func:`ptycho_torch.refine.likelihood.field_weight`.
        """
        counts, measured = source.seen(some)
        weight = field_weight(self.predicted(field), counts, likelihood, measured, misfit)
        return weight, self.weighted(field, weight)

    def weighted(self, field: Tensor, weight: Tensor) -> Tensor:
        """Residual of the exit waves ``(batch, modes, N, N)``, from the weight ``(batch, N, N)``."""
        # A product of complex and real numbers that allocates its result converts the real ones first.
        return self.propagation.to_sample(torch.mul(field, weight[:, None], out=torch.empty_like(field)))

    def patch_gradient(self, wave: Tensor, light: Tensor) -> Tensor:
        """Sum over the modes of the waves times the conjugate of the light, complex, ``(batch, N, N)``."""
        product = wave * light.conj()
        return product.sum(dim=1) if wave.shape[1] > 1 else product[:, 0]

    def gather_waves(self, patches: Tensor, wave: Tensor, gradient: Tensor, power: Tensor) -> None:
        """Add what waves say of light that all frames share, in place.

        Parameters
        ----------
        patches
            Complex, ``(batch, N, N)``.
        wave
            Complex, ``(batch, modes, N, N)``: gradient by the exit wave.
        gradient
            Complex, ``(modes, N, N)``: gains the sum of the waves times the conjugate patches.
        power
            Real, ``(N, N)``: gains the intensity of the patches.
        """
        gradient += (patches.conj()[:, None] * wave).sum(dim=0)
        power += squared_modulus(patches).sum(dim=0)

    def slope_products(self, image: Tensor, where: SolverPlacement, light: Tensor, wave: Tensor) -> Tensor:
        r"""Products of the derivatives of exit waves by the place of their frame.

        With :math:`J_{am} = P_m\,\partial O_j/\partial a` along a of y and x, and the residual
        :math:`\chi_m`.

        Parameters
        ----------
        image, where, light
            As for :meth:`fields`.
        wave
            Complex, ``(batch, modes, N, N)``: the residual.

        Returns
        -------
        Tensor
            float64, ``(batch, 5)``: real parts of :math:`J_y^*J_y, J_y^*J_x, J_x^*J_x, J_y^*\chi, J_x^*\chi`,
            summed over pixels and modes.
        """
        slopes = torch.stack(where.slopes(image), dim=1)
        power = squared_modulus(light).sum(dim=-3).expand(len(wave), -1, -1)
        weighted = slopes * power[:, None]
        towards = self.patch_gradient(wave, light)
        rows, columns = (_as_reals(part) for part in (slopes, torch.cat((weighted, towards[:, None]), dim=1)))
        # One product of matrices per frame: rows y and x, columns y, x and the residual.
        found = (rows @ columns.transpose(1, 2)).double()
        return found.flatten(1)[:, [0, 1, 4, 2, 5]]

    def lay(self, wave: Tensor, light: Tensor, where: SolverPlacement, image: Tensor) -> None:
        """Add the gradient of every patch to an image, in place."""
        where.add(self.patch_gradient(wave, light), image)

    def lay_light(self, light: Tensor, where: SolverPlacement, image: Tensor, *, order: int = 1) -> None:
        """Add the intensity of light as in :meth:`fields`, to a power, to a real image, in place."""
        power = squared_modulus(light).sum(dim=-3)
        self.lay_power(power if order == 1 else power**order, where, image)

    def lay_power(self, power: Tensor, where: SolverPlacement, image: Tensor) -> None:
        """Add light, real, ``(N, N)`` or ``(batch, N, N)``, to an image, in place."""
        where.add(power.expand(len(where), -1, -1), image)


def _as_reals(values: Tensor) -> Tensor:
    """Complex ``(batch, k, N, N)`` as real ``(batch, k, 2 N²)``."""
    return torch.view_as_real(values).flatten(2)
