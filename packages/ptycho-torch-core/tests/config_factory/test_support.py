"""Settings without an effect are refused, with the reason."""

from __future__ import annotations

import pytest

from ptycho_config import (
    ConfigError,
    InferenceConfig,
    ModelConfig,
    PyTorchExecutionConfig,
    TrainingConfig,
)
from ptycho_torch.config_factory.support import check_supported

_CLASSES = (ModelConfig, TrainingConfig, InferenceConfig, PyTorchExecutionConfig)


def test_defaults_are_supported():
    check_supported(*(make() for make in _CLASSES))


@pytest.mark.rule("CFG-047")
@pytest.mark.parametrize(
    ("config", "field"),
    [
        (ModelConfig(probe_scale=2.0), "probe_scale"),
        (TrainingConfig(positions_provided=False), "positions_provided"),
        (TrainingConfig(backend="tensorflow"), "backend"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_what_has_no_effect_is_refused_with_words(config, field):
    with pytest.raises(ConfigError, check=lambda error: error.fields == (field,)):
        check_supported(config)


@pytest.mark.parametrize(
    "config",
    [
        PyTorchExecutionConfig(devices=2, num_nodes=2, strategy="ddp"),
        PyTorchExecutionConfig(logger_backend=None),
        PyTorchExecutionConfig(logger_backend="tensorboard"),
        PyTorchExecutionConfig(logger_backend="mlflow", compile=True, recon_log_every_n_epochs=1),
        ModelConfig(gridsize=2, model_type="supervised"),
        TrainingConfig(neighbor_count=7, enable_oversampling=True, neighbor_pool_size=9),
        InferenceConfig(neighbor_count=7, enable_oversampling=True, neighbor_pool_size=9),
    ],
)
def test_the_other_values_of_a_partly_supported_setting_pass(config):
    check_supported(config)


@pytest.mark.rule("CFG-047")
def test_all_problems_are_reported_at_once():
    with pytest.raises(ConfigError) as caught:
        check_supported(
            ModelConfig(probe_scale=2.0), TrainingConfig(positions_provided=False, backend="tensorflow")
        )
    found = {problem.field for problem in caught.value.problems}
    assert found == {"probe_scale", "positions_provided", "backend"}
