"""What a network between passes sees and should answer, in units of what the pass moved."""

from __future__ import annotations

import random
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from stages import Stage, put
from torch import Tensor, nn

from ptycho_torch.refine.iteration import Iteration


@dataclass(frozen=True, kw_only=True)
class Example:
    """One pass of one scan.

    Attributes
    ----------
    planes
        Real, ``(channels, height, width)``: what the network sees.
    odd
        Planes that change sign with the phase of the object.
    target
        Real, ``(outputs, height, width)``: the answer that would be right; zeros where nobody knows.
    odd_targets
        Outputs that change sign with the phase of the object.
    light, taper
        Real, ``(height, width)``: weight of an error there, and share of the answer that counts there.
    filtered
        What the answer passes on its way to the object.
    """

    planes: Tensor
    odd: tuple[int, ...]
    target: Tensor
    odd_targets: tuple[int, ...]
    light: Tensor
    taper: Tensor
    filtered: Callable[[Tensor], Tensor]

    def answer(self, network: nn.Module) -> Tensor:
        """Of a network, ``(outputs, height, width)``."""
        return self.filtered(network(self.planes[None])[0] * self.taper)

    def left(self, network: nn.Module) -> Tensor:
        """Logarithm of the share of the error that a network leaves."""
        before = (self.light * self.target.square()).sum()
        after = (self.light * (self.target - self.answer(network)).square()).sum()
        return 0.5 * torch.log(after / before.clamp(min=1e-12) + 1e-4)

    def other(self, rng: random.Random) -> Example:
        """The same, mirrored or conjugated at random."""
        flips = [axis for axis in (-2, -1) if rng.random() < 0.5]
        planes, target = self.planes.flip(flips), self.target.flip(flips)
        if rng.random() < 0.5:
            planes[list(self.odd)] *= -1
            target[list(self.odd_targets)] *= -1
        return replace(
            self,
            planes=planes,
            target=target,
            light=self.light.flip(flips),
            taper=self.taper.flip(flips),
        )


class Learned(Stage):
    """A stage that asks a network.

    Parameters
    ----------
    network
        From planes to an answer.
    solver
        Before its first pass.
    truth
        Complex, ``(height, width)`` of the canvas: the true object, in a training.
    """

    def __init__(self, network: nn.Module, solver: Iteration, truth: Tensor | None = None) -> None:
        self.network, self.truth = network, truth

    @abstractmethod
    def look(self, solver: Iteration, number: int, started: Tensor) -> tuple[Example, Tensor] | None:
        """What the network sees after a pass, and the unit of its answer; None: it is not asked."""

    @abstractmethod
    def moved(self, solver: Iteration, answer: Tensor, unit: Tensor) -> Tensor:
        """The object with an answer in it."""

    def after(self, solver: Iteration, number: int, started: Tensor) -> Example | None:
        seen = self.look(solver, number, started)
        if seen is None:
            return None
        example, unit = seen
        with torch.no_grad():
            put(solver, self.moved(solver, example.answer(self.network), unit))
        return example


def best_factor(truth: Tensor, image: Tensor, light: Tensor) -> Tensor:
    """Complex factor that brings the truth nearest to an object."""
    return (image * truth.conj() * light).sum() / (truth.abs().square() * light).sum()
