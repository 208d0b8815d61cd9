"""Settings of the execution."""

from __future__ import annotations

import pytest

from ptycho_config import ConfigError, PyTorchExecutionConfig


@pytest.mark.parametrize("word", ["auto", "cpu", "gpu", "cuda", "mps"])
def test_accelerators(word: str) -> None:
    assert PyTorchExecutionConfig(accelerator=word).accelerator == word


def test_tpus_are_refused_with_a_reason() -> None:
    with pytest.raises(
        ConfigError, check=lambda error: error.fields == ("accelerator",) and error.problems[0].value == "tpu"
    ):
        PyTorchExecutionConfig(accelerator="tpu")


def test_the_older_spelling_of_devices() -> None:
    with pytest.warns(
        DeprecationWarning, match="n_devices is the older spelling of devices; write devices=2"
    ):
        assert PyTorchExecutionConfig(n_devices=2).devices == 2  # type: ignore[call-arg]


@pytest.mark.parametrize("value", [0, -1, True, "two", 1.5])
def test_devices_are_a_number_or_auto(value: object) -> None:
    with pytest.raises(ConfigError, check=lambda error: error.fields == ("devices",)):
        PyTorchExecutionConfig(devices=value)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [True, False, "warn"])
def test_deterministic(value: bool | str) -> None:
    assert PyTorchExecutionConfig(deterministic=value).deterministic == value  # type: ignore[arg-type]


@pytest.mark.parametrize("value", ["00:00:10:00", "10:00:00:00", "00:36:00:00"])
def test_a_time_limit(value: str) -> None:
    assert PyTorchExecutionConfig(max_time=value).max_time == value


@pytest.mark.parametrize("value", ["10:00", "1:00:00:00", "00:00:61:00", "00:00:00:99", 600, "00:00:10:00 "])
def test_other_times_are_refused(value: object) -> None:
    with pytest.raises(ConfigError, check=lambda error: error.fields == ("max_time",)):
        PyTorchExecutionConfig(max_time=value)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [-1, 0, 3])
def test_how_many_checkpoints_are_kept(value: int) -> None:
    assert PyTorchExecutionConfig(checkpoint_save_top_k=value).checkpoint_save_top_k == value


def test_no_logger_at_all() -> None:
    assert PyTorchExecutionConfig(logger_backend=None).logger_backend is None
