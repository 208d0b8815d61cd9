"""Time from typing a command to its answer, and from an import to the next line.

    python benchmarks/start_up.py --output start_up.json

Each candidate is a fresh interpreter, started in turn with the others; Python alone is one of them.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

from bench_record import spread, write_record

CANDIDATES = {
    "python": ["-c", ""],
    "import ptycho_config": ["-c", "import ptycho_config"],
    "import torch": ["-c", "import torch"],
    "import ptycho_torch": ["-c", "import ptycho_torch"],
    "import torch, ptycho_torch": ["-c", "import torch, ptycho_torch"],
    "ptycho-torch --help": ["-m", "ptycho_torch_cli", "--help"],
    "ptycho-torch config show": ["-m", "ptycho_torch_cli", "config", "show"],
}


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    seconds: dict[str, list[float]] = {name: [] for name in CANDIDATES}
    for number in range(arguments.rounds + 1):
        for name, words in CANDIDATES.items():
            started = time.perf_counter()
            subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)
            # The first round fills the caches of the system.
            if number > 0:
                seconds[name].append(time.perf_counter() - started)
    record = {name: spread(values) for name, values in seconds.items()}
    for name, found in record.items():
        print(f"{name:28} {found['median']:.3f} s ({found['min']:.3f} to {found['max']:.3f})")
    write_record(arguments.output, {"rounds": arguments.rounds, "seconds": record})


if __name__ == "__main__":
    main()
