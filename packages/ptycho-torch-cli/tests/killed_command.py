"""Runs a command that kills itself when a file is about to take a name for the given time.

Usage: killed_command.py PATH COUNT WORD...
"""

from __future__ import annotations

import os
import signal
import sys

from ptycho_torch_cli.__main__ import main


def _kill_at(path: str, count: int) -> None:
    seen = 0

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal seen
        if event == "os.rename" and str(arguments[1]) == path:
            seen += 1
            if seen == count:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


if __name__ == "__main__":
    _kill_at(sys.argv[1], int(sys.argv[2]))
    sys.exit(main(sys.argv[3:]))
