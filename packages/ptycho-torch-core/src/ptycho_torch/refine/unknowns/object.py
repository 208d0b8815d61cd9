r"""The object: a step along the gradient, divided by the summed illumination.

.. math:: O \leftarrow O - \frac{\nabla_O L_m}{\max(D_m, D/M) + \epsilon},

with the gradient over subset m of M, its summed illumination :math:`D_m` and that of all frames :math:`D`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ptycho_torch.reassembly import StitchedObject
from ptycho_torch.refine.smoothness import LARGEST_CURVATURE, roughness, roughness_gradient
from ptycho_torch.refine.tilt import flat
from ptycho_torch.refine.unknowns.base import Chunk, Published, Setup, Step, Unknown

__all__ = ["ObjectUnknown"]

_FLOOR = 1e-3


def _laid(setup: Setup, start: StitchedObject | None) -> npt.NDArray[np.complex128]:
    canvas = setup.canvas
    return canvas.lay(start, flat(canvas.shape, canvas.origin, setup.tilt, setup.scan.N))


class ObjectUnknown(Unknown):
    """Complex, ``(height, width)`` of the working canvas; always fitted.

    ``smoothness`` weighs the squared differences between neighbouring pixels, as a share of the brightest
    illumination.
    """

    is_factor = True

    def __init__(self, value: Tensor, *, smoothness: float = 0.0) -> None:
        super().__init__(value, fitted=True, first_epoch=0)
        self.smoothness = smoothness
        self.gradient = torch.zeros_like(value)

    @classmethod
    def of(cls, setup: Setup) -> Self:
        """The starting object on the canvas; a transparent one where there is none."""
        values = torch.from_numpy(_laid(setup, setup.start)).to(device=setup.device, dtype=setup.dtype)
        return cls(values, smoothness=setup.config.smoothness)

    def start_from(self, setup: Setup, gain: float) -> None:
        """Take the starting object, which may come from another gauge, ``gain`` times as strong."""
        assert setup.start is not None
        scaled = replace(setup.start, object=np.asarray(setup.start.object) * gain)
        values = torch.from_numpy(_laid(setup, scaled)).to(self.value)
        self.value = self.now = self.ahead = values

    def start_batch(self) -> None:
        """Forget the gradient of the last batch."""
        self.gradient = torch.zeros_like(self.value)

    def add_patches(self, chunk: Chunk) -> None:
        """Lay the gradients of patches on the canvas."""
        chunk.arithmetic.lay(chunk.wave, chunk.light, chunk.where, self.gradient)

    def sums(self) -> tuple[Tensor]:
        """The gradient."""
        return (self.gradient,)

    def step(self, step: Step) -> None:
        """Step of length one where the illumination is the curvature."""
        divisor = step.illumination / step.n_subsets
        if step.n_subsets > 1:
            divisor = torch.maximum(divisor, step.batch_illumination())
        floor = _FLOOR * float(step.illumination.max()) / step.n_subsets
        direction = self.gradient
        if self.smoothness:
            penalty = self._penalty(step.illumination) / step.n_subsets
            direction = direction + penalty * roughness_gradient(self.value)
            divisor = divisor + LARGEST_CURVATURE * penalty
        self.value.addcmul_(direction, step.share / (divisor + floor), value=-1)

    def objective(self, illumination: Tensor) -> float:
        """What the roughness adds to the misfit at the place where the epoch began."""
        return float(self._penalty(illumination) * roughness(self.ahead)) if self.smoothness else 0.0

    def _penalty(self, illumination: Tensor) -> float:
        """Weight of the roughness in the units of the misfit."""
        return self.smoothness * float(illumination.max())

    def publish(self, result: Published) -> None:
        """The object as it is."""
        result.object = self.now
