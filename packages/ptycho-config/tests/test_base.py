"""Remembering, copying and writing out configurations."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle
from collections.abc import Callable

import pytest

from ptycho_config import (
    SECTIONS,
    Config,
    ConfigError,
    ModelConfig,
    PyTorchExecutionConfig,
    TrainingConfig,
    evolve,
    from_dict,
    stated_fields,
    to_dict,
)


@pytest.mark.rule("CFG-007")
def test_only_what_the_caller_passed_is_stated() -> None:
    assert stated_fields(PyTorchExecutionConfig()) == {}
    config = PyTorchExecutionConfig(num_workers=0, max_time=None)
    assert stated_fields(config) == {"num_workers": 0, "max_time": None}


def test_an_older_keyword_states_the_field_of_today() -> None:
    with pytest.warns(DeprecationWarning, match="older spelling"):
        config = PyTorchExecutionConfig(n_devices=2)  # type: ignore[call-arg]
    assert stated_fields(config) == {"devices": 2}


@pytest.mark.parametrize(
    "duplicate", [copy.copy, copy.deepcopy, lambda config: pickle.loads(pickle.dumps(config))]
)
def test_what_was_stated_survives_copies(
    duplicate: Callable[[PyTorchExecutionConfig], PyTorchExecutionConfig],
) -> None:
    config = PyTorchExecutionConfig(accelerator="cpu")
    assert duplicate(config) == config
    assert stated_fields(duplicate(config)) == {"accelerator": "cpu"}


def test_what_was_stated_plays_no_part_in_equality_or_hash() -> None:
    said, unsaid = PyTorchExecutionConfig(num_workers=0), PyTorchExecutionConfig()
    assert said == unsaid
    assert hash(said) == hash(unsaid)


@pytest.mark.rule("CFG-007")
def test_evolve_keeps_what_was_stated_and_adds_the_changes() -> None:
    start = PyTorchExecutionConfig(accelerator="cpu", num_workers=1)
    changed = evolve(start, num_workers=2, devices=3)
    assert stated_fields(changed) == {"accelerator": "cpu", "num_workers": 2, "devices": 3}
    assert start.num_workers == 1


def test_evolve_checks_again() -> None:
    config = PyTorchExecutionConfig(num_workers=2, persistent_workers=True)
    with pytest.raises(ConfigError, check=lambda error: error.fields == ("persistent_workers",)):
        evolve(config, num_workers=0)
    with pytest.raises(
        ConfigError, check=lambda error: error.fields == ("num_worker",) and error.problems[0].value == 0
    ):
        evolve(config, num_worker=0)


@pytest.mark.rule("CFG-007")
def test_replace_keeps_what_was_stated_and_adds_the_changes() -> None:
    start = TrainingConfig(n_groups=512, train_data_file="a.npz")  # type: ignore[arg-type]
    changed = dataclasses.replace(start, nepochs=2)
    assert stated_fields(changed) == {**stated_fields(start), "nepochs": 2}
    again = dataclasses.replace(changed, model=ModelConfig(N=128), train_data_file=None)
    assert set(stated_fields(again)) == {"n_groups", "train_data_file", "nepochs", "model"}
    assert again.train_data_file is None
    assert stated_fields(dataclasses.replace(PyTorchExecutionConfig())) == {}
    with pytest.raises(ConfigError, check=lambda error: error.fields == ("nepochs",)):
        dataclasses.replace(start, nepochs=0)


def test_replace_takes_older_spellings() -> None:
    with pytest.warns(DeprecationWarning, match="older spelling"):
        changed = dataclasses.replace(TrainingConfig(n_groups=5), n_images=7)
    assert changed.n_groups == 7
    assert stated_fields(changed) == {"n_groups": 7}


def test_a_subclass_with_its_own_constructor_has_stated_what_differs() -> None:
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Special(PyTorchExecutionConfig):
        pass

    assert stated_fields(Special(num_workers=3, devices="auto")) == {"num_workers": 3}


@pytest.mark.parametrize("cls", SECTIONS.values())
def test_writing_out_and_building_again_changes_nothing(cls: type[Config]) -> None:
    assert from_dict(cls, to_dict(cls())) == cls()
    assert from_dict(cls, json.loads(json.dumps(to_dict(cls())))) == cls()


def test_lists_and_paths_come_back() -> None:
    execution = PyTorchExecutionConfig(recon_log_every_n_epochs=2, recon_log_fixed_indices=(1, 2))
    training = TrainingConfig(train_data_file="a/b.npz", model=ModelConfig(N=96))  # type: ignore[arg-type]
    assert to_dict(execution)["recon_log_fixed_indices"] == [1, 2]
    assert to_dict(training)["train_data_file"].endswith("b.npz")
    for config in (execution, training):
        assert from_dict(type(config), json.loads(json.dumps(to_dict(config)))) == config


def test_building_from_data_reports_everything_at_once(problems_of: Callable[..., dict[str, str]]) -> None:
    values = {"model": {"N": 50, "gridsiz": 2}, "nepoch": 3, "batch_size": 0}
    found = problems_of(from_dict, TrainingConfig, values)
    assert set(found) == {"N", "gridsiz", "nepoch", "batch_size"}
    assert "did you mean 'gridsize'" in found["gridsiz"]


@pytest.mark.rule("CFG-003")
def test_building_touches_no_file(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("a configuration looked at a file")

    monkeypatch.setattr("pathlib.Path.exists", refuse)
    monkeypatch.setattr("pathlib.Path.stat", refuse)
    assert TrainingConfig(train_data_file="nowhere/none.npz").train_data_file is not None  # type: ignore[arg-type]


@pytest.mark.rule("CFG-018")
def test_another_name_states_the_same_field_without_a_warning() -> None:
    config = PyTorchExecutionConfig(accumulate_grad_batches=4)  # type: ignore[call-arg]
    assert config.accum_steps == config.accumulate_grad_batches == 4
    assert stated_fields(config) == {"accum_steps": 4}
    assert evolve(config, accumulate_grad_batches=3).accum_steps == 3
    with pytest.raises(ConfigError, check=lambda error: error.fields == ("accumulate_grad_batches",)):
        PyTorchExecutionConfig(accumulate_grad_batches=4, accum_steps=2)  # type: ignore[call-arg]


@pytest.mark.rule("CFG-018")
def test_a_setting_in_its_older_place_is_checked_kept_and_handed_on() -> None:
    config = TrainingConfig(gradient_clip_algorithm="value", nepochs=3)  # type: ignore[call-arg]
    expected = {"gradient_clip_algorithm": "value", "nepochs": 3}
    copies = (
        copy.deepcopy(config),
        pickle.loads(pickle.dumps(config)),
        evolve(config),
        dataclasses.replace(config),
    )
    for one in (config, *copies, from_dict(TrainingConfig, expected)):
        assert one.gradient_clip_algorithm == "value"
        assert stated_fields(one) == expected
    assert TrainingConfig().gradient_clip_algorithm == "norm"
    with pytest.raises(ConfigError) as caught:
        TrainingConfig(gradient_clip_algorithm="other", nepochs=0)  # type: ignore[call-arg]
    assert {problem.field for problem in caught.value.problems} == {"gradient_clip_algorithm", "nepochs"}
