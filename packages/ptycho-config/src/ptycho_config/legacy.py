"""Bridge to programs that keep their settings in one flat dictionary."""

from __future__ import annotations

import dataclasses
from collections.abc import MutableMapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ptycho_config.base import Config
from ptycho_config.execution import PyTorchExecutionConfig

__all__ = ["KEY_MAPPINGS", "dataclass_to_legacy_dict", "update_legacy_dict"]

KEY_MAPPINGS = MappingProxyType(
    {
        "object_big": "object.big",
        "probe_big": "probe.big",
        "probe_mask": "probe.mask",
        "probe_trainable": "probe.trainable",
        "intensity_scale_trainable": "intensity_scale.trainable",
        "positions_provided": "positions.provided",
        "output_dir": "output_prefix",
        "train_data_file": "train_data_file_path",
        "test_data_file": "test_data_file_path",
    }
)
"""Settings that have another name in the legacy dictionary; all others keep theirs."""


def dataclass_to_legacy_dict(config: Config) -> dict[str, Any]:
    """Flatten a canonical configuration under its legacy names.

    Parameters
    ----------
    config : ModelConfig, TrainingConfig or InferenceConfig
        The settings of an inner model are merged into the same level.

    Returns
    -------
    dict
        Legacy name -> value; paths are strings, several paths a list of them, ``None`` stays ``None``.

    Raises
    ------
    TypeError
        For a :class:`~ptycho_config.PyTorchExecutionConfig`, whose settings have no place there, and for
        anything that is no configuration.

    Examples
    --------
    >>> from ptycho_config import ModelConfig
    >>> dataclass_to_legacy_dict(ModelConfig())["object.big"]
    True
    """
    if isinstance(config, PyTorchExecutionConfig):
        raise TypeError(
            "PyTorchExecutionConfig says where a run is executed and never enters the legacy dictionary; "
            "pass a ModelConfig, TrainingConfig or InferenceConfig"
        )
    if not isinstance(config, Config):
        raise TypeError(
            f"expected a ModelConfig, TrainingConfig or InferenceConfig, got {type(config).__name__}"
        )
    flat: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if isinstance(value, Config):
            flat.update(dataclass_to_legacy_dict(value))
        else:
            flat[KEY_MAPPINGS.get(field.name, field.name)] = _with_text_paths(value)
    return flat


def _with_text_paths(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, tuple) and all(isinstance(item, Path) for item in value):
        return [str(item) for item in value]
    return value


def update_legacy_dict(cfg: MutableMapping[str, Any], config: Config) -> None:
    """Copy a canonical configuration into a legacy dictionary, in place.

    Parameters
    ----------
    cfg : mutable mapping
        The dictionary to fill, usually :data:`ptycho_config.params.cfg`. Keys that no setting has are kept.
    config : ModelConfig, TrainingConfig or InferenceConfig
        Where the values come from. ``None`` says nothing and never overwrites a value that is there.

    Raises
    ------
    TypeError
        As :func:`dataclass_to_legacy_dict`; ``cfg`` is then unchanged.

    Examples
    --------
    >>> from ptycho_config import ModelConfig
    >>> cfg = {"N": 32, "kept": 1}
    >>> update_legacy_dict(cfg, ModelConfig(N=128))
    >>> cfg["N"], cfg["kept"]
    (128, 1)
    """
    cfg.update({name: value for name, value in dataclass_to_legacy_dict(config).items() if value is not None})
