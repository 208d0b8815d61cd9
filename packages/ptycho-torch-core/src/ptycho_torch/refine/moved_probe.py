r"""Patches at whole pixels, lit by a probe that moves by the rest of the position.

In an experiment the probe moves, or the sample under it, and neither is blurred by it. With the object
on a grid the displacement :math:`\delta` that is left beside the nearest pixel is given to the probe,

.. math:: P_\delta(r) = F^{-1}\left[e^{-2\pi i\,k\cdot\delta}\,(F P)(k)\right],

the shift theorem (as in Odstrcil, Menzel and Guizar-Sicairos, Opt. Express 26, 3108, 2018). The shift is
unitary, where bilinear interpolation of the object is a low-pass filter; it costs a transform more per
frame and mode.
"""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor

from ptycho_torch.refine.placement import Placement

__all__ = ["MovedProbePlacement"]


class MovedProbePlacement(Placement):
    """Where patches lie on a canvas, in whole pixels, and how the probe moves for each.

    Parameters are those of :class:`~ptycho_torch.refine.placement.Placement`. A patch needs a row and a
    column more than ``N`` on every side. Probes carry the ramp of
    :func:`~ptycho_torch.refine.step.detector_ramp`, which puts frequency zero at ``N // 2``.
    """

    def __init__(
        self, positions: Tensor, origin: Tensor, n_pixels: int, shape: tuple[int, int], dtype: torch.dtype
    ) -> None:
        whole = torch.floor(positions + origin + 0.5) - origin
        super().__init__(whole, origin, n_pixels, shape, dtype)
        # Index m of the transform of a ramped probe holds frequency m - N // 2.
        frequency = torch.arange(n_pixels, dtype=torch.float64, device=positions.device) - n_pixels // 2
        angle = (positions - whole)[..., None] * frequency * (-2 * torch.pi / n_pixels)
        phase = torch.polar(torch.ones_like(angle), angle)
        complex_dtype = torch.complex64 if dtype == torch.float32 else torch.complex128
        self.phase_y = phase[:, 0].to(complex_dtype)
        self.phase_x = phase[:, 1].to(complex_dtype)

    def part(self, chosen: slice | Tensor) -> Self:
        """The same for some of the patches."""
        part = super().part(chosen)
        part.phase_y, part.phase_x = self.phase_y[chosen], self.phase_x[chosen]
        return part

    def _phase(self) -> Tensor:
        return (self.phase_y[:, :, None] * self.phase_x[:, None, :])[:, None]

    def light(self, probe: Tensor) -> Tensor:
        """Probe on every patch, ``(batch, modes, N, N)``."""
        return torch.fft.ifft2(torch.fft.fft2(probe) * self._phase())

    def gather_light(self, waves: Tensor) -> Tensor:
        """Sum waves over the patches, each moved back: the adjoint of :meth:`light`."""
        return torch.fft.ifft2((torch.fft.fft2(waves) * self._phase().conj()).sum(dim=0))

    def cut(self, image: Tensor) -> Tensor:
        """Patches, complex ``(batch, N, N)``, of an image ``(height, width)``."""
        return self._as_patches(self._neighbourhood(image)[:, :-1, :-2].contiguous())

    def cut_with_slopes(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Patches, and the derivatives of each by its own y and by its own x.

        Moving the probe and moving the object the other way give frames of the same intensity, so the
        slopes are those of the object, from central differences.
        """
        slope_y = (torch.roll(image, -1, 0) - torch.roll(image, 1, 0)) / 2
        slope_x = (torch.roll(image, -1, 1) - torch.roll(image, 1, 1)) / 2
        return self.cut(image), self.cut(slope_y), self.cut(slope_x)

    def add_to(self, image: Tensor, patches: Tensor) -> None:
        """Add real or complex patches ``(batch, N, N)`` to an image: the adjoint of :meth:`cut`."""
        index = (self.row_start[:, :-1, None] + self.row_step[:-1]).reshape(-1)
        image.view(-1).index_add_(0, index, patches.reshape(-1))
