r"""The slices of a thick object before the last one, each with the step of an object, and their distance.

.. math:: O_s \leftarrow O_s - \frac{1}{S}\,\frac{\nabla_{O_s} L_m}{\max(D_{sm}, D/M) + \epsilon},

with the gradient through all slices behind it (:mod:`ptycho_torch.physics.multislice`), the light
:math:`D_{sm}` that falls on the slice in subset m of M, that of all frames on the last slice :math:`D`, and S
slices, which are factors of one product. The distance d between neighbours takes the step of Gauss and Newton

.. math:: d \leftarrow d - \frac{\sum_j \mathrm{Re} \langle J_j, \chi_j \rangle}{\sum_j \|J_j\|^2}, \qquad
          J_j = O_S \frac{\partial u_S}{\partial d},

with :math:`\chi_j` the gradient by the exit wave of frame j.
"""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor

from ptycho_torch.data.scan.slices import between_slices
from ptycho_torch.physics.intensity import squared_modulus
from ptycho_torch.physics.multislice import Transmission
from ptycho_torch.physics.propagation import NearField, near_field_angle
from ptycho_torch.refine.canvas import WorkingCanvas
from ptycho_torch.refine.sub_pixel import SolverPlacement
from ptycho_torch.refine.unknowns.base import Chunk, Published, Setup, Step, Unknown

__all__ = ["SlicesUnknown"]

_FLOOR = 1e-3
_LARGEST_CHANGE = 0.05
"""Of the distance, in one step."""
_EPOCHS_FROM_FLAT = 20
"""Before, slices are hardly told apart, and their distance does not matter."""


class SlicesUnknown(Unknown):
    """Complex, ``(slices - 1, height, width)`` of the working canvas, the first one met first.

    Parameters
    ----------
    value
        Where they start.
    angle
        Real, ``(N, N)``: phase of free space over a metre, see
        :func:`ptycho_torch.physics.propagation.near_field_angle`.
    distance_m
        From a slice to the next one.
    canvas
        Array that the slices lie on.
    distance_from
        Epoch from which the distance is fitted; None: it is not.
    """

    moves_light = True

    def __init__(
        self,
        value: Tensor,
        angle: Tensor,
        distance_m: float,
        canvas: WorkingCanvas,
        *,
        distance_from: int | None = None,
    ) -> None:
        super().__init__(value, fitted=True, first_epoch=0)
        self.angle, self.canvas, self.distance_from = angle, canvas, distance_from
        self.distance_m = self.distance_now = self.distance_ahead = distance_m
        self.finds_distance = False
        # What slices share between them hides what their distance changes.
        self.comes_out_late = distance_from is not None
        self.between = self._between()
        self.passed: tuple[Transmission, list[Tensor]] | None = None
        self.start_batch()

    @classmethod
    def of(cls, setup: Setup) -> Self | None:
        """Empty slices, where the settings ask for several."""
        config, n_pixels = setup.config, setup.scan.N
        if config.slices == 1:
            return None
        assert config.slice_distance is not None
        optics = between_slices(setup.scan.metadata, n_pixels, config.slice_distance)
        angle = near_field_angle(n_pixels, wavelength_m=optics.wavelength_m, pixel_m=optics.pixel_m)
        shape = (config.slices - 1, *setup.canvas.shape)
        return cls(
            torch.ones(shape, dtype=setup.dtype, device=setup.device),
            angle.to(setup.device),
            config.slice_distance,
            setup.canvas,
            distance_from=setup.first_epoch(_EPOCHS_FROM_FLAT) if config.refine_slice_distance else None,
        )

    @property
    def n_factors(self) -> int:
        """The exit wave is proportional to each of them."""
        return len(self.value)

    def _between(self) -> NearField:
        angle = self.distance_m * self.angle
        return NearField(torch.polar(torch.ones_like(angle), angle).to(self.value.dtype))

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

    def begin(self, epoch: int) -> None:
        """Start an epoch from where momentum carried the last one."""
        super().begin(epoch)
        self.distance_m = self.distance_ahead
        self.between = self._between()
        self.finds_distance = self.distance_from is not None and epoch >= self.distance_from

    def advance(self, momentum: float) -> None:
        """Take what was reached for the result of the epoch, and start the next one ahead of it."""
        super().advance(momentum)
        self.distance_ahead = self.distance_m + momentum * (self.distance_m - self.distance_now)
        self.distance_now = self.distance_m

    def go_back(self) -> None:
        """Return to the result of the last epoch that ended."""
        super().go_back()
        self.distance_m = self.distance_now
        self.between = self._between()

    def start_batch(self) -> None:
        """Forget the gradient of the last batch."""
        self.gradient = torch.zeros_like(self.value)
        self.light = torch.zeros_like(self.value.real)
        self.slope = torch.zeros(2, dtype=torch.float64, device=self.value.device)

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
        if self.finds_distance:
            # A millimetre is a better unit of single precision than a metre is.
            by_mm = passage.by_distance(waves, (1e-3 * self.angle).to(self.light.dtype))
            by_mm = by_mm * chunk.patches[:, None]
            towards = (by_mm.conj() * chunk.wave).real.sum()
            self.slope += torch.stack((towards, squared_modulus(by_mm).sum())).double()

    def sums(self) -> tuple[Tensor, Tensor, Tensor]:
        """Gradient and light, and slope and curvature of the distance."""
        return self.gradient, self.light, self.slope

    def step(self, step: Step) -> None:
        """Step of length one where the light is the curvature."""
        divisor = torch.maximum(self.light, step.illumination / step.n_subsets)
        floor = _FLOOR * float(step.illumination.max()) / step.n_subsets
        self.value.addcmul_(self.gradient, step.share / (divisor + floor), value=-1)
        slope, curvature = self.slope.tolist()
        if curvature > 0:
            most = _LARGEST_CHANGE * self.distance_m
            self.distance_m -= min(max(1e-3 * slope / curvature, -most), most)
            self.between = self._between()

    def publish(self, result: Published) -> None:
        """All slices; the object is their product: what thin light would see."""
        every = torch.cat([self.now, result.object[None]])
        result.object = every.prod(dim=0)
        margin = self.canvas.margin_px
        inner = every[:, margin:-margin, margin:-margin].to(torch.complex64)
        result.others["slices"] = inner.cpu().contiguous().numpy()
        result.others["slice_distance_m"] = self.distance_now
        result.said["slices"] = f"{len(every)}, {self.distance_now:.4g} m from one to the next"
