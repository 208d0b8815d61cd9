"""Checkpoint files that are whole at every moment."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.checkpoint_io import CheckpointIO

from ptycho_torch.atomic import atomic_write
from ptycho_torch.bundle.checkpoint import checkpoint_content, plain_tensors
from ptycho_torch.bundle.checksum import CHECKSUM_ENTRY, checksum_of

__all__ = ["BEST_CHECKPOINTS", "LAST_CHECKPOINT", "AtomicCheckpointIO"]

LAST_CHECKPOINT = "last"
"""Stem of the checkpoint that a run is continued from."""

BEST_CHECKPOINTS = "best-"
"""Start of the names of the best checkpoints."""


def _is_bare(checkpoint: dict[str, Any]) -> bool:
    """Whether these are weights and nothing beside them."""
    return all(isinstance(value, torch.Tensor) for value in checkpoint.values())


class AtomicCheckpointIO(CheckpointIO):
    """Writes checkpoints under another name first, and removes none that the last one still speaks of.

    A checkpoint that was overtaken is removed once the next ``last.ckpt`` is in place: killed in
    between, a run finds everything that its ``last.ckpt`` names.

    Attributes
    ----------
    was_read
        Whether a checkpoint was read, to continue from.
    """

    def __init__(self) -> None:
        self.was_read = False
        self._overtaken: list[Path] = []

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        """Write a checkpoint with its checksum; complete or not at all."""
        # A full disk is an OSError of the plain file; the archive writer of torch would hide it.
        content = io.BytesIO()
        marked = (
            checkpoint if _is_bare(checkpoint) else {**checkpoint, CHECKSUM_ENTRY: checksum_of(checkpoint)}
        )
        torch.save(marked, content)
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(target) as stream:
            stream.write(content.getbuffer())
        self._overtaken = [path for path in self._overtaken if path != target]
        if target.stem == LAST_CHECKPOINT:
            self.remove_overtaken()

    def load_checkpoint(
        self, path: str | Path, map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint, as :func:`ptycho_torch.bundle.checkpoint.checkpoint_content` does.

        Bare weights, which a spawned process hands back in a file, are read as they are.
        """
        file = Path(path)
        content = plain_tensors(file.read_bytes(), "the checkpoint", file)
        if isinstance(content, dict) and _is_bare(content):
            return content
        self.was_read = True
        return checkpoint_content(file)

    def remove_checkpoint(self, path: str | Path) -> None:
        """Note a checkpoint for removal."""
        self._overtaken.append(Path(path))

    def remove_overtaken(self) -> None:
        """Remove what was noted."""
        for path in self._overtaken:
            if path.is_file():
                path.unlink()
        self._overtaken.clear()
