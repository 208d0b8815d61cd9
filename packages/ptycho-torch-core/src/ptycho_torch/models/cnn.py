"""The reference architecture: one encoder, one decoder for amplitude and one for phase.

The layout is that of PtychoPINN (Hoidn, Mishra and Mehta 2023): convolution pairs with pooling,
two decoders, the centre of the patch from most feature maps and its border from a few. Three
things differ, because without them it can settle on a flat image: weights start at He scale, the
last layers start at zero so that training starts from a transmitting object, and amplitudes,
which span orders of magnitude, enter through a logarithm.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ptycho_torch.models.heads import object_head, zero_init
from ptycho_torch.models.registry import GeneratorSpec, register_generator
from ptycho_torch.physics.optics import Optics
from ptycho_torch.physics.shapes import check_frames
from ptycho_torch.types import Amplitudes, ComplexPatches

__all__ = ["CNNGenerator"]

_DEEPEST = 128
_N_BORDER_MAPS = 4


def _depth(n_pixels: int) -> int:
    """Number of pooling stages: 3 up to 64 px, one more per doubling, as far as N divides."""
    wanted = max(3, math.ceil(math.log2(n_pixels)) - 3)
    while n_pixels % 2**wanted:
        wanted -= 1
    return wanted


def _conv(n_in: int, n_out: int) -> nn.Conv2d:
    layer = nn.Conv2d(n_in, n_out, 3, padding=1)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer


class _ConvPair(nn.Sequential):
    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__(_conv(n_in, n_out), nn.ReLU(), _conv(n_out, n_out), nn.ReLU())


class _Decoder(nn.Module):
    """Feature maps at the coarsest scale to one map per patch at full resolution."""

    def __init__(self, widths: list[int], spec: GeneratorSpec) -> None:
        super().__init__()
        stages = widths if spec.split_border else [*widths, max(8, widths[-1] // 2)]
        self.stages = nn.ModuleList(_ConvPair(n_in, n_out) for n_in, n_out in pairwise(stages))
        self.margin = spec.n_pixels // 4 if spec.split_border else 0
        self.border: nn.Module | None = None
        n_centre = stages[-1]
        if spec.split_border and spec.decode_border:
            n_centre -= _N_BORDER_MAPS
            self.border = nn.Sequential(
                _ConvPair(_N_BORDER_MAPS, stages[-1]),
                nn.Upsample(scale_factor=2),
                zero_init(nn.Conv2d(stages[-1], spec.n_channels, 3, padding=1)),
            )
        self.centre = zero_init(nn.Conv2d(n_centre, spec.n_channels, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        for stage in self.stages:
            x = F.interpolate(stage(x), scale_factor=2.0)
        if self.border is None:
            return F.pad(self.centre(x), [self.margin] * 4)
        outer = self.border(x[:, -_N_BORDER_MAPS:])
        inner = slice(self.margin, outer.shape[-1] - self.margin)
        full = outer.clone()
        full[..., inner, inner] = self.centre(x[:, :-_N_BORDER_MAPS])
        return full


@register_generator("cnn")
class CNNGenerator(nn.Module):
    """Encoder with two decoders; reads the amplitudes alone and never the probe.

    Parameters
    ----------
    spec
        See :class:`~ptycho_torch.models.registry.GeneratorSpec`. With ``split_border`` the centre
        of the patch and its border are decoded separately, at half the resolution; without it one
        more stage decodes the whole patch.
    """

    def __init__(self, spec: GeneratorSpec) -> None:
        super().__init__()
        depth = _depth(spec.n_pixels)
        widths = [max(8, round(spec.width * _DEEPEST / 2 ** (depth - 1 - i))) for i in range(depth)]
        self.n_pixels = spec.n_pixels
        inputs = [spec.n_channels, *widths[:-1]]
        self.encoder = nn.ModuleList(_ConvPair(a, b) for a, b in zip(inputs, widths, strict=True))
        # With a head of real and imaginary part they draw these.
        self.amplitude = _Decoder(widths[::-1], spec)
        self.phase = _Decoder(widths[::-1], spec)
        self.head = object_head(spec, bounded_phase=True)

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
            If the amplitudes are not ``(batch, channel, N, N)``.
        """
        check_frames(amplitude, self.n_pixels, name="amplitude")
        if optics.measured is not None:
            amplitude = torch.where(optics.measured, amplitude, amplitude.new_zeros(()))
        x = torch.log1p(amplitude)
        for stage in self.encoder:
            x = F.max_pool2d(stage(x), 2)
        return self.head(self.amplitude(x).to(amplitude.dtype), self.phase(x).to(amplitude.dtype))
