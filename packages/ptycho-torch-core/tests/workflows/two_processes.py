"""A user's script that trains, extends the training and reconstructs, in as many processes as it is told.

Usage: two_processes.py SCAN FOLDER DEVICES STRATEGY. Lightning starts it once more for every further device.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from ptycho_config import PyTorchExecutionConfig
from ptycho_torch.config_factory import create_inference_payload, create_training_payload
from ptycho_torch.workflows import infer, train
from ptycho_torch.workflows.distributed import is_first_process

# Plain gradient descent: adaptive steps blow rounding up where gradients are near zero. 25 of the groups
# train, so the last batch of 8 has one, in which the second process has no part.
SETTINGS = {"optimizer": "sgd", "momentum": 0.9, "batch_size": 8, "n_filters_scale": 1, "n_groups": 30}
EXECUTION = {"accelerator": "cpu", "val_fraction": 0.167, "learning_rate": 0.05}


def run(scan: str, folder: Path, devices: int, strategy: str) -> None:
    execution = PyTorchExecutionConfig(**EXECUTION, devices=devices, strategy=strategy)
    # A spawning trainer imports everything anew for every run, so it makes one.
    for nepochs in (2,) if strategy == "ddp_spawn" else (1, 2):
        made = create_training_payload(
            scan, folder / "run", overrides={**SETTINGS, "nepochs": nepochs}, execution_config=execution
        )
        outcome = train(made, resume=strategy != "ddp_spawn" and nepochs > 1)
    # Everybody sees the results that the first process wrote.
    assert outcome.bundle.is_file()
    result = infer(
        create_inference_payload(
            outcome.output_dir,
            scan,
            folder / "result",
            execution_config=PyTorchExecutionConfig(accelerator="cpu", devices=devices, strategy=strategy),
        )
    )
    if is_first_process():
        (folder / "summary.json").write_text(
            json.dumps({"history": outcome.history, "residual": result.forward_residual})
        )


if __name__ == "__main__":
    run(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
