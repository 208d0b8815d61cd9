"""Settings of this package from the configuration objects of the reference.

Each rule stands beside its keyword in :mod:`ptycho_torch.reference.configs`; this module carries it out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from ptycho_config import ConfigError, Problem
from ptycho_torch.reference.configs import (
    CONFIG_CLASSES,
    DataConfig,
    InferenceConfig,
    ModelConfig,
    TrainingConfig,
)
from ptycho_torch.reference.keywords import keywords

__all__ = ["configs_from", "gridsize_of", "inference_settings", "record_of", "training_settings", "unused"]

_MODES = {"unsupervised": "pinn", "supervised": "supervised"}
_LOSSES = {"poisson": "poisson", "mae": "mae"}
_SCHEDULERS = {"default": "Default", "exponential": "Exponential", "cosine": "WarmupCosine"}
_WEIGHTINGS = ("probe", "uniform")
_TERMS = ("total_variation", "mean_deviation")
_NAMES = ("data", "model", "training", "inference")


def training_settings(data: DataConfig, model: ModelConfig, training: TrainingConfig) -> dict[str, Any]:
    """Overrides for :func:`ptycho_torch.config_factory.create_training_payload`; ``N`` is left to the data.

    Raises
    ------
    ConfigError
        With every value that cannot be translated.
    """
    problems: list[Problem] = []
    gridsize = _gridsize(data, model, problems)
    loss = _chosen("loss_function", model.loss_function, _LOSSES, problems)
    settings = {
        "gridsize": gridsize,
        "neighbor_count": max(data.K, gridsize**2),
        "n_groups": None,
        "model_type": _chosen("mode", model.mode, _MODES, problems),
        "object_big": model.object_big,
        "probe_big": model.probe_big,
        "amp_activation": model.amp_activation,
        "n_filters_scale": model.n_filters_scale,
        "probe_mask": _mask(model.probe_mask, problems),
        "intensity_scale_trainable": model.intensity_scale_trainable,
        "torch_loss_mode": loss,
        "nll_weight": 1.0 if loss == "poisson" else 0.0,
        "mae_weight": 1.0 if loss == "mae" else 0.0,
        "realspace_weight": _smoothness(model, problems),
        "nepochs": training.epochs,
        "batch_size": training.batch_size,
        "learning_rate": training.learning_rate,
        "devices": training.n_devices,
        "strategy": "auto" if training.n_devices == 1 else training.strategy or "auto",
        "accum_steps": training.accum_steps,
        "gradient_clip_val": training.gradient_clip_val or None,
        "scheduler": _chosen("scheduler", training.scheduler, _SCHEDULERS, problems),
        "lr_warmup_epochs": training.warmup_epochs,
        "lr_min_ratio": training.min_lr_ratio,
    }
    if problems:
        raise ConfigError(problems)
    return settings


def inference_settings(inference: InferenceConfig, n_pixels: int) -> dict[str, Any]:
    """Arguments of :func:`ptycho_torch.workflows.reconstruct` for frames of ``n_pixels``.

    Raises
    ------
    ConfigError
        For an unknown way to weight patches.
    """
    if inference.patch_weighting not in _WEIGHTINGS:
        raise ConfigError(
            Problem("patch_weighting", inference.patch_weighting, f"one of {', '.join(_WEIGHTINGS)}")
        )
    return {
        "batch_size": inference.batch_size,
        "middle_trim": min(inference.middle_trim, n_pixels),
        "pad_eval": inference.pad_eval,
        "patch_weighting": inference.patch_weighting,
    }


def gridsize_of(channels: int) -> int | None:
    """Root of the number of channels; None if that is no square number."""
    root = math.isqrt(max(channels, 0))
    return root if root >= 1 and root * root == channels else None


def record_of(
    data: DataConfig, model: ModelConfig, training: TrainingConfig, inference: InferenceConfig
) -> dict[str, Any]:
    """Plain data to keep in a checkpoint, from which :func:`configs_from` makes the four objects again."""
    parts: tuple[Any, ...] = (data, model, training, inference)
    return {name: asdict(one) for name, one in zip(_NAMES, parts, strict=True)}


def configs_from(
    record: Mapping[str, Any], configuration: Mapping[str, Mapping[str, Any]]
) -> tuple[DataConfig, ModelConfig, TrainingConfig, InferenceConfig]:
    """The four objects of a checkpoint.

    Parameters
    ----------
    record
        From :func:`record_of`; empty for a model that the caller did not train.
    configuration
        Settings of the model by section. They outrank the record where both speak of the network.
    """
    network = configuration.get("model", {})
    channels = int(network.get("gridsize", 1)) ** 2
    facts: dict[str, dict[str, Any]] = {
        "data": {"N": network.get("N"), "C": channels, "grid_size": (math.isqrt(channels),) * 2},
        "model": {"mode": "Supervised" if network.get("model_type") == "supervised" else "Unsupervised"},
        "training": {},
        "inference": {},
    }
    made = []
    for name, owner in zip(_NAMES, CONFIG_CLASSES, strict=False):
        known = {entry.name for entry in keywords(owner)}
        kept = record.get(name)
        kept = kept if isinstance(kept, Mapping) else {}
        made.append(owner(**{key: value for key, value in {**kept, **facts[name]}.items() if key in known}))
    data, model, training, inference = made
    assert isinstance(data, DataConfig)
    assert isinstance(model, ModelConfig)
    assert isinstance(training, TrainingConfig)
    assert isinstance(inference, InferenceConfig)
    return data, model, training, inference


def unused(objects: Iterable[Any]) -> str:
    """All keywords of these objects that have no effect, for a line of a log.

    Those that the caller set come first, with their values, since only they may be missed.
    """
    parts = tuple(objects)
    channels = next((one.C for one in parts if isinstance(one, DataConfig)), None)
    changed, left = [], []
    for one in parts:
        for entry in keywords(type(one)):
            value = getattr(one, entry.name)
            if entry.becomes:
                continue
            # Callers repeat the number of channels in keywords that have no default of their own.
            if value == entry.default or (entry.default is None and value == channels):
                left.append(entry.name)
            else:
                changed.append(f"{entry.name}={value!r}")
    return f"set: {', '.join(changed) or 'none'}; at their defaults: {', '.join(left)}"


def _gridsize(data: DataConfig, model: ModelConfig, problems: list[Problem]) -> int:
    gridsize = gridsize_of(data.C)
    if gridsize is None:
        problems.append(Problem("C", data.C, "1, 4, 9 or another square number", "groups are g x g frames"))
        return 1
    if data.C > 1 and math.prod(data.grid_size) != data.C:
        hint = f"set grid_size to ({gridsize}, {gridsize}), or C to {math.prod(data.grid_size)}"
        problems.append(
            Problem("grid_size", tuple(data.grid_size), f"{data.C} frames, as C = {data.C} says", hint)
        )
    for name in ("C_model", "C_forward"):
        value = getattr(model, name)
        if value not in (None, data.C):
            problems.append(Problem(name, value, f"{data.C}, as C = {data.C} says", "leave it out"))
    return gridsize


def _chosen(name: str, value: str, known: Mapping[str, str], problems: list[Problem]) -> str:
    found = known.get(str(value).casefold())
    if found is None:
        problems.append(Problem(name, value, f"one of {', '.join(key.capitalize() for key in known)}"))
        return next(iter(known.values()))
    return found


def _mask(value: Any, problems: list[Problem]) -> bool:
    if value is None or isinstance(value, bool):
        return bool(value)
    problems.append(
        Problem("probe_mask", type(value).__name__, "None, True or False", "the mask is a circle")
    )
    return False


def _smoothness(model: ModelConfig, problems: list[Problem]) -> float:
    """Weight of the total variation of the object, which is one for amplitude and phase together."""
    weights = [0.0]
    for name in ("amp_loss", "phase_loss"):
        kind = getattr(model, name)
        if kind is None or str(kind).casefold() == "none":
            continue
        spelled = str(kind).casefold().replace(" ", "_")
        if spelled not in _TERMS:
            expected = "None, Total_Variation or Mean_Deviation"
            problems.append(Problem(name, kind, expected, "another term is not known here"))
        elif spelled == "total_variation":
            weights.append(float(getattr(model, f"{name}_coeff")))
    return max(weights)
