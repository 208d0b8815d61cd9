"""Runs `two_processes.py` on two machines of one process each, both of which are this one.

Usage: two_nodes.py FOLDER LAUNCHER SCAN..., with LAUNCHER one of torchrun and slurm, whose environment the
processes find, each with a scan of its own. They are forked from this one, which has imported what takes long
and knows of no launcher.
"""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import matplotlib.figure
import scipy.ndimage
import torch._dynamo

EXPENSIVE = (matplotlib.figure, scipy.ndimage, torch._dynamo)


def environment(launcher: str, node: int, port: int) -> dict[str, str]:
    """What a launcher tells the one process of a node, of two."""
    said = {"MASTER_ADDR": "localhost", "MASTER_PORT": port}
    if launcher == "torchrun":
        said |= {"WORLD_SIZE": 2, "RANK": node, "LOCAL_WORLD_SIZE": 1, "LOCAL_RANK": 0}
        said |= {"GROUP_RANK": node, "GROUP_WORLD_SIZE": 2, "TORCHELASTIC_RUN_ID": "tests"}
    else:
        said |= {"SLURM_JOB_ID": 1, "SLURM_JOB_NAME": "tests", "SLURM_NNODES": 2, "SLURM_NTASKS": 2}
        said |= {"SLURM_NTASKS_PER_NODE": 1, "SLURM_PROCID": node, "SLURM_NODEID": node, "SLURM_LOCALID": 0}
    return {name: str(value) for name, value in said.items()}


def start(launcher: str, node: int, port: int, scan: str, folder: Path) -> int:
    """Fork the process of a node and return its number."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        os.environ.update(environment(launcher, node, port))
        from two_processes import run

        # How many devices there are is for the launcher to say.
        run(scan, folder, "auto", "auto", num_nodes=2)
        code = 0
    finally:
        sys.stderr.flush()
        os._exit(code)


def main() -> None:
    folder, *pairs = sys.argv[1:]
    failed = []
    for launcher, scan in zip(pairs[::2], pairs[1::2], strict=True):
        with socket.socket() as free:
            free.bind(("localhost", 0))
            port = free.getsockname()[1]
        place = Path(folder) / launcher
        place.mkdir()
        for number in [start(launcher, node, port, scan, place) for node in (0, 1)]:
            failed.append(os.waitpid(number, 0)[1])
    sys.exit(any(failed))


if __name__ == "__main__":
    main()
