r"""Patches at whole pixels of an object, lit by a probe that moves by what is left of each position.

In an experiment the probe moves, or the sample under it, and neither is blurred by it. With the object
on a grid the displacement :math:`\delta` that is left beside the nearest pixel is given to the probe,

.. math:: P_\delta(r) = F^{-1}\left[e^{-2\pi i\,k\cdot\delta}\,(F P)(k)\right],

the shift theorem (as in Odstrcil, Menzel and Guizar-Sicairos, Opt. Express 26, 3108, 2018). The shift is
unitary, where bilinear interpolation of the object is a low-pass filter; it costs a transform more per
frame and mode.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ptycho_torch.physics.placement import WholePixel

__all__ = ["MovedProbe"]


class MovedProbe(WholePixel):
    """Patches at whole pixels, lit by a ramped probe that moves by the rest of each position.

    Parameters are those of :class:`~ptycho_torch.physics.placement_bilinear.BilinearRows`. Probes carry the
    ramp of phase that puts frequency zero at ``N // 2``. The phases of all frames are computed once.
    """

    _per_patch = ("corner", "rest", "phase_y", "phase_x")
    fractions: None = None
    """Patches lie at whole pixels."""

    def __init__(
        self,
        positions: Tensor,
        n_pixels: int,
        shape: Sequence[int],
        *,
        origin: Tensor | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__(positions, n_pixels, shape, origin=origin)
        self.corner = self.corner.contiguous()
        # Index m of the transform of a ramped probe holds frequency m - N // 2.
        frequency = torch.arange(n_pixels, dtype=torch.float64, device=positions.device) - n_pixels // 2
        angle = self.rest[..., None] * frequency * (-2 * torch.pi / n_pixels)
        phase = torch.polar(torch.ones_like(angle), angle)
        self.phase_y = phase[:, 0].to(dtype.to_complex())
        self.phase_x = phase[:, 1].to(dtype.to_complex())

    def _phase(self) -> Tensor:
        return (self.phase_y[:, :, None] * self.phase_x[:, None, :])[:, None]

    def light(self, probe: Tensor) -> Tensor:
        """Probe on every patch, ``(batch, modes, N, N)``."""
        return torch.fft.ifft2(torch.fft.fft2(probe) * self._phase())

    def gather_light(self, waves: Tensor) -> Tensor:
        """Sum waves over the patches, each moved back: the adjoint of :meth:`light`."""
        return torch.fft.ifft2((torch.fft.fft2(waves) * self._phase().conj()).sum(dim=0))

    def slopes(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Derivatives of each patch by its own y and by its own x, complex ``(batch, N, N)``.

        Moving the probe and moving the object the other way give frames of the same intensity, so the
        slopes are those of the object, from central differences.
        """
        slope_y = (torch.roll(image, -1, 0) - torch.roll(image, 1, 0)) / 2
        slope_x = (torch.roll(image, -1, 1) - torch.roll(image, 1, 1)) / 2
        return self.cut(slope_y), self.cut(slope_x)
