"""Continuing a training that was interrupted, from what its folder holds."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ptycho_config import (
    SECTIONS,
    ConfigError,
    Problem,
    PyTorchExecutionConfig,
    Resolution,
    TrainingConfig,
    field_specs,
    load_config,
)
from ptycho_torch.data.groups.dataset import GroupDataset
from ptycho_torch.lightning.checkpoint_io import BEST_CHECKPOINTS, LAST_CHECKPOINT
from ptycho_torch.workflows.runs.standing import read_standing

__all__ = ["ResumePoint", "check_same_settings", "identity_of", "remove_strays", "resume_point"]

logger = logging.getLogger(__name__)

_SAMPLE_GROUPS = 16
_SPREAD_OVER_EPOCHS = ("Exponential", "MultiStage", "WarmupCosine")


@dataclass(frozen=True, kw_only=True)
class ResumePoint:
    """Where a run stands.

    Attributes
    ----------
    checkpoint
        File to continue from; ``None`` if there is none yet.
    epochs
        Complete epochs.
    step
        Optimiser steps taken.
    ended
        Whether training is over and only results may be missing.
    reason
        Why it is over: ``"epochs"``, ``"patience"`` or ``"time"``; empty if it is not.
    best
        Checkpoint of the best weights.
    rows
        Metrics of every complete epoch.
    """

    checkpoint: Path | None = None
    epochs: int = 0
    step: int = 0
    ended: bool = False
    reason: str = ""
    best: Path | None = None
    rows: Sequence[Mapping[str, float]] = field(default=(), repr=False)


def identity_of(datasets: Iterable[GroupDataset], probes: Iterable[Tensor]) -> str:
    """SHA-256 of what a run learns from: the groups, their split, a sample of the frames, the probes.

    Numbers that another machine may round otherwise count with a few digits only.

    Parameters
    ----------
    datasets
        Groups to train on, then those to validate on.
    probes
        Complex, ``(modes, N, N)``: the probe of each training scan.
    """
    digest = hashlib.sha256()
    for dataset in datasets:
        groups = np.ascontiguousarray(dataset.groups)
        digest.update(f"{groups.shape} {groups.dtype}".encode() + groups.tobytes())
        if len(groups):
            sample = groups[np.linspace(0, len(groups) - 1, _SAMPLE_GROUPS).astype(np.int64), 0]
            counts = np.asarray(dataset.frames[sample]).sum(axis=(1, 2), dtype=np.float64)
            digest.update(" ".join(f"{count:.5g}" for count in counts).encode())
        digest.update(f"{np.abs(dataset.offsets).sum():.6g}".encode())
    for probe in probes:
        digest.update(f"{tuple(probe.shape)} {float(probe.abs().max()):.4g}".encode())
    return digest.hexdigest()


def check_same_settings(resolution: Resolution, record: Path, *, job: str = "train") -> None:
    """Refuse settings that would make another run of the one that is continued.

    Parameters
    ----------
    resolution
        What is asked for now.
    record
        ``resolved_config.json`` of the run.
    job
        What the run does: settings without an effect in it may differ.

    Raises
    ------
    ConfigError
        With every setting that differs, its value then and now.
    """
    then, now = load_config(record), resolution.values()
    scheduler = resolution.config(PyTorchExecutionConfig).scheduler if job == "train" else ""
    problems = []
    for section, values in now.items():
        before = then.get(section, {})
        facts = {spec.name: spec for spec in field_specs(SECTIONS[section])}
        for name, value in values.items():
            if name not in before or _plain(before[name]) == _plain(value):
                continue
            expected = f"{before[name]!r}, as the run in {record.parent} was started"
            if name == "nepochs" and scheduler in _SPREAD_OVER_EPOCHS:
                hint = f"the schedule {scheduler} spreads over all epochs; train anew for another number"
                problems.append(Problem(name, value, expected, hint))
            elif job in facts[name].jobs and not facts[name].resume:
                hint = "leave it away to continue, or start anew elsewhere"
                problems.append(Problem(name, value, expected, hint))
    if problems:
        raise ConfigError(problems)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def resume_point(folder: Path, config: TrainingConfig, identity: str, *, max_time: str | None) -> ResumePoint:
    """Find out where a run stands.

    Parameters
    ----------
    folder
        Where its checkpoints are.
    config
        Says for how many epochs it may go on.
    identity
        Of what was prepared now.
    max_time
        Time that all its parts together may take, ``DD:HH:MM:SS``; None: any.

    Raises
    ------
    ConfigError
        If the checkpoint cannot be used, the data are others than those of the run, or the run has
        more epochs behind it than it may have.
    """
    path = folder / f"{LAST_CHECKPOINT}.ckpt"
    if not path.is_file():
        return ResumePoint()
    standing = read_standing(path)
    if standing.identity != identity:
        expected = "the data that the run was started with"
        hint = f"frames, positions or probe differ from those that {path} was trained on"
        raise ConfigError(Problem("train_data_file", str(config.train_data_file), expected, hint))
    epochs = standing.epochs
    if config.nepochs < epochs:
        raise ConfigError(
            Problem("nepochs", config.nepochs, f"at least {epochs}, the epochs that the run has behind it")
        )
    reason = "epochs" if epochs >= config.nepochs else ""
    reason = reason or _still_ended(standing.ended, standing.seconds, max_time)
    return ResumePoint(
        checkpoint=path,
        epochs=epochs,
        step=standing.step,
        ended=bool(reason),
        reason=reason,
        best=standing.best,
        rows=standing.rows,
    )


def _still_ended(ended: str, spent: float, limit: str | None) -> str:
    if ended == "time":
        return "time" if limit is not None and spent >= _seconds(limit) else ""
    return ended if ended == "patience" else ""


def _seconds(limit: str) -> float:
    days, hours, minutes, seconds = (int(part) for part in limit.split(":"))
    return ((days * 24 + hours) * 60 + minutes) * 60.0 + seconds


def remove_strays(folder: Path, kept: Collection[Path]) -> None:
    """Remove checkpoints that killed parts of a run have left and that no longer belong to it."""
    for path in folder.glob(f"{BEST_CHECKPOINTS}*.ckpt"):
        if path not in kept:
            logger.info("%s is not one of the checkpoints of this run and is removed", path)
            path.unlink()
