"""What ``debug`` adds to a reconstruction: arrays from half way, and messages for developers."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from ptycho_torch.atomic import atomic_write
from ptycho_torch.data.groups.grouping import Groups
from ptycho_torch.models import PatchModel

__all__ = ["Intermediates", "debug_messages"]


class Intermediates:
    """Patches as the network predicts them, before they are trimmed, turned to one phase and averaged."""

    def __init__(self) -> None:
        self._patches: list[np.ndarray] = []
        self._positions: list[np.ndarray] = []

    def __call__(self, patches: np.ndarray, positions: np.ndarray) -> None:
        """Keep a batch, ``(batch, N, N)`` at ``(batch, 2)``."""
        self._patches.append(patches)
        self._positions.append(positions)

    def save(self, path: Path, groups: Groups, model: PatchModel) -> None:
        """Write ``patches``, ``positions`` (px), ``frames``, ``offsets`` (px) and ``weight`` as NPZ.

        Parameters
        ----------
        path
            File to create or replace; complete or not at all.
        groups
            Frame numbers, and positions within the groups.
        model
            Gives the weight of the pixels of a patch.
        """
        with atomic_write(path) as stream:
            np.savez_compressed(
                stream,
                patches=np.concatenate(self._patches),
                positions=np.concatenate(self._positions),
                frames=groups.frames,
                offsets=groups.offsets,
                weight=model.patch_weight().cpu().numpy(),
            )


@contextmanager
def debug_messages(*, wanted: bool) -> Iterator[None]:
    """Let messages of level DEBUG of this package through for a while; where they go is not changed."""
    package = logging.getLogger("ptycho_torch")
    before = package.level
    if wanted:
        package.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        package.setLevel(before)
