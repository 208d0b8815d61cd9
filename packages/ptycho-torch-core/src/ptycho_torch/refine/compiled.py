"""Arithmetic of a few frames by compiled functions, on a CPU in single precision."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ptycho_torch.native import Counts, FrameKernels, frame_kernels
from ptycho_torch.physics.propagation import FarField, Propagation
from ptycho_torch.refine.arithmetic import Arithmetic, Batch
from ptycho_torch.refine.frames import FrameSource, Indices
from ptycho_torch.refine.likelihood import Likelihood, Misfit
from ptycho_torch.refine.sub_pixel import SolverPlacement

__all__ = ["CompiledArithmetic", "arithmetic_for"]


class CompiledArithmetic(Arithmetic):
    """By compiled functions, which take complex64 and float32 on the CPU.

    Each goes once through memory where torch goes ten times. The factors of the unitary transforms go into
    products that are computed anyway.
    """

    def __init__(self, kernels: FrameKernels) -> None:
        super().__init__()
        self._kernels = kernels

    def object_gradient(self, batch: Batch, chunk: int, misfit: Misfit, gradient: Tensor) -> None:
        """Add the gradient by the object; see :meth:`Arithmetic.object_gradient`."""
        if batch.source.masks_each_frame:
            # The functions know one mask for all frames.
            super().object_gradient(batch, chunk, misfit, gradient)
            return
        kernels, source, image, where = self._kernels, batch.source, batch.image, batch.where
        poisson = batch.likelihood == "poisson"
        counts = _counts(source, batch.indices)
        shared = batch.light(where, batch.indices).contiguous() if batch.shares_light else None
        sums = torch.zeros(4, dtype=torch.float64)
        waves = image.new_empty(0)
        for start in range(0, len(where), chunk):
            chosen = slice(start, start + chunk)
            some = batch.indices[chosen]
            light = batch.light(where.part(chosen), some).contiguous() if shared is None else shared
            scale = 1.0 / light.shape[-1]
            shape = (len(some), *light.shape[-3:])
            if waves.shape != shape:
                waves = image.new_empty(shape)
            kernels.exit_waves(image, where, light, scale, first=start, waves=waves)
            field = torch.fft.fft2(waves)
            kernels.weigh(
                field,
                *((counts, start) if counts is not None else (_loaded(source, some), 0)),
                source.measured,
                poisson=poisson,
                scale=scale,
                sums=sums,
                residual=field,
            )
            wave = torch.fft.ifft2(field, norm="forward")
            kernels.lay_waves(wave, light, gradient, where, first=start)
            if batch.illumination is not None and shared is None:
                self.lay_light(light, where.part(chosen), batch.illumination)
        if batch.illumination is not None and shared is not None:
            self.lay_light(shared, where, batch.illumination)
        misfit.add(*sums.tolist())

    def fields(self, image: Tensor, where: SolverPlacement, light: Tensor) -> tuple[Tensor, Tensor]:
        """Patches and fields; see :meth:`Arithmetic.fields`."""
        n = light.shape[-1]
        patches = image.new_empty(len(where), n, n)
        waves = image.new_empty(len(where), *light.shape[-3:])
        self._kernels.exit_waves(image, where, light.contiguous(), 1.0 / n, waves=waves, patches=patches)
        return patches, torch.fft.fft2(waves)

    def residual(
        self, field: Tensor, source: FrameSource, some: Indices, likelihood: Likelihood, misfit: Misfit
    ) -> tuple[Tensor, Tensor]:
        """Weight and residual; see :meth:`Arithmetic.residual`."""
        if source.masks_each_frame:
            return super().residual(field, source, some, likelihood, misfit)
        counts = _counts(source, some)
        weight = field.real.new_empty(len(field), *field.shape[-2:])
        residual, sums = torch.empty_like(field), torch.zeros(4, dtype=torch.float64)
        self._kernels.weigh(
            field,
            _loaded(source, some) if counts is None else counts,
            0,
            source.measured,
            poisson=likelihood == "poisson",
            scale=1.0 / field.shape[-1],
            sums=sums,
            residual=residual,
            weight=weight,
        )
        misfit.add(*sums.tolist())
        return weight, torch.fft.ifft2(residual, norm="forward")

    def gather_waves(self, patches: Tensor, wave: Tensor, gradient: Tensor, power: Tensor) -> None:
        """Add what waves say of shared light; see :meth:`Arithmetic.gather_waves`."""
        self._kernels.gather_waves(patches, wave, gradient, power)

    def slope_products(self, image: Tensor, where: SolverPlacement, light: Tensor, wave: Tensor) -> Tensor:
        """Products of derivatives by the place; see :meth:`Arithmetic.slope_products`."""
        products = torch.empty(len(wave), 5, dtype=torch.float64)
        self._kernels.slope_products(image, where, light.contiguous(), wave, products)
        return products

    def lay(self, wave: Tensor, light: Tensor, where: SolverPlacement, image: Tensor) -> None:
        """Add gradients to an image; see :meth:`Arithmetic.lay`."""
        self._kernels.lay_waves(wave, light.contiguous(), image, where)

    def lay_power(self, power: Tensor, where: SolverPlacement, image: Tensor) -> None:
        """Add light to an image; see :meth:`Arithmetic.lay_power`."""
        self._kernels.lay_values(power, image, where)


def _counts(source: FrameSource, some: Indices) -> Counts | None:
    """Frames where they are, if the functions can read them there."""
    if not Counts.can_hold(source.frames):
        return None
    return Counts(source.frames, torch.from_numpy(np.ascontiguousarray(some)), source.per_count)


def _loaded(source: FrameSource, some: Indices) -> Counts:
    """Frames that had to be read first."""
    values = source.load(some).numpy()
    return Counts(values, torch.arange(len(some)), 1.0)


def arithmetic_for(
    device: torch.device, dtype: torch.dtype, *, compiled: bool, propagation: Propagation | None = None
) -> Arithmetic:
    """The fastest that a device and a complex dtype have; without compiled functions if so asked.

    The compiled functions know the far field, where detectors usually are; torch goes to any other place.
    """
    far = propagation is None or isinstance(propagation, FarField)
    fits = compiled and far and device.type == "cpu" and dtype == torch.complex64
    kernels = frame_kernels() if fits else None
    return Arithmetic(propagation) if kernels is None else CompiledArithmetic(kernels)
