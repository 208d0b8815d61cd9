"""CONFIG-001: canonical configuration into the one flat dictionary of older programs."""

from __future__ import annotations

from pathlib import Path

import pytest

from ptycho_config import (
    InferenceConfig,
    ModelConfig,
    PyTorchExecutionConfig,
    TrainingConfig,
    update_legacy_dict,
)
from ptycho_config.params import cfg
from ptycho_torch.config_factory import populate_legacy_params

TRAINING = TrainingConfig(
    model=ModelConfig(N=128, gridsize=2, object_big=False, probe_big=False, probe_mask=True),
    train_data_file=Path("data") / "train.npz",
    test_data_file="test.npz",
    output_dir="out",
    nphotons=1e6,
    probe_trainable=True,
    intensity_scale_trainable=False,
    n_groups=64,
)


class TestNames:
    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("object.big", False),
            ("probe.big", False),
            ("probe.mask", True),
            ("probe.trainable", True),
            ("intensity_scale.trainable", False),
            ("positions.provided", True),
            ("output_prefix", "out"),
            ("train_data_file_path", str(Path("data") / "train.npz")),
            ("test_data_file_path", "test.npz"),
            ("N", 128),
            ("gridsize", 2),
            ("nphotons", 1e6),
            ("n_groups", 64),
            ("nepochs", 50),
            ("batch_size", 16),
            ("neighbor_count", 4),
            ("model_type", "pinn"),
        ],
    )
    def test_training(self, name, value):
        target = {}
        update_legacy_dict(target, TRAINING)
        assert target[name] == value
        assert type(target[name]) is type(value)

    def test_nothing_keeps_a_name_that_the_dictionary_spells_otherwise(self):
        target = {}
        update_legacy_dict(target, TRAINING)
        assert not {"object_big", "output_dir", "train_data_file", "probe_trainable", "model"} & set(target)

    def test_inference(self):
        target = {}
        update_legacy_dict(target, InferenceConfig(model_path="run", test_data_file="b.npz", output_dir="o"))
        assert (target["model_path"], target["test_data_file_path"], target["output_prefix"]) == (
            "run",
            "b.npz",
            "o",
        )


class TestMerging:
    def test_none_never_overwrites(self):
        target = {"n_subsample": 7, "train_data_file_path": "kept.npz"}
        update_legacy_dict(target, TrainingConfig())
        assert target["n_subsample"] == 7
        assert target["train_data_file_path"] == "kept.npz"

    def test_foreign_keys_are_kept(self):
        target = {"mine": 1}
        update_legacy_dict(target, ModelConfig())
        assert target["mine"] == 1

    def test_execution_settings_are_a_type_error_and_change_nothing(self):
        target = {"N": 3}
        with pytest.raises(TypeError, match="never enters the legacy dictionary"):
            update_legacy_dict(target, PyTorchExecutionConfig())
        assert target == {"N": 3}

    def test_the_factories_use_the_dictionary_that_older_programs_read(self):
        populate_legacy_params(TRAINING)
        assert (cfg["N"], cfg["object.big"], cfg["output_prefix"]) == (128, False, "out")
