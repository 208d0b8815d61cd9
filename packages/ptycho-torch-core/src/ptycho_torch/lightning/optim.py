"""Optimiser and learning-rate schedule from a configuration."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ExponentialLR, LambdaLR, MultiStepLR, ReduceLROnPlateau

from ptycho_config import PyTorchExecutionConfig, TrainingConfig

__all__ = ["build_optimizer", "build_schedule"]


def build_optimizer(
    model: nn.Module, training: TrainingConfig, execution: PyTorchExecutionConfig
) -> Optimizer:
    """Optimiser over the trainable parameters; the probe has a learning rate of its own.

    Parameters
    ----------
    model
        A parameter named ``probe_modes`` gets ``probe_learning_rate`` and no weight decay.
    training, execution
        Choice of optimiser and learning rates.
    """
    named = dict(model.named_parameters())
    probe = [value for name, value in named.items() if name.endswith("probe_modes")]
    network = [value for name, value in named.items() if not name.endswith("probe_modes")]
    groups: list[dict[str, Any]] = [
        {"params": network, "lr": execution.learning_rate, "weight_decay": training.weight_decay}
    ]
    if probe:
        groups.append({"params": probe, "lr": training.probe_learning_rate, "weight_decay": 0.0})
    if training.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=execution.learning_rate, momentum=training.momentum)
    betas = (training.adam_beta1, training.adam_beta2)
    kind = torch.optim.AdamW if training.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, lr=execution.learning_rate, betas=betas)


def build_schedule(
    optimizer: Optimizer,
    training: TrainingConfig,
    execution: PyTorchExecutionConfig,
    *,
    monitor: str,
) -> dict[str, Any] | None:
    """Learning-rate schedule in the form Lightning takes, or ``None`` for a constant rate.

    ================= ==========================================================================
    name              learning rate
    ================= ==========================================================================
    Default           constant
    Exponential       falls by one factor per epoch and ends at ``lr_min_ratio``
    MultiStage        falls twice, at 1/2 and 3/4 of the epochs, to end at ``lr_min_ratio``
    WarmupCosine      rises over ``lr_warmup_epochs``, then half a cosine down to ``lr_min_ratio``
    ReduceLROnPlateau times ``plateau_factor`` when the monitored metric stops improving
    Adaptive          the same, watching the training loss
    ================= ==========================================================================

    Parameters
    ----------
    optimizer
        To be scheduled.
    training, execution
        Choice of schedule and its numbers.
    monitor
        Name of the validation metric, or of the training loss when there is no validation.
    """
    name, epochs, floor = execution.scheduler, training.nepochs, training.lr_min_ratio
    if name == "Default":
        return None
    if name in ("ReduceLROnPlateau", "Adaptive"):
        plateau = ReduceLROnPlateau(
            optimizer,
            factor=training.plateau_factor,
            patience=training.plateau_patience,
            min_lr=training.plateau_min_lr,
            threshold=training.plateau_threshold,
        )
        watched = monitor if name == "ReduceLROnPlateau" else "train_loss"
        every = execution.check_val_every_n_epoch if watched == "val_loss" else 1
        return {"scheduler": plateau, "monitor": watched, "interval": "epoch", "frequency": every}
    # The floor of an exponential decay cannot be zero.
    last = max(floor, 1e-6)
    if name == "Exponential":
        schedule: Any = ExponentialLR(optimizer, gamma=last ** (1 / max(1, epochs - 1)))
    elif name == "MultiStage":
        milestones = sorted({max(1, epochs // 2), max(1, 3 * epochs // 4)})
        schedule = MultiStepLR(optimizer, milestones=milestones, gamma=last ** (1 / len(milestones)))
    else:
        schedule = LambdaLR(optimizer, _warmup_cosine(epochs, training.lr_warmup_epochs, floor))
    return {"scheduler": schedule, "interval": "epoch", "frequency": 1}


def _warmup_cosine(epochs: int, warmup: int, floor: float) -> Any:
    def factor(epoch: int) -> float:
        if epoch < warmup:
            return (epoch + 1) / (warmup + 1)
        done = (epoch - warmup) / max(1, epochs - 1 - warmup)
        return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))

    return factor
