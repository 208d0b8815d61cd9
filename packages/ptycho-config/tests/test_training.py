"""Settings of a training."""

from __future__ import annotations

import warnings

import pytest

from ptycho_config import ConfigError, ModelConfig, TrainingConfig, evolve


def test_it_contains_a_model() -> None:
    assert TrainingConfig().model == ModelConfig()
    assert TrainingConfig(model=ModelConfig(N=128)).model.N == 128


def test_the_model_must_be_one() -> None:
    with pytest.raises(ConfigError, check=lambda error: error.fields == ("model",)):
        TrainingConfig(model={"N": 64})  # type: ignore[arg-type]


def test_the_older_spelling_of_the_number_of_groups_is_carried_over() -> None:
    with pytest.warns(
        DeprecationWarning, match="n_images is the older spelling of n_groups; write n_groups=300"
    ):
        config = TrainingConfig(n_images=300)  # type: ignore[call-arg]
    assert config.n_groups == 300
    assert config.n_images == 300


def test_the_warning_points_at_the_caller() -> None:
    with pytest.warns(DeprecationWarning, match="older spelling") as caught:
        TrainingConfig(n_images=300)  # type: ignore[call-arg]
    assert caught[0].filename == __file__


def test_both_spellings_may_agree_but_not_differ() -> None:
    with pytest.warns(DeprecationWarning, match="older spelling"):
        assert TrainingConfig(n_images=5, n_groups=5).n_groups == 5  # type: ignore[call-arg]
    with (
        pytest.warns(DeprecationWarning, match="older spelling"),
        pytest.raises(
            ConfigError, check=lambda error: error.fields == ("n_images",) and error.problems[0].value == 5
        ),
    ):
        TrainingConfig(n_images=5, n_groups=6)  # type: ignore[call-arg]


def test_a_wrong_older_value_is_refused_as_the_new_field() -> None:
    with (
        pytest.warns(DeprecationWarning, match="older spelling"),
        pytest.raises(
            ConfigError, check=lambda error: error.fields == ("n_groups",) and error.problems[0].value == 0
        ),
    ):
        TrainingConfig(n_images=0)  # type: ignore[call-arg]


def test_an_older_spelling_of_none_says_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert TrainingConfig(n_images=None).n_groups == 512  # type: ignore[call-arg]


def test_the_older_spelling_replaces_a_stated_value_when_a_copy_is_changed() -> None:
    with pytest.warns(DeprecationWarning, match="older spelling"):
        assert evolve(TrainingConfig(n_groups=10), n_images=20).n_groups == 20


def test_none_groups_means_all() -> None:
    assert TrainingConfig(n_groups=None).n_groups is None


def test_another_backend_is_known_because_programs_share_the_class() -> None:
    assert TrainingConfig(backend="tensorflow").backend == "tensorflow"
    with pytest.raises(
        ConfigError, check=lambda error: error.fields == ("backend",) and error.problems[0].value == "jax"
    ):
        TrainingConfig(backend="jax")
