"""What a checkpoint says of its run, and the refusal of one that was damaged or changed."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException

from ptycho_config import ConfigError, Problem
from ptycho_torch.bundle.checkpoint import checkpoint_content
from ptycho_torch.inside import inside
from ptycho_torch.lightning.checkpoint_io import LAST_CHECKPOINT

__all__ = ["UNREADABLE", "Standing", "read_standing", "unusable_checkpoint"]

UNREADABLE = (
    LookupError,
    RuntimeError,
    EOFError,
    ValueError,
    TypeError,
    AttributeError,
    AssertionError,
    ArithmeticError,
    pickle.UnpicklingError,
    MisconfigurationException,
)
"""What torch, Lightning and this package raise on content that is no checkpoint, or was changed."""

_ENDS = ("", "epochs", "patience", "time")


@dataclass(frozen=True, kw_only=True)
class Standing:
    """What a checkpoint says of its run.

    Attributes
    ----------
    identity
        Of the data that it was trained on.
    epochs, step
        Complete epochs, and steps of the optimiser.
    ended
        Why training ended; empty if it had not.
    seconds
        Time spent; s.
    best
        Checkpoint of the best weights.
    kept
        Checkpoints that belong to it.
    rows
        Metrics of every complete epoch.
    """

    identity: str
    epochs: int
    step: int
    ended: str
    seconds: float
    best: Path | None
    kept: tuple[Path, ...]
    rows: Sequence[Mapping[str, float]] = field(repr=False)


def read_standing(path: Path) -> Standing:
    """Read ``last.ckpt``.

    Raises
    ------
    ConfigError
        If it is damaged, was changed, or names a file elsewhere. The newest whole checkpoint is named.
    """
    try:
        return _standing(checkpoint_content(path), path)
    except UNREADABLE as error:
        raise unusable_checkpoint(path, error) from error


def _standing(content: dict[str, Any], path: Path) -> Standing:
    states = {_kind(key): state for key, state in content["callbacks"].items()}
    last, best = states["LastCheckpoint"], states["BestCheckpoints"]
    rows = [{str(name): float(value) for name, value in row.items()} for row in states["History"]["rows"]]
    epochs, step = _count(content["epoch"]), _count(content["global_step"])
    if [row["epoch"] for row in rows] != list(range(epochs)):
        raise ValueError(f"it holds {len(rows)} rows of metrics, but {epochs} epochs")
    progress = content["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"]
    if progress != epochs or not content["optimizer_states"] or not content["state_dict"]:
        # Lightning would continue without a word from what is left.
        raise ValueError("weights, optimizer and count of the epochs are not of one moment")
    if last["ended"] not in _ENDS:
        raise ValueError(f"it says that training ended by {last['ended']!r}")
    return Standing(
        identity=str(last["identity"]),
        epochs=epochs,
        step=step,
        ended=last["ended"],
        seconds=float(states["RunTimer"]["time_elapsed"]["train"]) if "RunTimer" in states else 0.0,
        best=inside(path.parent, best["best_model_path"]) if best["best_model_path"] else None,
        kept=(path, *(_scored(path.parent, *item) for item in best["best_k_models"].items())),
        rows=rows,
    )


def _kind(key: str) -> str:
    """Name of the class in the key under which Lightning keeps the state of a callback."""
    return key.partition("{")[0]


def _scored(folder: Path, name: Any, score: Any) -> Path:
    """One of the best checkpoints, if its score can be compared with others."""
    if not isinstance(score, torch.Tensor) or score.ndim:
        raise ValueError(f"the score of {name!r} is {str(score)[:40]!r}")
    return inside(folder, name)


def _count(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"it counts {value!r}")
    return value


def unusable_checkpoint(path: Path, error: Exception) -> ConfigError:
    """The refusal of a checkpoint, with the newest one beside it that is whole."""
    reason = str(error).split(". ")[0].removeprefix(f"{path}: ")
    if isinstance(error, LookupError):
        reason = f"it lacks {reason}"
    whole = _newest_whole(path)
    hint = f"{path.name} cannot be used ({reason}); train anew in another directory"
    if whole is not None:
        hint += f"; the last good checkpoint is {whole}: infer takes it as a model"
    return ConfigError(Problem("output_dir", str(path), "a checkpoint that train wrote", hint))


def _newest_whole(path: Path) -> Path | None:
    found = []
    for other in path.parent.glob("*.ckpt"):
        if other.stem == LAST_CHECKPOINT or other.is_symlink() or not other.is_file():
            continue
        try:
            found.append((_count(checkpoint_content(other)["epoch"]), other))
        except UNREADABLE:
            continue
    return max(found)[1] if found else None
