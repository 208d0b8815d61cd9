r"""Patches at the whole pixels of a canvas.

A patch lies between the pixels of the canvas. It is resampled there once,

.. math:: p'(q) = \sum_k h(q - r_j - k)\, p_j(k), \qquad h(t) = \operatorname{sinc}(t)\,
          \operatorname{sinc}(t/4) \;\text{ for } |t| < 4

with the windowed sinc of Lanczos (Duchon 1979), which passes fine detail that bilinear interpolation
blurs, and reaches four pixels only: the prediction at the dark rim of a patch stays there. The weight
is applied afterwards and is interpolated bilinearly, so it is never negative. Numerator and denominator share
it, hence the mean needs no guard where the weights end, and what the weight leaves out never rings.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ptycho_torch.errors import ShapeError
from ptycho_torch.physics.placement import WholePixel, check_room, patch_corners
from ptycho_torch.physics.shapes import check_positions
from ptycho_torch.types import ComplexPatches, Positions

__all__ = ["ResampledPatches", "Resampler"]

_REACH = 4


@dataclass(frozen=True)
class ResampledPatches:
    """Patches on the pixels of a canvas; of one pixel more than the weight, because it lies between pixels.

    Attributes
    ----------
    values
        Complex64, ``(batch, n + 1, n + 1)``.
    corner
        int64, ``(batch, 2)``, ``[y, x]``: index in the canvas of pixel ``(0, 0)``.
    rest
        Float32, ``(batch, 2)``, in ``[0, 1)``: the corner of the weight lies so much further.
    """

    values: Tensor
    corner: Tensor
    rest: Tensor

    def __len__(self) -> int:
        return len(self.values)


class Resampler:
    """Brings patches and their weight to the pixels of a canvas.

    Parameters
    ----------
    weight
        Float32, ``(n, n)``: weight of the middle ``n × n`` pixels of each patch, zero or more.
    shape
        ``(height, width)`` of the canvas.
    origin
        Float64, ``(2,)``: index in the canvas = coordinate + origin.
    """

    def __init__(self, weight: Tensor, shape: tuple[int, int], origin: Tensor) -> None:
        self.shape = shape
        self.origin = origin.cpu()
        self.n_pixels = int(weight.shape[-1])
        self._framed = F.pad(weight, (1, 1, 1, 1))
        # Where the weight ends before the patch does, nothing was drawn: the patch ends with its last pixel
        # that counts. A weight that reaches the end of its window ends nothing.
        self._dark = [_dark_margins((weight > 0).any(dim=axis)) for axis in (1, 0)]

    def resample(self, patches: ComplexPatches, positions: Positions) -> ResampledPatches:
        """Resample patches ``(batch, N, N)``, ``N >= n``, at positions ``(batch, 2)``, ``[y, x]`` in px.

        Raises
        ------
        ShapeError
            If a patch lies outside the canvas or shapes do not match.
        """
        n = self.n_pixels
        if patches.ndim != 3 or patches.shape[1] != patches.shape[2] or patches.shape[1] < n:
            raise ShapeError("patches", f"(batch, N, N) with N >= {n}", tuple(patches.shape))
        check_positions(positions, len(patches))
        # On the CPU: to refuse a patch, the numbers must be known here, and a GPU would be waited for.
        corner, rest = patch_corners(positions.cpu(), n, self.origin)
        check_room(corner, corner + (rest > 0).to(torch.int64) + n, self.shape)
        corner, rest = corner.to(patches.device), rest.to(patches.device)
        moved = self._resampled(patches.to(torch.complex64), _taps(rest.to(torch.float64)))
        return ResampledPatches(moved, corner, rest.to(torch.float32))

    def _resampled(self, patches: ComplexPatches, taps: Tensor) -> ComplexPatches:
        """The sum over ``2 * _REACH`` neighbours along one axis and then the other."""
        n, side = self.n_pixels, patches.shape[-1]
        start = side // 2 - n // 2
        step = start + torch.arange(-_REACH, n + _REACH, device=patches.device)
        rows, columns = (
            step.clamp(start + before if before else 0, start + n - 1 - after if after else side - 1)
            for before, after in self._dark
        )
        values = torch.view_as_real(patches[:, rows[:, None], columns])
        for axis in (1, 2):
            total = values.new_zeros((*values.shape[:axis], n + 1, *values.shape[axis + 1 :]))
            for number in range(2 * _REACH):
                tap = taps[:, axis - 1, number, None, None, None]
                total.addcmul_(values.narrow(axis, 2 * _REACH - 1 - number, n + 1), tap)
            values = total
        return torch.view_as_complex(values)

    def weights(self, resampled: ResampledPatches) -> Tensor:
        """Weight of every pixel of resampled patches, float32 ``(batch, n + 1, n + 1)``, zero or more."""
        down, right = resampled.rest[:, :, None, None].unbind(dim=1)
        rows = (1 - down) * self._framed[1:] + down * self._framed[:-1]
        return (1 - right) * rows[..., 1:] + right * rows[..., :-1]

    def placement(self, resampled: ResampledPatches) -> WholePixel:
        """Where resampled patches lie on the canvas.

        The last row of a patch at a whole pixel has weight zero and may lie outside.
        """
        return WholePixel.at(resampled.corner, resampled.rest, self.n_pixels + 1, self.shape)


def _dark_margins(lit: Tensor) -> tuple[int, int]:
    """How many values before the first true one and after the last; none if nothing is true."""
    found = lit.nonzero().flatten().tolist()
    return (found[0], len(lit) - 1 - found[-1]) if found else (0, 0)


def _taps(rest: Tensor) -> Tensor:
    """Factors of neighbours ``1 - _REACH`` to ``_REACH`` of a pixel, float32 ``(batch, 2, 2 * _REACH)``."""
    distance = torch.arange(1 - _REACH, _REACH + 1, device=rest.device) - rest[..., None]
    values = torch.sinc(distance) * torch.sinc(distance / _REACH)
    # At whole distances sinc is zero but for rounding, and a patch at whole pixels is copied exactly.
    values = torch.where(distance == distance.round(), (distance == 0).to(values), values)
    # A constant stays what it is.
    return (values / values.sum(dim=-1, keepdim=True)).to(torch.float32)
