"""What a GPU gives: the numbers of the processor, frame-epochs of `refine`, patterns per second to an object.

    python benchmarks/on_gpu --output benchmarks/results/on_gpu.json

The parts are run in the order of their worth until `--minutes` are over: one that is not likely to end in
time is left out, and the record says so. It is written after every row. Without a GPU, `--quick` runs every
part in a small form on the processor, which only shows that it runs.

`--ptychi-python` names an interpreter that has Pty-Chi and a torch that knows the GPU; its solvers are then
measured on the same frames and the same device.
"""

from __future__ import annotations

import argparse
import logging
import sys
import warnings
from pathlib import Path

import torch

sys.path.append(str(Path(__file__).resolve().parents[1]))


def main() -> None:
    from parts import Setting, run
    from predicting import agreement, half_precision, prediction
    from refining import against_ptychi, memory, refinement

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=9.5, help="when no further part is begun")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", help="names of parts")
    parser.add_argument("--ptychi-python", help="interpreter that has Pty-Chi, to measure that too")
    parser.add_argument("--quick", action="store_true", help="all parts in a small form, on the processor")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    if not arguments.quick and not torch.cuda.is_available():
        parser.error("torch sees no GPU here; --quick runs a small form on the processor")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=UserWarning)
    setting = Setting(
        device="cpu" if arguments.quick else "cuda",
        quick=arguments.quick,
        rounds=1 if arguments.quick else arguments.rounds,
        ptychi_python=arguments.ptychi_python,
    )
    parts = {
        "agreement": (agreement, 40.0),
        "refine": (refinement, 90.0),
        "error against time": (against_ptychi, 150.0 if setting.ptychi_python else 30.0),
        "prediction, N = 64": (lambda how: prediction(how, 64), 120.0),
        "memory": (memory, 60.0),
        "half precision": (half_precision, 60.0),
        "prediction, N = 128": (lambda how: prediction(how, 128), 120.0),
    }
    if arguments.only:
        parts = {name: part for name, part in parts.items() if name in arguments.only}
    run(parts, setting, 60 * arguments.minutes, arguments.output)


if __name__ == "__main__":
    main()
