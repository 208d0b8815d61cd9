"""The bridge to the legacy dictionary."""

from __future__ import annotations

from typing import Any

import pytest

from ptycho_config import (
    KEY_MAPPINGS,
    InferenceConfig,
    ModelConfig,
    PyTorchExecutionConfig,
    TrainingConfig,
    dataclass_to_legacy_dict,
    update_legacy_dict,
)


@pytest.mark.rule("CFG-050")
def test_the_mapping_is_the_agreed_one() -> None:
    assert dict(KEY_MAPPINGS) == {
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


def test_a_training_is_flattened_with_its_model() -> None:
    config = TrainingConfig(model=ModelConfig(N=128, object_big=False), train_data_file="a.npz", nepochs=7)  # type: ignore[arg-type]
    flat = dataclass_to_legacy_dict(config)
    assert flat["N"] == 128
    assert flat["object.big"] is False
    assert flat["train_data_file_path"] == "a.npz"
    assert flat["output_prefix"] == "training_outputs"
    assert flat["nepochs"] == 7
    assert not {"model", "output_dir", "train_data_file", "object_big"} & set(flat)


def test_every_other_setting_keeps_its_name() -> None:
    flat = dataclass_to_legacy_dict(InferenceConfig())
    assert {"gridsize", "n_groups", "neighbor_count", "debug", "backend", "model_path"} <= set(flat)


@pytest.mark.rule("CFG-050")
def test_none_never_overwrites() -> None:
    cfg: dict[str, Any] = {"test_data_file_path": "kept.npz", "n_subsample": 5, "other": 1}
    update_legacy_dict(cfg, TrainingConfig(n_groups=None))
    assert cfg["test_data_file_path"] == "kept.npz"
    assert cfg["n_subsample"] == 5
    assert cfg["other"] == 1
    assert "n_groups" not in cfg


def test_paths_become_strings() -> None:
    cfg: dict[str, Any] = {}
    update_legacy_dict(cfg, InferenceConfig(model_path="m", test_data_file="t.npz"))  # type: ignore[arg-type]
    assert (cfg["model_path"], cfg["test_data_file_path"], cfg["output_prefix"]) == (
        "m",
        "t.npz",
        "inference_outputs",
    )
    assert all(isinstance(value, (str, int, float, bool)) for value in cfg.values())


@pytest.mark.rule("CFG-008", "CFG-051")
def test_execution_settings_never_enter() -> None:
    cfg: dict[str, Any] = {"N": 1}
    with pytest.raises(TypeError, match="never enters the legacy dictionary; pass a ModelConfig"):
        update_legacy_dict(cfg, PyTorchExecutionConfig())
    assert cfg == {"N": 1}


def test_other_objects_are_refused() -> None:
    with pytest.raises(
        TypeError, match="expected a ModelConfig, TrainingConfig or InferenceConfig, got dict"
    ):
        update_legacy_dict({}, {"N": 64})  # type: ignore[arg-type]


def test_several_paths_are_a_list_of_texts() -> None:
    cfg: dict[str, Any] = {}
    update_legacy_dict(cfg, TrainingConfig(train_data_file=["a.npz", "b.npz"]))  # type: ignore[arg-type]
    assert cfg["train_data_file_path"] == ["a.npz", "b.npz"]
