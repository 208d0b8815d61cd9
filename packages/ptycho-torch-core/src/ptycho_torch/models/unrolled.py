"""The default generator: physics steps and small U-Nets in object space, in turn.

A convolutional network that reads diffraction patterns must first learn a Fourier transform,
because each detector pixel depends on the whole patch. Here a few iterations of a classical
update carry the measurement into object space before a network sees it, and what the network
proposes is compared with the measurement again before the next one refines it. What is left to
learn is local: which of the remaining ambiguities and artefacts belong to the sample.

Frames of a group are solved as one object: the steps work on a canvas that holds all of them, and what
the U-Nets draw under each frame is averaged there.

Alternating learned and physical steps is the scheme of variational networks (Hammernik et al.
2018); the first start is the fully transmitting object.
"""

from __future__ import annotations

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from ptycho_torch.models.group_object import N_FEATURES, GroupObject
from ptycho_torch.models.heads import object_head, zero_init
from ptycho_torch.models.registry import GeneratorSpec, register_generator
from ptycho_torch.physics.optics import Optics
from ptycho_torch.physics.shapes import check_frames
from ptycho_torch.types import Amplitudes, ComplexPatches

__all__ = ["UnrolledGenerator"]

# Classical steps before each U-Net. A single frame is soon explained; frames of a group have to agree,
# which takes longer.
_STEPS_ALONE = (2, 2)
_STEPS_TOGETHER = (8, 8)
# Feature maps at the three scales of a U-Net for a width multiplier of one.
_WIDTHS = (8, 12, 16)
_BLOCKS = (1, 1, 2)
# Larger patches start from a quarter of the resolution instead of half.
_FINEST = 64


class _ResidualBlock(nn.Module):
    """Pre-activation residual block that starts as the identity (Zhang et al. 2019, Fixup)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = zero_init(nn.Conv2d(width, width, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.silu(self.first(F.silu(x))))


class _UNet(nn.Module):
    """U-Net (Ronneberger et al. 2015) that works from a reduced resolution downwards.

    Rearranging squares of ``factor`` × ``factor`` pixels into channels at the input and back at the
    output saves the most expensive stages and loses nothing.
    """

    def __init__(self, n_in: int, n_out: int, widths: tuple[int, ...], factor: int) -> None:
        super().__init__()
        self.factor = factor
        steps = list(pairwise(widths))
        self.first = nn.Conv2d(factor**2 * n_in, widths[0], 3, padding=1)
        self.encode = nn.ModuleList(
            nn.Sequential(*(_ResidualBlock(width) for _ in range(count)))
            for width, count in zip(widths, _BLOCKS, strict=True)
        )
        self.down = nn.ModuleList(nn.Conv2d(fine, coarse, 2, stride=2) for fine, coarse in steps)
        self.up = nn.ModuleList(nn.Conv2d(coarse, 4 * fine, 1) for fine, coarse in steps)
        self.decode = nn.ModuleList(_ResidualBlock(fine) for fine, _ in steps)
        self.last = zero_init(nn.Conv2d(widths[0], factor**2 * n_out, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(F.pixel_unshuffle(x, self.factor))
        skipped = []
        for encode, down in zip(self.encode, self.down, strict=False):
            x = encode(x)
            skipped.append(x)
            x = down(x)
        x = self.encode[-1](x)
        for up, decode, skip in zip(reversed(self.up), reversed(self.decode), reversed(skipped), strict=True):
            x = decode(F.pixel_shuffle(up(x), 2) + skip)
        return F.pixel_shuffle(self.last(x), self.factor)


@register_generator("unrolled")
class UnrolledGenerator(nn.Module):
    """Alternating physics steps and U-Nets; the default architecture.

    A U-Net sees the object estimate, the direction that would still improve it, the illumination (where the
    data say nothing the estimate means nothing) and the logarithm of the measured amplitude. Each
    U-Net starts as the fully transmitting object.

    Parameters
    ----------
    spec
        See :class:`~ptycho_torch.models.registry.GeneratorSpec`. ``split_border`` has no meaning
        here: the whole patch is decoded by one branch.
    """

    def __init__(self, spec: GeneratorSpec) -> None:
        super().__init__()
        widths = tuple(max(8, round(width * spec.width)) for width in _WIDTHS)
        self.n_pixels = spec.n_pixels
        factor = 2 if spec.n_pixels <= _FINEST else 4
        self.unets = nn.ModuleList(_UNet(N_FEATURES, 2, widths, factor) for _ in _STEPS_ALONE)
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
        group = GroupObject(amplitude, optics, offsets)
        objects = group.transmitting()
        steps = _STEPS_ALONE if offsets is None else _STEPS_TOGETHER
        for n_steps, unet in zip(steps, self.unets, strict=True):
            objects = group.advanced(objects, n_steps)
            # Every U-Net draws the whole object anew. Letting it only correct the one before lowers
            # the loss and raises the error: what the data leave open then stays as it came. It draws what
            # lies under each frame, so that no size depends on the other groups of a batch.
            drawn = self.head(*unet(group.features(objects)).to(amplitude.dtype).chunk(2, dim=1))
            objects = group.shared(drawn[:, 0])
        return group.patches(objects).reshape(amplitude.shape)
