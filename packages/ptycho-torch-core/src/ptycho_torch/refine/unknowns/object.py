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
from ptycho_torch.refine.smoothness import (
    LARGEST_CURVATURE,
    at_equal_brightness,
    roughness,
    roughness_gradient,
)
from ptycho_torch.refine.tilt import flat
from ptycho_torch.refine.total_variation import total_variation, total_variation_slope
from ptycho_torch.refine.unknowns.base import Chunk, Published, Setup, Step, Unknown

__all__ = ["ObjectUnknown"]

_FLOOR = 1e-3
_TINY = 1e-30
_BRIGHTNESS_PX = 5.0
"""Wide enough to smooth grain, and narrow against what the doses of frames make of brightness."""


def _laid(setup: Setup, start: StitchedObject | None) -> npt.NDArray[np.complex128]:
    canvas = setup.canvas
    return canvas.lay(start, flat(canvas.shape, canvas.origin, setup.tilt, setup.scan.N))


class ObjectUnknown(Unknown):
    """Complex, ``(height, width)`` of the working canvas; always fitted.

    ``smoothness`` weighs the squared differences between neighbouring pixels, ``variation`` the total
    variation, as shares of the brightest illumination. Where ``phase_only``, all pixels have one amplitude.
    Where ``has_doses``, doses of frames are fitted beside it, and neither of the two makes it darker.
    """

    is_factor = True

    def __init__(
        self,
        value: Tensor,
        *,
        smoothness: float = 0.0,
        variation: float = 0.0,
        phase_only: bool = False,
        has_doses: bool = False,
    ) -> None:
        super().__init__(value, fitted=True, first_epoch=0)
        self.has_doses = has_doses
        self.smoothness, self.variation, self.phase_only = smoothness, variation, phase_only
        self.gradient = torch.zeros_like(value)

    @classmethod
    def of(cls, setup: Setup) -> Self:
        """The starting object on the canvas; a transparent one where there is none."""
        values = torch.from_numpy(_laid(setup, setup.start)).to(device=setup.device, dtype=setup.dtype)
        config = setup.config
        return cls(
            values,
            smoothness=config.smoothness,
            variation=config.total_variation,
            phase_only=config.object_constraint == "phase",
            has_doses=config.refine_dose,
        )

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
            divisor = torch.maximum(divisor, step.batch_illumination)
        floor = _FLOOR * float(step.illumination.max()) / step.n_subsets
        direction = self.gradient
        if self.smoothness:
            penalty = self.smoothness * float(step.illumination.max()) / step.n_subsets
            direction = direction + penalty * self._fair(roughness_gradient(self.value))
            divisor = divisor + LARGEST_CURVATURE * penalty
        if self.variation:
            penalty = self.variation * float(step.illumination.max()) / step.n_subsets
            slope, curvature = total_variation_slope(self.value)
            direction = direction + penalty * self._fair(slope)
            divisor = divisor + penalty * curvature
        self.value.addcmul_(direction, step.share / (divisor + floor), value=-1)
        if self.phase_only:
            self._level(step.illumination)

    def _fair(self, penalty: Tensor) -> Tensor:
        """The gradient of a penalty, less what doses would make up for: a darker object costs less of it."""
        return at_equal_brightness(penalty, self.value, _BRIGHTNESS_PX) if self.has_doses else penalty

    def _level(self, illumination: Tensor) -> None:
        """Give all pixels one amplitude, so that as much light goes through as before."""
        amplitude = self.value.abs()
        light = (illumination * amplitude.square()).sum() / illumination.sum().clamp(min=_TINY)
        self.value *= light.sqrt() / amplitude.clamp_(min=_TINY)

    def objective(self, illumination: Tensor) -> float:
        """What the penalties add to the misfit at the place where the epoch began."""
        weight = float(illumination.max())
        rough = self.smoothness * weight * float(roughness(self.ahead)) if self.smoothness else 0.0
        return rough + (
            self.variation * weight * float(total_variation(self.ahead)) if self.variation else 0.0
        )

    def publish(self, result: Published) -> None:
        """The object as it is."""
        result.object = self.now
