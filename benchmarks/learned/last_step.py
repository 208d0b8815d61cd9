"""A network as last step where photons are few, against the best smoothness and total variation.

The solver ends with the total variation that was best for its dose; a U-Net then corrects the object in units
of what shot noise leaves of a pixel, one over twice the root of the photons that fall on it. It is trained on
simulated scans of the kinds that are trained on, turned, mirrored and conjugated at random.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from canvas import UNet
from examples import Example, best_factor
from kinds import SEEN, scan_of
from stages import laid_truth, run_solver, shares, turned_mean
from torch import Tensor, nn

from ptycho_torch.refine.iteration import Iteration

EPOCHS = 20
PENALTIES: tuple[dict[str, float], ...] = (
    {},
    {"smoothness": 0.1},
    *({"total_variation": weight} for weight in (0.003, 0.01, 0.03, 0.1)),
)
SCANS = 220
_SIDE, _CUT = 9, 64


def variation_for(photons: float) -> float:
    """The total variation that the network starts from: 0.03 at a thousand photons, 0.01 at ten thousand."""
    return float(min(0.1, max(0.003, 0.03 * (1e3 / photons) ** 0.5)))


def last_net() -> UNet:
    """Two hundred thousand weights, on blocks of two pixels."""
    return UNet(5, 2, (24, 40, 56), 2)


def spread_of(solver: Iteration) -> Tensor:
    """What shot noise leaves of a pixel of the object, at most a half."""
    light = solver.illumination
    photons = solver.mean_counts * solver.n_frames * light / light.sum()
    return (0.5 / photons.clamp(min=1e-3).sqrt()).clamp(max=0.5)


def seen_at_end(solver: Iteration, truth: Tensor | None = None) -> tuple[Example, Tensor]:
    """What the network sees of a solver that has ended, and the unit of its answer."""
    image, (light, _), spread = solver.unknowns.object.now, shares(solver), spread_of(solver)
    turn = turned_mean(image, light)
    turned = image * turn
    wanted = torch.zeros_like(image)
    if truth is not None:
        wanted = (truth * best_factor(truth, image, light) - image) * turn / spread
    example = Example(
        planes=torch.stack([turned.real, turned.imag, light, spread, torch.log10(spread)]),
        odd=(1,),
        target=torch.stack([wanted.real, wanted.imag]),
        odd_targets=(1,),
        light=light * (light > 0.05),
        taper=light / (light + 0.02),
        filtered=lambda answer: answer,
    )
    return example, spread * turn.conj()


def finished(network: nn.Module, solver: Iteration, weight: float = 1.0) -> Tensor:
    """The object after the network, whose correction counts by a weight."""
    example, unit = seen_at_end(solver)
    found = example.answer(network) * weight
    return solver.unknowns.object.now + torch.complex(found[0], found[1]) * unit


def solved_example(rng: random.Random) -> Example:
    """One scan at the end of the solver."""
    photons = 10 ** rng.uniform(2.8, 4.3)
    scan = scan_of(
        rng.choice(SEEN), rng.choice((6, 8, 12)), photons, rng.randrange(10**6) * 7 + 1000, side=_SIDE
    )
    solver = run_solver(scan, EPOCHS, None, total_variation=variation_for(photons))[0]
    return seen_at_end(solver, laid_truth(solver, scan))[0]


def cut(example: Example, rng: random.Random) -> Example:
    """A square of an example that holds light."""
    height, width = example.light.shape
    margin = _CUT // 4
    top = rng.randrange(margin, max(margin + 1, height - _CUT - margin))
    left = rng.randrange(margin, max(margin + 1, width - _CUT - margin))
    here = (..., slice(top, top + _CUT), slice(left, left + _CUT))
    parts = {name: getattr(example, name)[here] for name in ("planes", "target", "light", "taper")}
    return replace(example, **parts)


def trained_last(seed: int, share: Callable[[], float]) -> tuple[dict[str, Any], int]:
    """Weights, trained on scans that were solved before; and how many those are."""
    torch.manual_seed(seed)
    rng, network = random.Random(seed), last_net()
    examples: list[Example] = []
    while not examples or (len(examples) < SCANS and share() < 0.4):
        examples.append(solved_example(rng))
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3, weight_decay=1e-3)
    step, begin, left = 0, min(share(), 0.99), 0.0
    while (done := (share() - begin) / (1 - begin)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * min(1, (step + 1) / 30) * (0.5 * (1 + math.cos(math.pi * done)) + 0.01)
        loss = cut(rng.choice(examples), rng).other(rng).left(network)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        step, left = step + 1, 0.99 * left + 0.01 * float(loss.detach())
        if step % 200 == 0:
            print(len(examples), step, f"leaves {math.exp(left):.3f} of the error", flush=True)
    return network.state_dict(), len(examples)
