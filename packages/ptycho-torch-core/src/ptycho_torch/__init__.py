"""Ptychographic reconstruction with neural networks and the physics of the measurement.

Start with :mod:`ptycho_torch.config_factory`, which turns files and settings into one checked
configuration, and :mod:`ptycho_torch.workflows`, which trains, reconstructs and evaluates.
:mod:`ptycho_torch.data` reads, writes and simulates scans, :mod:`ptycho_torch.metrics` scores
objects, :mod:`ptycho_torch.bundle` saves and loads models; :mod:`ptycho_torch.physics` and
:mod:`ptycho_torch.models` hold the parts to build from. Importing this package loads none of them.

Raises
------
RuntimeError
    POLICY-001, on import: PyTorch is missing or older than 2.2.

Examples
--------
>>> from ptycho_torch.data.simulation.simulate import simulate_scene
>>> simulate_scene("lines", N=32, grid=(3, 3)).n_frames
9
"""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

__all__ = ["__version__"]

__version__ = version("ptycho-torch-core")

_OLDEST_TORCH = (2, 2)


def _require_torch() -> None:
    """Look for PyTorch without importing it, which would cost seconds."""
    needed = ".".join(str(part) for part in _OLDEST_TORCH)
    install = f"install it with: python -m pip install 'torch>={needed}'"
    if find_spec("torch") is None:
        raise RuntimeError(f"POLICY-001: ptycho_torch needs PyTorch, which is not installed; {install}")
    try:
        found = version("torch")
    except PackageNotFoundError:
        # Builds from source need not leave metadata; they are taken at their word.
        return
    parts = re.match(r"(\d+)\.(\d+)", found)
    if parts is not None and (int(parts[1]), int(parts[2])) < _OLDEST_TORCH:
        raise RuntimeError(
            f"POLICY-001: ptycho_torch needs PyTorch {needed} or newer, found {found}; {install}"
        )


_require_torch()
