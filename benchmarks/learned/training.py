"""Training of what goes between passes, on simulated scans whose truth is known."""

from __future__ import annotations

import argparse
import math
import random
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from canvas import PASSES as CANVAS_PASSES
from canvas import Canvas, canvas_net
from coarse import PASSES as COARSE_PASSES
from coarse import Coarse, coarse_net
from examples import Example, Learned
from kinds import SEEN, scan_of
from last_step import last_net, trained_last
from momentum import Momentum, evolved
from stages import Begin, begun, laid_truth, passed
from torch import nn

from ptycho_torch.data.scan.contract import Scan
from ptycho_torch.refine.subsets import subset_counts

NETWORKS: dict[str, tuple[Callable[[], nn.Module], Callable[..., Any], int]] = {
    "canvas": (canvas_net, Canvas, CANVAS_PASSES),
    # The first pass has no step for slow phases yet.
    "coarse": (coarse_net, Coarse, COARSE_PASSES + 1),
}
KINDS_OF_STAGE = (*NETWORKS, "momentum", "last")
SIDE = 10
PLANNED = 20
FRESH, SEEN_AGAIN = 20, 0.6
KEPT = 250
STEPS_PER_SCAN = {"canvas": 10, "coarse": 25}


class Scans:
    """Scans of kinds, steps and doses, of seeds that no measurement uses; most are seen a few times."""

    def __init__(self) -> None:
        self.held: list[Scan] = []

    def __call__(self, rng: random.Random) -> Scan:
        if len(self.held) > FRESH and rng.random() < SEEN_AGAIN:
            return rng.choice(self.held)
        made = scan_of(
            rng.choice(SEEN),
            rng.choice((6, 6, 8, 12, 16)),
            10 ** rng.uniform(3.5, 6.5),
            rng.randrange(10**6) * 7 + 1000,
            side=SIDE,
        )
        self.held.append(made)
        return made


def trained_network(name: str, seed: int, share: Callable[[], float]) -> tuple[dict[str, Any], int]:
    """Weights, trained on what the passes and the network so far left; and how many scans it took."""
    torch.manual_seed(seed)
    make, stage_of, passes = NETWORKS[name]
    rng, network, draw = random.Random(seed), make(), Scans()
    examples: deque[Example] = deque(maxlen=KEPT)
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3, weight_decay=1e-4)
    scans = step = 0
    while (done := share()) < 1:
        examples.extend(shown(stage_of, network, draw(rng), passes))
        scans += 1
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * min(1, (scans + 1) / 5) * (0.5 * (1 + math.cos(math.pi * done)) + 0.01)
        left = 0.0
        for _ in range(STEPS_PER_SCAN[name]):
            loss = rng.choice(examples).other(rng).left(network)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            left, step = left + float(loss.detach()) / STEPS_PER_SCAN[name], step + 1
        if scans % 20 == 0:
            print(scans, step, f"leaves {math.exp(left):.3f} of the error", flush=True)
    return network.state_dict(), scans


def shown(stage_of: Callable[..., Learned], network: nn.Module, scan: Scan, passes: int) -> list[Example]:
    """What a network sees on a scan after each pass, with what would have been right."""
    solver, most = begun(scan)
    stage = stage_of(network, solver, laid_truth(solver, scan))
    found = [
        stage.after(solver, number, passed(solver, number, n_subsets)[1])
        for number, n_subsets in enumerate(subset_counts(most, PLANNED)[:passes])
    ]
    return [example for example in found if example is not None]


def train(arguments: argparse.Namespace) -> None:
    """Train one stage for some minutes of processor time."""
    began = time.process_time()

    def share() -> float:
        return (time.process_time() - began) / 60 / arguments.minutes

    if arguments.stage == "momentum":
        numbers, scans = evolved(Scans(), arguments.seed, share)
        found: dict[str, Any] = {"numbers": numbers}
    elif arguments.stage == "last":
        found, scans = trained_last(arguments.seed, share)
    else:
        found, scans = trained_network(arguments.stage, arguments.seed, share)
    facts = {"stage": arguments.stage, "seed": arguments.seed, "minutes": arguments.minutes, "scans": scans}
    torch.save({"facts": facts, "found": found}, arguments.output)


def loaded(path: Path) -> tuple[dict[str, Any], Any]:
    """Facts of a training, and the stage: what begins one, or the network of the last step."""
    held = torch.load(path, weights_only=True)
    facts, found = held["facts"], held["found"]
    if facts["stage"] == "momentum":
        begin: Begin = partial(Momentum, found["numbers"])
        return facts, begin
    if facts["stage"] == "last":
        network: nn.Module = last_net()
        network.load_state_dict(found)
        return facts, network.eval()
    make, stage_of, _ = NETWORKS[facts["stage"]]
    network = make()
    network.load_state_dict(found)
    return facts, partial(stage_of, network.eval())
