"""Where the time of the default network goes, in training and in prediction, and what was tried to halve it.

    python benchmarks/network_account.py --output benchmarks/results/network_account.json

Times are processor seconds of one thread and taken in turn. A training step of the real loop is compared with
the same step on a batch that lies ready; a prediction with a pair of transforms, and with the multiplications
that it needs. Written up in `network_account.md`.
"""

from __future__ import annotations

import argparse
import math
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from bench_record import error_of, spread, write_record
from network_throughput import build, training
from torch import nn

from ptycho_torch.bundle import load_bundle
from ptycho_torch.config_factory import create_training_payload
from ptycho_torch.data.scan.contract import Scan
from ptycho_torch.data.simulation.simulate import simulate_scene
from ptycho_torch.lightning.compiling import compiled, compiler_failure, compiler_warnings
from ptycho_torch.lightning.module import PtychoModule
from ptycho_torch.models import PatchModel, unrolled
from ptycho_torch.prediction.reconstruction import reconstruct
from ptycho_torch.workflows import train

STEP_PX = {32: 3.0, 64: 6.0, 128: 12.0}
BATCH = 16
#: Constants of the network in place of its own.
OTHER_NETWORKS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "from a quarter of the resolution": {"_FINEST": 32},
    "as wide at all scales as at the finest": {"_WIDTHS": (8, 8, 8)},
}


def scan_of(n_pixels: int, side: int, seed: int) -> Scan:
    """A lines scan of ``side`` × ``side`` frames."""
    return simulate_scene("lines", N=n_pixels, grid=(side, side), step_px=STEP_PX[n_pixels], seed=seed)


def cpu_s(work: Callable[[], Any]) -> float:
    """Processor time of a call."""
    began = time.process_time()
    work()
    return time.process_time() - began


def in_turn(works: dict[str, Callable[[], Any]], frames: int, rounds: int) -> dict[str, list[float]]:
    """Microseconds per frame of each, in every round, after one that does not count."""
    taken: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds + 1):
        for name, work in works.items():
            taken[name].append(1e6 * cpu_s(work) / frames)
    return {name: values[1:] for name, values in taken.items()}


@contextmanager
def watched() -> Iterator[dict[str, list[float]]]:
    """Processor times at which batches begin and end, and those of their steps, while something trains."""
    seen: dict[str, list[float]] = {"start": [], "end": [], "step": []}
    step = PtychoModule.optimizer_step

    def begins(self: PtychoModule, *given: Any) -> None:
        seen["start"].append(time.process_time())

    def ends(self: PtychoModule, *given: Any) -> None:
        seen["end"].append(time.process_time())

    def steps(self: PtychoModule, *given: Any, **named: Any) -> None:
        seen["step"].append(cpu_s(partial(step, self, *given, **named)))

    patched = {"on_train_batch_start": begins, "on_train_batch_end": ends, "optimizer_step": steps}
    before = {name: getattr(PtychoModule, name) for name in patched}
    try:
        for name, function in patched.items():
            setattr(PtychoModule, name, function)
        yield seen
    finally:
        for name, function in before.items():
            setattr(PtychoModule, name, function)


def trained(scan: Scan, epochs: int) -> PatchModel:
    """The network after a training on single frames."""
    stated = {"nepochs": epochs, "batch_size": BATCH, "n_groups": None, "scheduler": "WarmupCosine"}
    stated |= {"accelerator": "cpu", "logger_backend": None}
    with tempfile.TemporaryDirectory() as folder:
        outcome = train(create_training_payload(scan, Path(folder) / "run", overrides=stated))
        return load_bundle(outcome.bundle)[0]


def share_of_kernels(n_pixels: int, side: int, rounds: int) -> dict[str, Any]:
    """How much of a batch of the real loop is its step, waiting, and what a step on a ready batch takes."""
    model, counts = build("unrolled", n_pixels, BATCH, "cpu")
    ready = training(model, counts, 1)
    ready()
    rows = []
    for _ in range(rounds):
        alone = statistics.median(cpu_s(ready) for _ in range(5))
        with watched() as seen:
            whole = cpu_s(lambda: trained(scan_of(n_pixels, side, 1), 2))
        full = [index for index, start in enumerate(seen["start"][:-1]) if index]
        between = [seen["start"][index] - seen["end"][index - 1] for index in full]
        batch = [seen["end"][index] - seen["start"][index] for index in full]
        # The last batch of an epoch may be smaller, and validation follows it: medians leave both out.
        taken = statistics.median(batch) + statistics.median(between)
        rows.append(
            {
                "step": statistics.median(seen["step"]) / taken,
                "ready_step": alone / taken,
                "between_batches": statistics.median(between) / taken,
                "batches_of_the_call": len(seen["step"]) * taken / whole,
            }
        )
    return {
        "N": n_pixels,
        "frames": side**2,
        "share": {name: spread([row[name] for row in rows]) for name in rows[0]},
    }


def multiplications(model: PatchModel, counts: torch.Tensor) -> dict[str, float]:
    """Multiply-adds of every convolution per frame, by the name of its stage."""
    found: dict[str, float] = {}

    def count(name: str, layer: nn.Conv2d, given: Any, made: torch.Tensor) -> None:
        kernel = math.prod(layer.kernel_size) * layer.in_channels // layer.groups
        found[name] = found.get(name, 0.0) + kernel * made[0].numel()

    hooks = [
        layer.register_forward_hook(partial(count, ".".join(name.split(".")[1:4])))
        for name, layer in model.generator.named_modules()
        if isinstance(layer, nn.Conv2d)
    ]
    with torch.no_grad():
        model(counts[:1])
    for hook in hooks:
        hook.remove()
    by_stage: dict[str, float] = {}
    for name, value in found.items():
        stage = name.split(".", 1)[1]
        by_stage[stage] = by_stage.get(stage, 0.0) + value
    return by_stage


def account(n_pixels: int, rounds: int) -> dict[str, Any]:
    """Time of a prediction beside that of one pair of transforms, and both beside their arithmetic."""
    model, counts = build("unrolled", n_pixels, BATCH, "cpu")
    model.eval()
    waves = torch.randn(BATCH, n_pixels, n_pixels, dtype=torch.complex64)
    maps = torch.randn(BATCH, 6, n_pixels, n_pixels)
    unets = model.generator.unets

    @torch.no_grad()
    def whole() -> None:
        model(counts)

    @torch.no_grad()
    def networks() -> None:
        for unet in unets:
            unet(maps)

    def pair() -> None:
        torch.fft.ifft2(torch.fft.fft2(waves), norm="forward")

    taken = in_turn({"pair": pair, "whole": whole, "unets": networks}, BATCH, rounds)
    stages = multiplications(model, counts)
    by_arithmetic = sum(stages.values()) / (5 * n_pixels**2 * math.log2(n_pixels**2))
    median = {name: statistics.median(values) for name, values in taken.items()}
    return {
        "N": n_pixels,
        "us_per_frame": {name: spread(values) for name, values in taken.items()},
        "multiplications_by_stage": stages,
        "multiplications": sum(stages.values()),
        "arithmetic_of_unets_over_pair": by_arithmetic,
        "time_of_unets_over_pair": median["unets"] / median["pair"],
        "time_of_whole_over_pair": median["whole"] / median["pair"],
        "unets_gmac_per_s": sum(stages.values()) / median["unets"] / 1e3,
        "pair_gflop_per_s": 10 * n_pixels**2 * math.log2(n_pixels**2) / median["pair"] / 1e3,
    }


def ways(n_pixels: int, rounds: int, *, compile_too: bool) -> dict[str, Any]:
    """Other ways to compute the same network, as multiples of the time that it takes as it is."""
    kept = "contiguous"
    predictions: dict[str, Callable[[], Any]] = {}
    trainings: dict[str, Callable[[], Any]] = {}
    for layout in (kept, "channels last"):
        model, counts = build("unrolled", n_pixels, BATCH, "cpu")
        if layout != kept:
            model = model.to(memory_format=torch.channels_last)
        for precision in ("32 bits", "bf16"):
            name = f"{layout}, {precision}"
            context = partial(torch.autocast, "cpu", torch.bfloat16) if precision == "bf16" else nullcontext
            predictions[name] = partial(predicted, model, counts, context, None)
        trainings[layout] = training(model, counts, 1)
    failure = "not asked for" if not compile_too else compiler_failure("cpu")
    if failure is None:
        network = compiled(model.generator.forward)
        predictions["channels last, compiled"] = partial(predicted, model, counts, nullcontext, network)
    with compiler_warnings():
        found = in_turn(predictions, BATCH, rounds)
        learning = in_turn(trainings, BATCH, rounds)
    return {
        "N": n_pixels,
        "no_compiler": failure,
        "prediction": ratios(found, f"{kept}, 32 bits"),
        "training": ratios(learning, kept),
    }


@torch.no_grad()
def predicted(model: PatchModel, counts: torch.Tensor, context: Callable[[], Any], network: Any) -> None:
    """Patches of a batch."""
    with context():
        model(counts, network=network)


def ratios(taken: dict[str, list[float]], base: str) -> dict[str, dict[str, float]]:
    """Spread of the time of each as a multiple of that of one of them, round by round."""
    return {
        name: spread([value / one for value, one in zip(values, taken[base], strict=True)])
        for name, values in taken.items()
    }


@contextmanager
def other_network(constants: dict[str, Any]) -> Iterator[None]:
    """Build networks with other constants."""
    before = {name: getattr(unrolled, name) for name in constants}
    try:
        for name, value in constants.items():
            setattr(unrolled, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(unrolled, name, value)


def smaller(n_pixels: int, side: int, epochs: int, rounds: int) -> list[dict[str, Any]]:
    """Cheaper networks: their cost, and their error of a new scan after the same epochs on one."""
    seen, new = scan_of(n_pixels, side, 1), scan_of(n_pixels, side, 2)
    works, rows = {}, []
    for name, constants in OTHER_NETWORKS.items():
        with other_network(constants):
            model = trained(seen, epochs)
            _, counts = build("unrolled", n_pixels, BATCH, "cpu")
        works[name] = partial(predicted, model, counts, nullcontext, None)
        errors = {
            which: error_of(new, reconstruct(model, new, **settings))
            for which, settings in (("error_of_the_network", {"physics_steps": 0}), ("error_with_steps", {}))
        }
        rows.append({"N": n_pixels, "network": name, "epochs": epochs, "frames": side**2, **errors})
    costs = ratios(in_turn(works, BATCH, rounds), "as it is")
    return [{**row, "cost": costs[row["network"]]} for row in rows]


def main() -> None:
    """Measure all of it and write the record."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="small frames, to see that everything runs")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    warnings.filterwarnings("ignore", category=UserWarning)
    sizes, rounds, side, epochs = ((64, 128), arguments.rounds, 16, 10)
    if arguments.quick:
        sizes, rounds, side, epochs = ((32,), 1, 5, 1)
    record: dict[str, Any] = {"training": [], "prediction": [], "ways": [], "smaller": []}
    for n_pixels in sizes:
        record["prediction"].append(account(n_pixels, rounds))
        record["ways"].append(ways(n_pixels, rounds, compile_too=not arguments.quick))
        record["training"].append(share_of_kernels(n_pixels, max(5, 2 * side // 3), max(1, rounds // 2)))
        print({name: rows[-1] for name, rows in record.items() if rows}, flush=True)
        write_record(arguments.output, record)
    record["smaller"] = smaller(sizes[0], side, epochs, rounds)
    print(record["smaller"])
    write_record(arguments.output, record)


if __name__ == "__main__":
    main()
