"""A U-Net on the whole canvas of the object, after each of the first passes."""

from __future__ import annotations

import math

import torch
from examples import Example, Learned, best_factor
from stages import shares, turned_mean
from torch import Tensor, nn
from torch.nn import functional

from ptycho_torch.refine.iteration import Iteration

PASSES = 3


def convolved(inputs: int, outputs: int) -> nn.Sequential:
    """Two convolutions."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1),
        nn.GELU(),
        nn.Conv2d(outputs, outputs, 3, padding=1),
        nn.GELU(),
    )


class UNet(nn.Module):
    """U-Net of two levels on blocks of pixels; it begins by answering zero."""

    def __init__(self, channels: int, outputs: int, widths: tuple[int, int, int], block: int) -> None:
        super().__init__()
        fine, middle, coarse = widths
        self.block = block
        self.down = nn.ModuleList(
            [convolved(block**2 * channels, fine), convolved(fine, middle), convolved(middle, coarse)]
        )
        self.bottom = convolved(coarse, coarse)
        self.up = nn.ModuleList([convolved(coarse + middle, middle), convolved(middle + fine, fine)])
        self.last = nn.Conv2d(fine, block**2 * outputs, 1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Maps from ``(1, channels, height, width)`` to ``(1, outputs, height, width)``."""
        height, width = images.shape[-2:]
        multiple = 4 * self.block
        padded = functional.pad(images, (0, -width % multiple, 0, -height % multiple), mode="replicate")
        first = self.down[0](functional.pixel_unshuffle(padded, self.block))
        second = self.down[1](functional.avg_pool2d(first, 2))
        third = self.down[2](functional.avg_pool2d(second, 2))
        third = third + self.bottom(third)
        second = self.up[0](torch.cat([grown(third, second), second], 1))
        first = self.up[1](torch.cat([grown(second, first), first], 1))
        return functional.pixel_shuffle(self.last(first), self.block)[..., :height, :width]


def grown(image: Tensor, like: Tensor) -> Tensor:
    """An image at the size of another one."""
    return functional.interpolate(image, size=like.shape[-2:], mode="bilinear")


def canvas_net() -> UNet:
    """Three hundred thousand weights, on blocks of two pixels."""
    return UNet(9, 2, (32, 48, 64), 2)


class Canvas(Learned):
    """The object with the correction of the network, in units of what the pass moved."""

    def __init__(self, network: nn.Module, solver: Iteration, truth: Tensor | None = None) -> None:
        super().__init__(network, solver, truth)
        self.light, self.photons = shares(solver)
        self.before: Tensor | None = None

    def look(self, solver: Iteration, number: int, started: Tensor) -> tuple[Example, Tensor] | None:
        if number >= PASSES:
            return None
        image, light = solver.unknowns.object.now, self.light
        turn, moved = turned_mean(image, light), image - started
        before = torch.zeros_like(moved) if self.before is None else self.before
        self.before = moved
        size = (moved.abs().square() * light).sum().div(light.sum()).sqrt() + 1e-6
        parts = [part * turn for part in (image, moved / size, before / size)]
        planes = [side for part in parts for side in (part.real, part.imag)] + [light]
        planes += [torch.full_like(light, value) for value in (math.log10(self.photons) / 5, number / PASSES)]
        wanted = torch.zeros_like(image)
        if self.truth is not None:
            wanted = (self.truth * best_factor(self.truth, image, light) - image) * turn / size
        example = Example(
            planes=torch.stack(planes),
            odd=(1, 3, 5),
            target=torch.stack([wanted.real, wanted.imag]),
            odd_targets=(1,),
            light=light * (light > 0.05),
            taper=light / (light + 0.02),
            filtered=lambda answer: answer,
        )
        return example, size * turn.conj()

    def moved(self, solver: Iteration, answer: Tensor, unit: Tensor) -> Tensor:
        return solver.unknowns.object.now + torch.complex(answer[0], answer[1]) * unit
