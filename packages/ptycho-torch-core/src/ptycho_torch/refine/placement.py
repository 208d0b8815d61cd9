r"""Placements of the solver: the object interpolated, or the probe moved.

In an experiment the probe moves, or the sample under it, and neither is blurred by it. With the object
on a grid the displacement :math:`\delta` that is left beside the nearest pixel is given to the probe,

.. math:: P_\delta(r) = F^{-1}\left[e^{-2\pi i\,k\cdot\delta}\,(F P)(k)\right],

the shift theorem (as in Odstrcil, Menzel and Guizar-Sicairos, Opt. Express 26, 3108, 2018). The shift is
unitary, where bilinear interpolation of the object is a low-pass filter; it costs a transform more per
frame and mode.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from ptycho_torch.physics.placement import WholePixel
from ptycho_torch.physics.placement_bilinear import BilinearRows
from ptycho_torch.refine.result import SubPixel

__all__ = ["MovedProbe", "SolverPlacement", "placement_of"]


class MovedProbe(WholePixel):
    """Patches at whole pixels, lit by a ramped probe that moves by the rest of each position.

    Parameters are those of :class:`~ptycho_torch.physics.placement_bilinear.BilinearRows`. Probes carry the
    ramp of :func:`~ptycho_torch.refine.step.detector_ramp`, which puts frequency zero at ``N // 2``.
    The phases of all frames are computed once.
    """

    _per_patch = ("corner", "rest", "phase_y", "phase_x")

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

    def cut_with_slopes(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Patches, and the derivatives of each by its own y and by its own x.

        Moving the probe and moving the object the other way give frames of the same intensity, so the
        slopes are those of the object, from central differences.
        """
        slope_y = (torch.roll(image, -1, 0) - torch.roll(image, 1, 0)) / 2
        slope_x = (torch.roll(image, -1, 1) - torch.roll(image, 1, 1)) / 2
        return self.cut(image), self.cut(slope_y), self.cut(slope_x)


SolverPlacement: TypeAlias = BilinearRows | MovedProbe


def placement_of(
    sub_pixel: SubPixel,
    positions: Tensor,
    n_pixels: int,
    shape: tuple[int, int],
    origin: Tensor,
    dtype: torch.dtype,
) -> SolverPlacement:
    """Placement for what moves by fractions of a pixel: the probe, or the object.

    Parameters
    ----------
    sub_pixel
        ``"probe"`` or ``"object"``.
    positions, n_pixels, shape, origin, dtype
        As for :class:`~ptycho_torch.physics.placement_bilinear.BilinearRows`.
    """
    kind = MovedProbe if sub_pixel == "probe" else BilinearRows
    return kind(positions, n_pixels, shape, origin=origin, dtype=dtype)
