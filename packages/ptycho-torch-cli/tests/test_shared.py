from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from ptycho_config import ConfigError, stated_fields
from ptycho_torch_cli import inference, train
from ptycho_torch_cli.shared import build_execution_config_from_args, resolve_accelerator, validate_paths


@pytest.mark.parametrize("accelerator", [None, "auto", "cpu", "cuda"])
def test_without_a_device_the_accelerator_stands(accelerator: str | None) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert resolve_accelerator(accelerator, None) == accelerator


@pytest.mark.rule("CLI-011")
@pytest.mark.parametrize(
    ("accelerator", "device", "expected"),
    [
        (None, "cpu", "cpu"),
        (None, "cuda:0", "cuda"),
        ("auto", "cpu", "cpu"),
        ("cpu", "cuda", "cpu"),
        ("gpu", "cpu", "gpu"),
    ],
)
def test_a_named_accelerator_wins_over_a_device(accelerator: str | None, device: str, expected: str) -> None:
    with pytest.warns(DeprecationWarning, match="--device is deprecated, use --accelerator"):
        assert resolve_accelerator(accelerator, device) == expected


def test_an_execution_config_states_what_was_typed_and_nothing_else() -> None:
    args = train.build_parser().parse_args(["--num-workers", "2", "--logger", "none", "--nepochs", "3"])
    config = build_execution_config_from_args(args)
    assert stated_fields(config) == {"num_workers": 2, "logger_backend": None}


def test_an_execution_config_takes_deprecated_flags() -> None:
    args = inference.build_parser().parse_args(["--device", "cpu", "--disable_mlflow"])
    with pytest.warns(DeprecationWarning, match="is deprecated") as caught:
        config = build_execution_config_from_args(args)
    assert len(caught) == 2
    assert stated_fields(config) == {"accelerator": "cpu", "logger_backend": None}


def test_an_explicit_logger_wins_over_disable_mlflow() -> None:
    args = train.build_parser().parse_args(["--disable_mlflow", "--logger", "tensorboard"])
    with pytest.warns(DeprecationWarning, match="is deprecated"):
        assert build_execution_config_from_args(args).logger_backend == "tensorboard"


def test_all_missing_paths_are_reported(tmp_path: Path) -> None:
    there = tmp_path / "there.npz"
    there.touch()
    paths = {"--a": there, "--b": None, "--c": tmp_path / "gone", "--d": tmp_path, "--e": tmp_path}
    with pytest.raises(ConfigError) as caught:
        validate_paths(paths, folders=("--e",))
    assert [problem.field for problem in caught.value.problems] == ["--c", "--d"]
    assert "no such file" in str(caught.value)
    assert "this is a directory" in str(caught.value)
