"""What the arguments of the calls for embedders mean: the payload of a training."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from typing import Any

from ptycho_config import PyTorchExecutionConfig, TrainingConfig, schema_of_job, stated_fields
from ptycho_config.keys import KeyTable
from ptycho_torch.config_factory import TrainingPayload, create_training_payload
from ptycho_torch.data.scan.memory import HoldsScan, InMemory

__all__ = ["ScanLike", "payload_of", "placed"]

ScanLike = str | PathLike[str] | InMemory | HoldsScan


def payload_of(
    train_data: ScanLike | None,
    test_data: ScanLike | None,
    config: TrainingConfig,
    execution_config: PyTorchExecutionConfig | None,
    overrides: Mapping[str, Any] | None = None,
) -> TrainingPayload:
    """The payload of a configuration object; data given beside it take the place of its paths.

    Parameters
    ----------
    train_data, test_data
        Scans, or None for the paths of the configuration.
    config
        Of it, what was stated counts.
    execution_config
        Its stated fields rank below the configuration.
    overrides
        Settings that outrank the configuration.

    Raises
    ------
    FileNotFoundError, ConfigError, DataError
        As :func:`ptycho_torch.config_factory.create_training_payload`.
    """
    if not isinstance(config, TrainingConfig):
        raise TypeError(f"config: expected a ptycho_config.TrainingConfig, got {type(config).__name__}")
    training = stated_fields(config)
    model = training.pop("model", None)
    given = {"train_data_file": train_data, "test_data_file": test_data}
    data = {name: training.pop(name, None) if value is None else value for name, value in given.items()}
    for name in given:
        training.pop(name, None)
    sections = {"training": training, "model": {} if model is None else stated_fields(model)}
    above = dict(overrides or {})
    outranked = _addresses(above)
    stated = {
        f"{section}.{name}": value
        for section, part in sections.items()
        for name, value in part.items()
        if f"{section}.{name}" not in outranked
    }
    return create_training_payload(
        data["train_data_file"],
        None,
        overrides={**stated, **above},
        execution_config=execution_config,
        test_data_file=data["test_data_file"],
    )


def placed(*, flip_x: bool, flip_y: bool, transpose: bool, middle: int | None) -> dict[str, Any]:
    """Settings for the arguments by which PtychoPINN places patches; what is off or None states nothing."""
    asked = {
        "orientation.flip_x": flip_x or None,
        "orientation.flip_y": flip_y or None,
        "orientation.transpose_frames": transpose or None,
        "execution.middle_trim": middle,
    }
    return {address: value for address, value in asked.items() if value is not None}


def _addresses(settings: Mapping[str, Any]) -> set[str]:
    """Settings by section and name, however they are spelled; what is unknown is refused later."""
    table = KeyTable(schema_of_job("train"))
    entries = table.read(settings, name="overrides", lenient=True, problems=[], notes=[])
    return {entry.address for entry in entries}
