r"""The slices of a thick object before the last one, each with the step of an object.

.. math:: O_s \leftarrow O_s - \frac{1}{S}\,\frac{\nabla_{O_s} L_m}{\max(D_{sm}, D/M) + \epsilon},

with the gradient through all slices behind it (:mod:`ptycho_torch.physics.multislice`), the light
:math:`D_{sm}` that falls on the slice in subset m of M, that of all frames on the last slice :math:`D`, and S
slices, which are factors of one product.
"""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor

from ptycho_torch.physics.intensity import squared_modulus
from ptycho_torch.physics.multislice import Transmission
from ptycho_torch.physics.propagation import Propagation
from ptycho_torch.refine.canvas import WorkingCanvas
from ptycho_torch.refine.propagation import propagation_between_slices
from ptycho_torch.refine.sub_pixel import SolverPlacement
from ptycho_torch.refine.unknowns.base import Chunk, Published, Setup, Step, Unknown

__all__ = ["SlicesUnknown"]

_FLOOR = 1e-3


class SlicesUnknown(Unknown):
    """Complex, ``(slices - 1, height, width)`` of the working canvas, the first one met first.

    Parameters
    ----------
    value
        Where they start.
    between
        Carries waves from a slice to the next one.
    distance_m
        How far that is.
    canvas
        Array that the slices lie on.
    """

    moves_light = True

    def __init__(self, value: Tensor, between: Propagation, distance_m: float, canvas: WorkingCanvas) -> None:
        super().__init__(value, fitted=True, first_epoch=0)
        self.between, self.distance_m, self.canvas = between, distance_m, canvas
        self.passed: tuple[Transmission, list[Tensor]] | None = None
        self.start_batch()

    @classmethod
    def of(cls, setup: Setup) -> Self | None:
        """Empty slices, where the settings ask for several."""
        config = setup.config
        if config.slices == 1:
            return None
        assert config.slice_distance is not None
        distance = config.slice_distance
        between = propagation_between_slices(setup.scan, distance, setup.device, setup.dtype)
        shape = (config.slices - 1, *setup.canvas.shape)
        value = torch.ones(shape, dtype=setup.dtype, device=setup.device)
        return cls(value, between, distance, setup.canvas)

    @property
    def n_factors(self) -> int:
        """The exit wave is proportional to each of them."""
        return len(self.value)

    def transmitted(self, light: Tensor, where: SolverPlacement) -> Tensor:
        """Light ``(batch, modes, N, N)`` on the last slice."""
        passage = Transmission([where.cut(one) for one in self.value], self.between)
        waves = passage.incident(light)
        self.passed = passage, waves
        return waves[-1]

    def gathered_transmitted(self, waves: Tensor) -> Tensor:
        """The adjoint of :meth:`transmitted` for the frames that light went through last."""
        assert self.passed is not None
        return self.passed[0].adjoint(waves)

    def start_batch(self) -> None:
        """Forget the gradient of the last batch."""
        self.gradient = torch.zeros_like(self.value)
        self.light = torch.zeros_like(self.value.real)

    def add_wave(self, chunk: Chunk) -> None:
        """Lay the gradients of patches, and the light that falls on them, on the canvas."""
        assert self.passed is not None
        passage, waves = self.passed
        behind = chunk.patches.conj()[:, None] * chunk.wave
        gradients = passage.patch_gradients(waves, behind)
        for number, (gradient, wave) in enumerate(zip(gradients, waves, strict=False)):
            chunk.where.add(gradient, self.gradient[number])
            light = squared_modulus(wave).sum(dim=-3)
            chunk.where.add(light.expand(len(chunk.where), -1, -1), self.light[number])

    def sums(self) -> tuple[Tensor, Tensor]:
        """Gradient and light."""
        return self.gradient, self.light

    def step(self, step: Step) -> None:
        """Step of length one where the light is the curvature."""
        divisor = torch.maximum(self.light, step.illumination / step.n_subsets)
        floor = _FLOOR * float(step.illumination.max()) / step.n_subsets
        self.value.addcmul_(self.gradient, step.share / (divisor + floor), value=-1)

    def publish(self, result: Published) -> None:
        """All slices; the object is their product: what thin light would see."""
        every = torch.cat([self.now, result.object[None]])
        result.object = every.prod(dim=0)
        margin = self.canvas.margin_px
        inner = every[:, margin:-margin, margin:-margin].to(torch.complex64)
        result.others["slices"] = inner.cpu().contiguous().numpy()
        result.others["slice_distance_m"] = self.distance_m
        result.said["slices"] = f"{len(every)}, {self.distance_m:.4g} m from one to the next"
