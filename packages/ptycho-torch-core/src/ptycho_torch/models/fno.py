r"""A Fourier-operator network in object space.

Two steps of a classical one-frame update (see :mod:`ptycho_torch.models.group_object`) carry the measurement
into object space. Layers of a Fourier neural operator (Li et al. 2021) then work on the whole patch at once:

.. math:: v \leftarrow v + F^{-1}\!\left[R(k) \, F[\sigma(v)](k)\right] + W * \sigma(v)

with learned matrices :math:`R(k)` for the lowest spatial frequencies and, for the others, a small
convolution :math:`W` (the local path of Wen et al. 2022, U-FNO). A layer therefore reaches every pixel,
where the U-Net of the default network reaches its neighbours.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ptycho_torch.models.group_object import N_FEATURES, GroupObject
from ptycho_torch.models.heads import object_head, zero_init
from ptycho_torch.models.registry import GeneratorSpec, register_generator
from ptycho_torch.physics.optics import Optics
from ptycho_torch.physics.shapes import check_frames
from ptycho_torch.types import Amplitudes, ComplexPatches

__all__ = ["FNOGenerator", "SpectralConv"]

_N_STEPS = 2
_N_LAYERS = 4
_MAPS = 12
_MODES = 8
_FACTOR = 2


class SpectralConv(nn.Module):
    r"""Linear map between feature maps, one matrix for each low spatial frequency (Li et al. 2021).

    Frequencies beyond the lowest are set to zero. The weights are kept as pairs of real numbers, which
    every optimiser, gradient clipping and data type of a checkpoint can handle.

    Parameters
    ----------
    width
        Feature maps in and out.
    n_modes
        Frequencies kept: ``-n_modes`` to ``n_modes - 1`` along y, 0 to ``n_modes - 1`` along x, whose
        negative half follows from the maps being real. At most half of the side of a map.
    """

    def __init__(self, width: int, n_modes: int) -> None:
        super().__init__()
        self.n_modes = n_modes
        # Real and imaginary part together have the variance that keeps the power of a frequency.
        weight = torch.randn(2 * n_modes, n_modes, width, width, 2) / math.sqrt(2 * width)
        self.weight = nn.Parameter(weight)

    def forward(self, x: Tensor) -> Tensor:
        """Real maps ``(batch, width, height, width_px)`` to maps of the same shape and dtype."""
        n = self.n_modes
        # Half precision has neither the range nor, on a CPU, the transform.
        with torch.autocast(x.device.type, enabled=False):
            spectrum = torch.fft.rfft2(x.float(), norm="ortho")
            low = torch.cat([spectrum[..., :n, :n], spectrum[..., -n:, :n]], dim=-2)
            mixed = torch.einsum("bikl,klio->bokl", low, torch.view_as_complex(self.weight))
            full = torch.zeros_like(spectrum)
            full[..., :n, :n], full[..., -n:, :n] = mixed[..., :n, :], mixed[..., n:, :]
            return torch.fft.irfft2(full, s=x.shape[-2:], norm="ortho").to(x.dtype)


class _Layer(nn.Module):
    """Residual layer: the spectral map and a convolution, added."""

    def __init__(self, width: int, n_modes: int) -> None:
        super().__init__()
        self.spectral = SpectralConv(width, n_modes)
        self.local = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        seen = F.silu(x)
        return x + self.spectral(seen) + self.local(seen)


@register_generator("fno")
class FNOGenerator(nn.Module):
    """Physics steps, then layers of a Fourier neural operator.

    Parameters
    ----------
    spec
        See :class:`~ptycho_torch.models.registry.GeneratorSpec`. ``split_border`` has no meaning
        here: the whole patch is decoded by one branch.
    """

    def __init__(self, spec: GeneratorSpec) -> None:
        super().__init__()
        width = max(8, round(_MAPS * spec.width))
        self.n_pixels = spec.n_pixels
        self.lift = nn.Conv2d(_FACTOR**2 * N_FEATURES, width, 3, padding=1)
        self.layers = nn.Sequential(*(_Layer(width, _MODES) for _ in range(_N_LAYERS)))
        self.project = zero_init(nn.Conv2d(width, _FACTOR**2 * 2, 3, padding=1))
        self.head = object_head(spec)

    def forward(
        self,
        amplitude: Amplitudes,
        optics: Optics,
        offsets: Tensor | None = None,
    ) -> ComplexPatches:
        """Object patches ``(batch, channel, N, N)``; see :func:`register_generator` for arguments.

        Raises
        ------
        ShapeError
            If the amplitudes are not ``(batch, channel, N, N)`` or the probe has the wrong rank.
        """
        check_frames(amplitude, self.n_pixels, name="amplitude")
        frames = GroupObject(amplitude, optics)
        patches = frames.advanced(frames.transmitting(), _N_STEPS)
        # Squares of pixels become channels: the layers then work at half the resolution.
        x = F.pixel_unshuffle(frames.features(patches), _FACTOR)
        x = F.silu(self.layers(self.lift(x)))
        logits = F.pixel_shuffle(self.project(x), _FACTOR).to(amplitude.dtype)
        return self.head(*logits.chunk(2, dim=1)).reshape(amplitude.shape)
