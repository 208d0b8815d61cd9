"""A small network on blocks of pixels that moves slow phases only, after the solver's own step for them.

It sees what the pass moved, what the curvature of the misfit along slow waves says is left of the way
(the multiplier of `ptycho_torch.refine.slow_phases`), and how sure the frames are of every block. Its answer
passes the filter of waves longer than the probe, so it costs a few milliseconds and cannot touch detail.
"""

from __future__ import annotations

import math

import torch
from canvas import UNet
from examples import Example, Learned, best_factor
from stages import shares, turned_mean
from torch import Tensor, nn

from ptycho_torch.refine.iteration import Iteration

PASSES = 5


def coarse_net() -> UNet:
    """Seventy thousand weights, on blocks of a sixteenth of a frame."""
    return UNet(9, 1, (16, 24, 32), 1)


class Coarse(Learned):
    """Slow phases of the object with the correction of the network, in units of what the pass moved."""

    def __init__(self, network: nn.Module, solver: Iteration, truth: Tensor | None = None) -> None:
        super().__init__(network, solver, truth)
        self.light, self.photons = shares(solver)
        self.done = 0
        self.before: Tensor | None = None

    def look(self, solver: Iteration, number: int, started: Tensor) -> tuple[Example, Tensor] | None:
        slow = solver.slow_phases
        if self.done >= PASSES or slow.curvature is None:
            return None
        image, light = solver.unknowns.object.now, self.light
        lit = slow._blocks(light)
        mass = slow._filtered(slow._blocks(light * image.abs().square()), slow.spread)
        mass = mass.clamp(min=0.1 * float(mass.max()))

        def phase_to(other: Tensor) -> Tensor:
            return slow._blocks(light * (other * image.conj()).imag) / mass

        moved = -phase_to(started)
        size = (moved.square() * lit).sum().div(lit.sum()).sqrt() + 1e-4
        before = torch.zeros_like(moved) if self.before is None else self.before
        seen = image * turned_mean(image, light) * light
        real, imaginary = (slow._blocks(part) / lit.clamp(min=1e-3) for part in (seen.real, seen.imag))
        planes = [part / size for part in (moved, slow._filtered(moved, slow.gain()), before)]
        planes += [imaginary, real, lit, torch.log10(1 + self.photons * slow.block**2 * lit) / 5]
        planes += [
            torch.full_like(lit, value) for value in (math.log10(self.photons) / 5, self.done / PASSES)
        ]
        self.before, self.done = moved, self.done + 1
        wanted = torch.zeros_like(lit)
        if self.truth is not None:
            wanted = phase_to(self.truth * best_factor(self.truth, image, light))
            wanted = slow._filtered(wanted, slow.spread) / size
        example = Example(
            planes=torch.stack(planes),
            odd=(0, 1, 2, 3),
            target=wanted[None],
            odd_targets=(0,),
            light=lit * (lit > 0.05),
            taper=lit / (lit + 0.02),
            filtered=lambda answer: slow._filtered(answer[0], slow.spread)[None],
        )
        return example, size

    def moved(self, solver: Iteration, answer: Tensor, unit: Tensor) -> Tensor:
        image = solver.unknowns.object.now
        phase = solver.slow_phases._pixels(answer[0] * unit, image.shape)
        return image * torch.polar(torch.ones_like(phase), phase)
