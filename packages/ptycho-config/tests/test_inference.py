"""Settings of a reconstruction."""

from __future__ import annotations

from pathlib import Path

import pytest

from ptycho_config import ConfigError, InferenceConfig, ModelConfig


def test_paths_and_model_are_kept() -> None:
    config = InferenceConfig(model=ModelConfig(N=128), model_path="run", test_data_file="scan.npz")  # type: ignore[arg-type]
    assert (config.model.N, config.model_path, config.test_data_file) == (128, Path("run"), Path("scan.npz"))


def test_every_group_is_reconstructed_unless_somebody_asks_for_fewer() -> None:
    assert InferenceConfig().n_groups is None


def test_the_older_spelling_is_carried_over() -> None:
    with pytest.warns(DeprecationWarning, match="older spelling of n_groups"):
        assert InferenceConfig(n_images=32).n_groups == 32  # type: ignore[call-arg]


def test_groups_need_neighbors_here_too() -> None:
    with pytest.raises(
        ConfigError, check=lambda error: error.fields == ("neighbor_count",) and error.problems[0].value == 4
    ):
        InferenceConfig(model=ModelConfig(gridsize=3))
