"""A momentum that was learned: a few numbers say how far bands of frequencies go on from pass to pass.

The solver starts a pass ahead of the last one by Nesterov's share m of the last movement. Here m is
multiplied in each of four bands by a number, and a share of the movement before it is added: eight numbers.
One and zero are the solver itself.
They are found by evolution: both signs of a random change are tried on the same scan, and the numbers move
along it by the difference of the logarithms of the final errors (Salimans et al., arXiv:1703.03864, 2017).
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import torch
from stages import Stage, laid_truth, log_error, run_solver, shares
from torch import Tensor

from ptycho_torch.data.scan.contract import Scan
from ptycho_torch.refine.iteration import Iteration

EDGES = (0.6, 2.0, 8.0)
"""Between the bands, in waves per frame."""
SHAPE = (2, len(EDGES) + 1)
_SPREAD = 0.15
_RATE = 0.025


def own() -> Tensor:
    """Numbers that leave the solver as it is: of the last movement and the one before it, per band."""
    numbers = torch.zeros(SHAPE)
    numbers[0] = 1
    return numbers


class Momentum(Stage):
    """Starts the next pass where the learned momentum leads."""

    def __init__(self, numbers: Tensor, solver: Iteration) -> None:
        self.numbers = numbers
        image = solver.unknowns.object.now
        vertical, horizontal = (torch.fft.fftfreq(size) for size in image.shape)
        waves = torch.hypot(vertical[:, None], horizontal[None]) * solver.n_pixels
        self.bands = torch.bucketize(waves, torch.tensor(EDGES))
        self.before = image
        self.moved: Tensor | None = None

    def after(self, solver: Iteration, number: int, started: Tensor) -> None:
        image = solver.unknowns.object
        moved = torch.fft.fft2(image.now - self.before)
        earlier = torch.zeros_like(moved) if self.moved is None else self.moved
        # The share that the solver took itself, from its recursion.
        share = (math.sqrt(solver.t**2 - solver.t) - 1) / solver.t
        last, second = self.numbers
        if share > 0:
            ahead = last[self.bands] * moved + second[self.bands] * earlier
            image.ahead = image.now + share * torch.fft.ifft2(ahead)
        self.before, self.moved = image.now, moved


def evolved(
    draw: Callable[[random.Random], Scan], seed: int, share: Callable[[], float]
) -> tuple[Tensor, int]:
    """Numbers after a training that lasts until ``share`` says one; and how many scans it saw."""
    rng = random.Random(seed)
    generator = torch.Generator().manual_seed(seed)
    numbers, first, second, step = own(), torch.zeros(SHAPE), torch.zeros(SHAPE), 0
    while (done := share()) < 1:
        scan, epochs = draw(rng), rng.choice((5, 10, 10))
        change = torch.randn(SHAPE, generator=generator) * _SPREAD
        rise = final(scan, epochs, numbers + change) - final(scan, epochs, numbers - change)
        slope = rise / (2 * _SPREAD**2) * change
        step += 1
        first = 0.9 * first + 0.1 * slope
        second = 0.98 * second + 0.02 * slope.square()
        scaled = first / (1 - 0.9**step) / ((second / (1 - 0.98**step)).sqrt() + 1e-3)
        numbers = numbers - _RATE * (1.02 - done) * min(1.0, step / 20) * scaled
        if step % 25 == 0:
            print(step, f"{rise:.3f}", numbers.flatten().tolist(), flush=True)
    return numbers, step


def final(scan: Scan, epochs: int, numbers: Tensor) -> float:
    """Logarithm of the error after a run with a momentum."""
    solver = run_solver(scan, epochs, lambda solver: Momentum(numbers, solver))[0]
    light = shares(solver)[0]
    value = float(log_error(solver.unknowns.object.now, laid_truth(solver, scan), light))
    return value if math.isfinite(value) else 1.0
