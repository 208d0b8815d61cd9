"""A user's script that cancels a training, continues it, reconstructs, and cancels a second reconstruction.

Usage: two_processes.py SCAN FOLDER DEVICES STRATEGY. Lightning starts it once more for every further device.
SCAN may be a folder of scans, whose probes are then trained as well; the first of them is reconstructed.
One process alone, and a strategy that starts processes for every call, which takes long, cancel nothing.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path

from ptycho_config import PyTorchExecutionConfig
from ptycho_torch.config_factory import create_inference_payload, create_training_payload
from ptycho_torch.reassembly import Team
from ptycho_torch.workflows import RunCancelled, infer, train
from ptycho_torch.workflows.processes.distributed import is_first_process

# What the package says is seen from every process, copies included, which import this module again.
logging.basicConfig(level=logging.INFO, format="%(message)s")

# Plain gradient descent: adaptive steps blow rounding up where gradients are near zero. 25 of the groups
# train, so the last batch of 8 has one, in which the second process has no part.
SETTINGS = {
    "optimizer": "sgd",
    "momentum": 0.9,
    "batch_size": 8,
    "n_filters_scale": 1,
    "n_groups": 30,
    "nepochs": 2,
}
EXECUTION = {"accelerator": "cpu", "val_fraction": 0.167, "learning_rate": 0.05}


def run(scan: str, folder: Path, devices: int | str, strategy: str, num_nodes: int = 1) -> None:
    spread = {"devices": devices, "strategy": strategy, "num_nodes": num_nodes}
    cancels = devices != 1 and strategy != "ddp_spawn"
    heard: dict[str, list[tuple[int, int]]] = {"train": [], "infer": []}
    scans = sorted(Path(scan).glob("*.npz")) or [Path(scan)]
    made = create_training_payload(
        scans,
        folder / "run",
        overrides={**SETTINGS, "probe_trainable": len(scans) > 1},
        execution_config=PyTorchExecutionConfig(**EXECUTION, **spread),
    )
    if cancels:
        # Epochs have four batches: the first is complete.
        note_cancelled(folder, lambda: train(made, should_stop=asked_by_the_last(6)))
    # Neither a function inside another one nor a list can be seen from a copy of this process.
    outcome = train(made, resume=cancels, progress=lambda *step: heard["train"].append(step))
    # Everybody sees the results that the first process wrote.
    assert outcome.bundle.is_file()

    def payload(name: str, **more: int):
        execution = PyTorchExecutionConfig(accelerator="cpu", **spread, **more)
        return create_inference_payload(
            outcome.output_dir, scans[0], folder / name, execution_config=execution
        )

    result = infer(payload("result"), progress=lambda *step: heard["infer"].append(step))
    if is_first_process():
        (folder / "summary.json").write_text(
            json.dumps(
                {
                    "history": outcome.history,
                    "residual": result.forward_residual,
                    "heard": heard,
                    "verdicts": [outcome.verdict.n_held_out, result.verdict.n_held_out],
                }
            )
        )
    if cancels:
        # Five batches: one process has a batch more than the other.
        again = payload("cancelled", inference_batch_size=6)
        note_cancelled(folder, lambda: infer(again, should_stop=asked_by_the_last(3)))


def asked_by_the_last(times: int) -> Callable[[], bool]:
    """A wish that the last process alone has, when it is asked for the given time."""
    asked = []

    def should_stop() -> bool:
        asked.append(None)
        joined = Team.joined()
        return joined.number == joined.count - 1 and len(asked) == times

    return should_stop


def note_cancelled(folder: Path, work: Callable[[], object]) -> None:
    try:
        work()
    except RunCancelled as cancelled:
        kept = "nothing" if cancelled.checkpoint is None else cancelled.checkpoint.name
        (folder / f"{cancelled.what}{Team.joined().number}.txt").write_text(kept)


if __name__ == "__main__":
    run(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
