"""The identity of a model."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from ptycho_config import ConfigError, ModelConfig


@pytest.mark.parametrize("size", [32, 48, 64, 96, 128, 256, 512])
def test_frame_sizes(size: int) -> None:
    assert size == ModelConfig(N=size).N


@pytest.mark.parametrize("size", [0, 16, 31, 33, 40, 100, -64])
def test_other_frame_sizes_are_refused(size: int) -> None:
    with pytest.raises(
        ConfigError, check=lambda error: error.fields == ("N",) and error.problems[0].value == size
    ):
        ModelConfig(N=size)


@pytest.mark.rule("CFG-001")
def test_it_is_frozen_and_keyword_only() -> None:
    config = ModelConfig()
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.N = 128  # type: ignore[misc]
    with pytest.raises(TypeError):
        ModelConfig(64)  # type: ignore[call-arg]


@pytest.mark.rule("CFG-008")
def test_equal_settings_are_equal_and_hash_alike() -> None:
    assert ModelConfig() == ModelConfig(N=64)
    assert hash(ModelConfig(N=64)) == hash(ModelConfig())
    assert ModelConfig(N=128) != ModelConfig()


def test_any_architecture_name_is_taken_because_the_registry_knows_them() -> None:
    assert ModelConfig(architecture="cnn").architecture == "cnn"
    assert ModelConfig(architecture="my_network").architecture == "my_network"


@pytest.mark.rule("CFG-004")
def test_all_problems_are_reported_together(problems_of: Callable[..., dict[str, str]]) -> None:
    found = problems_of(ModelConfig, N=50, gridsize=0, model_type="cnn", amp_activation="tanh", probe_scale=0)
    assert list(found) == ["N", "gridsize", "model_type", "amp_activation", "probe_scale"]
    assert "'pinn', 'supervised'" in found["model_type"]
    assert "'softplus'" in found["amp_activation"]
