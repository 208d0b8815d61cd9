"""Grab the pictures of the page on ptychodus from its own window, after a training and a reconstruction.

Run it with the interpreter of an environment that the session ``ptychodus`` made:

    .nox/ptychodus/bin/python docs/make_ptychodus_pictures.py
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

__all__ = ["main"]

HERE = Path(__file__).resolve().parent
DRIVER = HERE.parent / "tests" / "ptychodus"


def main() -> None:
    """Simulate a scan, use the window on it, and keep what it showed."""
    sys.path.insert(0, str(DRIVER))
    from driving import environment, make_world, write_frames_for_the_window

    with tempfile.TemporaryDirectory() as folder:
        world = make_world(Path(folder) / "scan", n_pixels=64, step_px=6.0)
        write_frames_for_the_window(world)
        typed = {"MODEL_SIZE": "64", "EPOCHS": "10"}
        subprocess.run(
            [sys.executable, str(DRIVER / "use_window.py"), "train", str(world.folder), str(HERE / "images")],
            env={**environment(Path(folder)), **typed},
            check=True,
        )
    for picture in sorted((HERE / "images").glob("ptychodus-*.png")):
        assert os.path.getsize(picture) < 150_000, picture


if __name__ == "__main__":
    main()
