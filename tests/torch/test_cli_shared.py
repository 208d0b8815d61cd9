"""Helpers of the command line that other programs reuse."""

from __future__ import annotations

import pytest

from ptycho_config import ConfigError, PyTorchExecutionConfig, stated_fields
from ptycho_torch_cli import inference, train
from ptycho_torch_cli.shared import build_execution_config_from_args, resolve_accelerator, validate_paths


class TestResolveAccelerator:
    def test_nothing_typed_is_nothing_decided(self):
        assert resolve_accelerator(None, None) is None

    def test_the_flag(self):
        assert resolve_accelerator("cuda", None) == "cuda"

    @pytest.mark.parametrize(("device", "found"), [("cpu", "cpu"), ("cuda", "cuda"), ("cuda:0", "cuda")])
    def test_the_deprecated_flag(self, device, found):
        with pytest.warns(DeprecationWarning, match="--device is deprecated, use --accelerator"):
            assert resolve_accelerator(None, device) == found

    def test_an_explicit_accelerator_wins(self):
        with pytest.warns(DeprecationWarning, match="--accelerator cpu wins"):
            assert resolve_accelerator("cpu", "cuda") == "cpu"


class TestBuildExecutionConfigFromArgs:
    def test_only_what_was_typed_is_stated(self):
        args = train.build_parser().parse_args(
            ["--accelerator", "cpu", "--num-workers", "2", "--no-deterministic", "--learning-rate", "1e-4"]
        )
        config = build_execution_config_from_args(args)
        assert isinstance(config, PyTorchExecutionConfig)
        assert stated_fields(config) == {
            "accelerator": "cpu",
            "num_workers": 2,
            "deterministic": False,
            "learning_rate": 1e-4,
        }

    def test_nothing_typed(self):
        assert stated_fields(build_execution_config_from_args(train.build_parser().parse_args([]))) == {}

    def test_inference(self):
        args = inference.build_parser().parse_args(["--inference-batch-size", "9", "--middle-trim", "16"])
        assert stated_fields(build_execution_config_from_args(args)) == {
            "inference_batch_size": 9,
            "middle_trim": 16,
        }

    def test_flags_that_contradict_each_other(self):
        args = train.build_parser().parse_args(["--persistent-workers"])
        with pytest.raises(ConfigError, check=lambda error: error.fields == ("persistent_workers",)):
            build_execution_config_from_args(args)


class TestValidatePaths:
    def test_what_is_there_and_what_was_not_typed_pass(self, scan_file):
        validate_paths({"--train-data-file": scan_file, "--config": None})

    def test_all_that_are_missing_at_once(self, tmp_path):
        with pytest.raises(ValueError, match="--config") as caught:
            validate_paths({"--train-data-file": tmp_path / "a", "--config": str(tmp_path / "b")})
        assert [p.field for p in caught.value.problems] == ["--train-data-file", "--config"]

    def test_a_directory_where_a_file_belongs(self, tmp_path):
        with pytest.raises(ConfigError, check=lambda error: error.fields == ("--config",)):
            validate_paths({"--config": tmp_path})
        validate_paths({"--model-path": tmp_path}, folders=("--model-path",))
