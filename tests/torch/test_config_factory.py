"""The factories: what programs put in, and what they get."""

from __future__ import annotations

import inspect
from pathlib import Path

import numpy as np
import pytest

from ptycho_config import (
    ConfigError,
    InferenceConfig,
    PyTorchExecutionConfig,
    TrainingConfig,
    field_specs,
)
from ptycho_config.params import cfg
from ptycho_torch import config_factory
from ptycho_torch.config_factory import (
    InferencePayload,
    TrainingPayload,
    create_inference_payload,
    create_training_payload,
    infer_probe_size,
)
from ptycho_torch.errors import DataError


class TestSignatures:
    def test_training(self):
        names = list(inspect.signature(create_training_payload).parameters)
        assert names[:4] == ["train_data_file", "output_dir", "overrides", "execution_config"]

    def test_inference(self):
        names = list(inspect.signature(create_inference_payload).parameters)
        assert names[:5] == ["model_path", "test_data_file", "output_dir", "overrides", "execution_config"]


class TestPayloadStructure:
    def test_training(self, scan_file, tmp_path):
        payload = create_training_payload(scan_file, tmp_path / "run")
        assert isinstance(payload, TrainingPayload)
        assert isinstance(payload.training_config, TrainingConfig)
        assert payload.training_config.train_data_file == scan_file
        assert payload.training_config.output_dir == tmp_path / "run"
        assert isinstance(payload.execution_config, PyTorchExecutionConfig)
        assert payload.train_data == (scan_file,)

    def test_inference(self, bundle_dir, scan_file, tmp_path):
        payload = create_inference_payload(bundle_dir, scan_file, tmp_path / "out")
        assert isinstance(payload, InferencePayload)
        assert isinstance(payload.inference_config, InferenceConfig)
        assert isinstance(payload.execution_config, PyTorchExecutionConfig)
        # The model part comes from the bundle.
        assert payload.inference_config.model.N == 32
        assert payload.inference_config.model.n_filters_scale == 1
        assert payload.test_data == scan_file

    def test_the_audit_lists_changes_and_every_execution_setting(self, scan_file, tmp_path):
        payload = create_training_payload(scan_file, tmp_path, {"nepochs": 7})
        applied = payload.overrides_applied
        assert applied["nepochs"] == 7
        assert applied["N"] == 32
        assert {spec.name for spec in field_specs(PyTorchExecutionConfig)} <= set(applied)
        assert "mae_weight" not in applied

    def test_provenance_prints_what_was_outranked(self, scan_file, tmp_path):
        file = tmp_path / "run.yaml"
        file.write_text("nepochs: 20\n")
        payload = create_training_payload(scan_file, tmp_path, cli={"nepochs": 30}, config_file=file)
        assert str(payload.provenance["nepochs"]) == "nepochs = 30  [cli]  over file=20  over default=50"
        assert payload.provenance["N"].layer == "data"

    def test_nothing_is_written(self, scan_file, tmp_path):
        create_training_payload(scan_file, tmp_path / "run")
        assert not (tmp_path / "run").exists()


class TestOverridePrecedence:
    """Overrides, execution object, flags, file, profile, defaults."""

    def test_each_layer_outranks_those_below(self, scan_file, tmp_path):
        file = tmp_path / "run.toml"
        file.write_text("[execution]\nlearning_rate = 0.1\n")
        given, seen = {}, []
        for layer in (
            {},
            {"config_file": file},
            {"cli": {"learning_rate": 0.2}},
            {"execution_config": PyTorchExecutionConfig(learning_rate=0.3)},
            {"overrides": {"learning_rate": 0.4}},
        ):
            given |= layer
            payload = create_training_payload(scan_file, tmp_path, **given)
            item = payload.provenance["learning_rate"]
            assert item.value == payload.execution_config.learning_rate
            seen.append((item.value, item.layer))
        assert seen == [
            (1e-3, "default"),
            (0.1, "file"),
            (0.2, "cli"),
            (0.3, "execution_config"),
            (0.4, "overrides"),
        ]

    def test_an_explicit_none_counts(self, scan_file, tmp_path):
        payload = create_training_payload(scan_file, tmp_path, {"n_groups": None}, cli={"n_groups": 9})
        assert payload.training_config.n_groups is None

    def test_facts_fill_what_nobody_stated_and_contradict_what_is_wrong(self, scan_file, tmp_path):
        payload = create_training_payload(scan_file, tmp_path)
        assert payload.training_config.nphotons == 1e5
        assert payload.training_config.n_groups == 30
        with pytest.raises(
            ConfigError, check=lambda error: error.fields == ("N",) and error.problems[0].value == 64
        ):
            create_training_payload(scan_file, tmp_path, {"N": 64})

    @pytest.mark.parametrize(
        ("spelling", "value", "name", "taken"),
        [
            ("max_epochs", 4, "nepochs", 4),
            ("K", 7, "neighbor_count", 7),
            ("n_images", 12, "n_groups", 12),
            ("mode", "Unsupervised", "model_type", "pinn"),
            ("grid_size", (2, 2), "gridsize", 2),
        ],
    )
    def test_older_spellings_are_taken_and_recorded(self, scan_file, tmp_path, spelling, value, name, taken):
        payload = create_training_payload(scan_file, tmp_path, {spelling: value})
        assert payload.provenance[name].value == taken
        assert any(spelling in note for note in payload.notes)


class TestExecutionConfigOverrides:
    def test_it_is_there_when_none_is_given(self, scan_file, tmp_path):
        assert create_training_payload(scan_file, tmp_path).execution_config == PyTorchExecutionConfig()

    def test_only_what_was_stated_counts(self, scan_file, tmp_path):
        stated = PyTorchExecutionConfig(num_workers=2)
        payload = create_training_payload(
            scan_file, tmp_path, execution_config=stated, cli={"val_seed": 5, "num_workers": 1}
        )
        assert (payload.execution_config.num_workers, payload.execution_config.val_seed) == (2, 5)

    @pytest.mark.parametrize(
        ("name", "value"),
        [("accelerator", "cpu"), ("deterministic", False), ("num_workers", 1), ("accum_steps", 2)],
    )
    def test_every_knob_is_in_the_audit(self, scan_file, tmp_path, name, value):
        given = PyTorchExecutionConfig(**{name: value})
        payload = create_training_payload(scan_file, tmp_path, execution_config=given)
        assert payload.overrides_applied[name] == value
        assert payload.provenance[name].layer == "execution_config"

    def test_inference_takes_it_too(self, bundle_dir, scan_file, tmp_path):
        given = PyTorchExecutionConfig(inference_batch_size=5)
        payload = create_inference_payload(bundle_dir, scan_file, tmp_path, execution_config=given)
        assert payload.overrides_applied["inference_batch_size"] == 5


class TestProbeSizeInference:
    @pytest.mark.parametrize("shape", [(48, 48), (3, 48, 48), (48, 48, 1)])
    def test_from_the_header_alone(self, tmp_path, shape):
        path = tmp_path / "scan.npz"
        np.savez(path, probeGuess=np.ones(shape, dtype=np.complex64), diff3d=np.zeros(1))
        assert infer_probe_size(path) == 48

    def test_the_frames_are_not_loaded(self, scan_file, tmp_path, monkeypatch):
        def refuse(*args, **keywords):
            raise AssertionError("an array was loaded")

        monkeypatch.setattr(np.lib.format, "read_array", refuse)
        assert infer_probe_size(scan_file) == 32

    def test_it_fills_N(self, scan_file, tmp_path):
        assert create_training_payload(scan_file, tmp_path).training_config.model.N == 32

    def test_no_probe_is_an_error_that_lists_what_is_there(self, tmp_path):
        np.savez(tmp_path / "scan.npz", diff3d=np.zeros((2, 8, 8)))
        with pytest.raises(DataError, check=lambda error: error.names == ("probeGuess",)):
            infer_probe_size(tmp_path / "scan.npz")

    def test_no_file(self, tmp_path):
        with pytest.raises(FileNotFoundError):
            infer_probe_size(tmp_path / "absent.npz")


class TestLegacyPopulationOrder:
    """CONFIG-001: the dictionary is full before any data are read or a model is built."""

    def test_before_data_are_read(self, scan_file, config, cpu, monkeypatch):
        from ptycho_torch.data import opening, reading
        from ptycho_torch.workflows import train

        seen = []
        read = opening.open_scan

        def noted(*args, **keywords):
            seen.append(dict(cfg))
            return read(*args, **keywords)

        monkeypatch.setattr(reading, "open_scan", noted)
        cfg.clear()
        output = config("run").output_dir
        payload = create_training_payload(scan_file, output, {"nepochs": 1, "n_filters_scale": 1}, cpu())
        assert (cfg["N"], cfg["nepochs"]) == (32, 1)
        train(payload)
        assert seen[0]["N"] == 32
        assert seen[0]["output_prefix"] == str(output)

    def test_by_the_factory_itself(self, scan_file, bundle_dir, tmp_path):
        cfg.clear()
        create_inference_payload(bundle_dir, scan_file, tmp_path / "out")
        assert (cfg["N"], cfg["output_prefix"]) == (32, str(tmp_path / "out"))
        assert "accelerator" not in cfg

    def test_a_refused_configuration_leaves_it_alone(self, scan_file, tmp_path):
        cfg.clear()
        with pytest.raises(ConfigError):
            create_training_payload(scan_file, tmp_path, {"backend": "tensorflow"})
        assert not cfg


class TestErrors:
    def test_missing_data(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="train_data_file"):
            create_training_payload(tmp_path / "absent.npz", tmp_path)

    def test_missing_model(self, scan_file, tmp_path):
        with pytest.raises(FileNotFoundError, match="model_path"):
            create_inference_payload(tmp_path / "absent", scan_file, tmp_path)

    def test_a_model_directory_without_a_bundle(self, scan_file, tmp_path):
        with pytest.raises(ValueError, check=lambda error: error.names == ("wts.h5.zip",)):
            create_inference_payload(tmp_path, scan_file, tmp_path / "out")

    def test_unknown_and_wrong_all_at_once(self, scan_file, tmp_path):
        wrong = {"nepoch": 3, "batch_size": 0, "N": "big"}
        with pytest.raises(ValueError, check=lambda error: {*error.fields} == {*wrong}):
            create_training_payload(scan_file, tmp_path, wrong)

    def test_no_data_at_all(self, tmp_path):
        with pytest.raises(ConfigError, check=lambda error: error.fields == ("train_data_file",)):
            create_training_payload(None, tmp_path)


class TestScansInMemory:
    @pytest.mark.rule("EMB-005")
    def test_facts_come_from_the_scan(self, scan, tmp_path):
        payload = create_training_payload(scan, tmp_path)
        config = payload.training_config
        assert (config.model.N, config.n_groups, config.nphotons) == (32, 30, 1e5)
        assert config.train_data_file is None
        assert payload.train_data[0] is scan
        assert any("train_data_file" in note and "memory" in note for note in payload.notes)

    def test_facts_come_from_arrays(self, scan, bundle_dir, tmp_path):
        arrays = {
            "diff3d": scan.diffraction,
            "xcoords": scan.positions[:, 1],
            "ycoords": scan.positions[:, 0],
            "probeGuess": scan.probe,
        }
        payload = create_training_payload(arrays, tmp_path)
        assert (payload.training_config.model.N, payload.training_config.n_groups) == (32, 30)
        assert create_inference_payload(bundle_dir, arrays, tmp_path).test_data is arrays

    @pytest.mark.rule("EMB-005")
    def test_they_take_the_place_of_a_path_in_a_file(self, scan, tmp_path):
        file = tmp_path / "run.yaml"
        file.write_text("train_data_file: elsewhere.npz\n")
        payload = create_training_payload(scan, tmp_path, config_file=file)
        assert payload.training_config.train_data_file is None
        assert "over file=elsewhere.npz" in str(payload.provenance["train_data_file"])

    def test_two_statements_are_refused(self, scan, tmp_path):
        with pytest.raises(ConfigError, check=lambda error: error.fields == ("train_data_file",)):
            create_training_payload(scan, tmp_path, {"train_data_file": Path("other.npz")})


def test_the_module_names_what_it_offers():
    assert {
        "TrainingPayload",
        "InferencePayload",
        "create_training_payload",
        "create_inference_payload",
        "infer_probe_size",
        "populate_legacy_params",
    } <= set(config_factory.__all__)
