"""Rules that join several settings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ptycho_config import ModelConfig, PyTorchExecutionConfig, TrainingConfig

RULES: list[tuple[type, dict[str, Any], str, str]] = [
    (
        ModelConfig,
        {"object_head": "real_imaginary", "amp_activation": "relu"},
        "amp_activation",
        "the default, 'sigmoid', while object_head = 'real_imaginary'",
    ),
    (ModelConfig, {"N": 64, "probe_mask_diameter": 65}, "probe_mask_diameter", "at most N = 64 px"),
    (TrainingConfig, {"nll_weight": 0}, "nll_weight", "nothing would be learned"),
    (
        TrainingConfig,
        {"model": ModelConfig(gridsize=3)},
        "neighbor_count",
        "at least 8, because gridsize = 3 makes groups of 9 frames; raise neighbor_count or lower gridsize",
    ),
    (
        TrainingConfig,
        {"model": ModelConfig(gridsize=2), "neighbor_pool_size": 2},
        "neighbor_pool_size",
        "at least 3",
    ),
    (
        PyTorchExecutionConfig,
        {"persistent_workers": True},
        "persistent_workers",
        "set num_workers to at least 1",
    ),
    (PyTorchExecutionConfig, {"prefetch_factor": 2}, "prefetch_factor", "set num_workers to at least 1"),
    (PyTorchExecutionConfig, {"recon_log_stitch": True}, "recon_log_stitch", "set recon_log_every_n_epochs"),
    (
        PyTorchExecutionConfig,
        {"recon_log_fixed_indices": [1]},
        "recon_log_fixed_indices",
        "set recon_log_every_n_epochs",
    ),
    (
        PyTorchExecutionConfig,
        {"recon_log_num_patches": 2},
        "recon_log_num_patches",
        "set recon_log_every_n_epochs",
    ),
    (
        PyTorchExecutionConfig,
        {"recon_log_every_n_epochs": 2, "logger_backend": None},
        "recon_log_every_n_epochs",
        "choose a logger_backend",
    ),
    (
        PyTorchExecutionConfig,
        {"recon_log_every_n_epochs": 2, "recon_log_num_patches": 3, "recon_log_fixed_indices": [1, 5]},
        "recon_log_num_patches",
        "the 2 of recon_log_fixed_indices",
    ),
    (
        PyTorchExecutionConfig,
        {"recon_log_max_stitch_samples": 5},
        "recon_log_max_stitch_samples",
        "set recon_log_stitch to True",
    ),
]


@pytest.mark.rule("PHY-038")
@pytest.mark.parametrize(("cls", "values", "field", "words"), RULES, ids=[rule[2] for rule in RULES])
def test_a_contradiction_is_named(
    cls: type, values: dict[str, Any], field: str, words: str, problems_of: Callable[..., dict[str, str]]
) -> None:
    found = problems_of(cls, **values)
    assert list(found) == [field]
    assert words in found[field]


@pytest.mark.parametrize(
    ("cls", "values"),
    [
        (ModelConfig, {"N": 64, "probe_mask_diameter": 64}),
        (ModelConfig, {"object_head": "real_imaginary", "amp_activation": "sigmoid"}),
        (TrainingConfig, {"nll_weight": 0, "mae_weight": 1}),
        (TrainingConfig, {"nll_weight": 0, "realspace_mae_weight": 1}),
        (TrainingConfig, {"model": ModelConfig(gridsize=2)}),
        (TrainingConfig, {"model": ModelConfig(gridsize=3), "neighbor_count": 8}),
        (TrainingConfig, {"model": ModelConfig(gridsize=3), "neighbor_pool_size": 8}),
        (PyTorchExecutionConfig, {"persistent_workers": True, "prefetch_factor": 2, "num_workers": 1}),
        (
            PyTorchExecutionConfig,
            {"recon_log_every_n_epochs": 1, "recon_log_stitch": True, "recon_log_max_stitch_samples": 9},
        ),
        (
            PyTorchExecutionConfig,
            {"recon_log_every_n_epochs": 1, "recon_log_num_patches": 2, "recon_log_fixed_indices": (1, 5)},
        ),
    ],
)
def test_the_same_settings_without_the_contradiction_pass(cls: type, values: dict[str, Any]) -> None:
    config = cls(**values)
    for name, value in values.items():
        assert getattr(config, name) == value


@pytest.mark.rule("CFG-006")
def test_a_rule_is_silent_while_one_of_its_settings_is_wrong(
    problems_of: Callable[..., dict[str, str]],
) -> None:
    found = problems_of(PyTorchExecutionConfig, persistent_workers=True, num_workers=-1)
    assert list(found) == ["num_workers"]


def test_rules_and_bounds_are_reported_together(problems_of: Callable[..., dict[str, str]]) -> None:
    found = problems_of(PyTorchExecutionConfig, persistent_workers=True, learning_rate=0)
    assert set(found) == {"learning_rate", "persistent_workers"}
