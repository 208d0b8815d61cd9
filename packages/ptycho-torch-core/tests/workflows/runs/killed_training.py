"""Runs one training in several processes, each of which kills itself at a moment that it is told.

Usage: killed_training.py SCAN OUTPUT_DIR MOMENT... prints how each process ended. A process is forked from
this one, which has imported everything and computed nothing, so that each costs no import.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

from ptycho_config import PyTorchExecutionConfig
from ptycho_torch.config_factory import create_training_payload
from ptycho_torch.workflows import train
from ptycho_torch.workflows.jobs import training as training_module
from ptycho_torch.workflows.jobs.training_pictures import TRAINING_PICTURES
from ptycho_torch.workflows.runs.leaving import Leaving

RUN = {"nepochs": 4, "batch_size": 8, "n_filters_scale": 1, "n_groups": 16}
EXECUTION = {"accelerator": "cpu", "val_fraction": 0.25, "learning_rate": 3e-3}


def _kill_at(name: str, count: int) -> None:
    """Kill this process when a file is about to take its name for the given time."""
    seen = 0
    replace = os.replace

    def watched(source, target):
        nonlocal seen
        seen += Path(target).name.startswith(name)
        if seen == count:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(source, target)

    os.replace = watched


def _touch(leaving: Leaving, *rest: object) -> None:
    """Stand for pictures, which take longer than these trainings."""
    for name in TRAINING_PICTURES:
        (leaving.folder / name).touch()


def _run(scan: str, output: str, moment: str, *, resume: bool) -> None:
    name, _, count = moment.partition(":")
    _kill_at(name, int(count))
    training_module.write_training_pictures = _touch
    made = create_training_payload(
        scan, output, overrides=RUN, execution_config=PyTorchExecutionConfig(**EXECUTION)
    )
    train(made, resume=resume)


def main() -> None:
    scan, output, *moments = sys.argv[1:]
    ends = []
    for number, moment in enumerate(moments):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                _run(scan, output, moment, resume=number > 0)
                code = 0
            finally:
                os._exit(code)
        status = os.waitpid(child, 0)[1]
        ends.append(-os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status))
    print(json.dumps(ends))


if __name__ == "__main__":
    main()
