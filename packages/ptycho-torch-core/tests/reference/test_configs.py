"""Configuration of programs of the reference: every keyword is taken, and has a stated fate."""

from __future__ import annotations

import dataclasses
import pickle

import pytest

from ptycho_config import SECTIONS, ConfigError, field_specs
from ptycho_torch.reference.configs import (
    CONFIG_CLASSES,
    DataConfig,
    InferenceConfig,
    ModelConfig,
    TrainingConfig,
)
from ptycho_torch.reference.keywords import keywords
from ptycho_torch.reference.translation import (
    configs_from,
    inference_settings,
    record_of,
    training_settings,
    unused,
)

PARTS = (DataConfig, ModelConfig, TrainingConfig, InferenceConfig)
ALL = [(owner, entry) for owner in CONFIG_CLASSES for entry in keywords(owner)]


def test_all_keywords_are_there():
    assert len(ALL) == 91


@pytest.mark.parametrize(("owner", "entry"), ALL, ids=lambda value: getattr(value, "name", ""))
def test_each_keyword_becomes_a_setting_or_says_why_not(owner, entry):
    known = {spec.name for section in SECTIONS.values() for spec in field_specs(section)}
    assert entry.note or entry.becomes
    assert set(entry.becomes) <= known | {"patch_weighting"}


@pytest.mark.parametrize("owner", CONFIG_CLASSES)
def test_configurations_can_be_sent_to_another_process(owner):
    made = owner()
    assert pickle.loads(pickle.dumps(made)) == made


CHANGES = {
    "K": (9, "neighbor_count", 9),
    "C": (1, "gridsize", 1),
    "mode": ("Supervised", "model_type", "supervised"),
    "object_big": (False, "object_big", False),
    "probe_big": (False, "probe_big", False),
    "loss_function": ("MAE", "torch_loss_mode", "mae"),
    "amp_activation": ("sigmoid", "amp_activation", "sigmoid"),
    "intensity_scale_trainable": (True, "intensity_scale_trainable", True),
    "amp_loss": ("Total_Variation", "realspace_weight", 1.0),
    "phase_loss": ("Total_Variation", "realspace_weight", 1.0),
    "n_filters_scale": (1, "n_filters_scale", 1),
    "probe_mask": (True, "probe_mask", True),
    "epochs": (3, "nepochs", 3),
    "batch_size": (4, "batch_size", 4),
    "learning_rate": (0.01, "learning_rate", 0.01),
    "n_devices": (2, "devices", 2),
    "accum_steps": (2, "accum_steps", 2),
    "gradient_clip_val": (0.5, "gradient_clip_val", 0.5),
    "scheduler": ("Cosine", "scheduler", "WarmupCosine"),
    "warmup_epochs": (1, "lr_warmup_epochs", 1),
    "min_lr_ratio": (0.2, "lr_min_ratio", 0.2),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_keyword_reaches_its_setting(name):
    value, setting, expected = CHANGES[name]
    owner = next(part for part in PARTS if name in {entry.name for entry in keywords(part)})
    parts = [part(**{name: value}) if part is owner else part() for part in PARTS[:3]]
    assert training_settings(*(part() for part in PARTS[:3]))[setting] != expected
    assert training_settings(*parts)[setting] == expected


def test_weights_of_the_extra_losses_are_taken():
    made = training_settings(
        DataConfig(), ModelConfig(phase_loss="Total_Variation", phase_loss_coeff=0.25), TrainingConfig()
    )
    assert made["realspace_weight"] == 0.25
    without = training_settings(DataConfig(), ModelConfig(phase_loss="Mean_Deviation"), TrainingConfig())
    assert without["realspace_weight"] == 0


def test_one_device_needs_no_strategy_and_two_take_that_of_the_caller():
    assert training_settings(DataConfig(), ModelConfig(), TrainingConfig())["strategy"] == "auto"
    two = training_settings(DataConfig(), ModelConfig(), TrainingConfig(n_devices=2))
    assert two["strategy"] == "ddp_spawn"


def test_every_wrong_value_is_named_at_once():
    with pytest.raises(ConfigError) as caught:
        training_settings(
            DataConfig(C=3),
            ModelConfig(mode="Guess", loss_function="L7", amp_loss="Sharp", probe_mask=[[1]]),
            TrainingConfig(scheduler="Sometimes"),
        )
    named = {problem.field for problem in caught.value.problems}
    assert named == {"C", "mode", "loss_function", "amp_loss", "probe_mask", "scheduler"}


@pytest.mark.parametrize("changes", [{"grid_size": (3, 3)}, {"C": 9}])
def test_channels_and_grid_must_agree(changes):
    with pytest.raises(ConfigError) as caught:
        training_settings(DataConfig(**changes), ModelConfig(), TrainingConfig())
    assert [problem.field for problem in caught.value.problems] == ["grid_size"]


def test_the_list_of_unused_keywords_shows_what_was_changed():
    said = unused([DataConfig(normalize="Group"), ModelConfig(C_model=4), TrainingConfig()])
    changed, left = said.split("; ")
    assert changed == "set: normalize='Group'"
    assert {"C_model", "num_workers"} <= set(left.partition(": ")[2].split(", "))
    assert "epochs" not in left.split(", ")
    assert unused([TrainingConfig()]).startswith("set: none; ")


def test_inference_settings():
    made = inference_settings(InferenceConfig(batch_size=7, patch_weighting="uniform", pad_eval=False), 24)
    assert made == {"batch_size": 7, "middle_trim": 24, "pad_eval": False, "patch_weighting": "uniform"}
    with pytest.raises(ConfigError):
        inference_settings(InferenceConfig(patch_weighting="loud"), 24)


def test_a_record_gives_the_objects_back_and_the_model_outranks_it():
    data, model = DataConfig(C=1, K=9), ModelConfig(mode="Supervised")
    parts = (data, model, TrainingConfig(notes="blue"), InferenceConfig(window=3))
    network = {"model": {"N": 32, "gridsize": 2, "model_type": "pinn"}}
    data, model, training, inference = configs_from(record_of(*parts), network)
    assert (data.N, data.C, data.grid_size, data.K) == (32, 4, (2, 2), 9)
    assert (model.mode, training.notes, inference.window) == ("Unsupervised", "blue", 3)


def test_a_model_without_a_record_has_objects_too():
    data, model, *_ = configs_from({}, {"model": {"N": 64, "gridsize": 1, "model_type": "supervised"}})
    assert (data.N, data.C, model.mode) == (64, 1, "Supervised")
    assert dataclasses.is_dataclass(model)
