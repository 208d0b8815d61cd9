"""Which checkpoint of a training a caller should keep."""

from __future__ import annotations

from pathlib import Path

from ptycho_torch.bundle import best_checkpoint

__all__ = ["find_best_checkpoint"]


def find_best_checkpoint(run_dir: str | Path) -> Path | None:
    """Checkpoint with the best weights of a training.

    Parameters
    ----------
    run_dir
        Folder of the run.

    Returns
    -------
    Path or None
        None if the run kept none.
    """
    return best_checkpoint(Path(run_dir))
