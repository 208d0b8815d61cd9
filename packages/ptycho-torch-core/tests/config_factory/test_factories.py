"""One checked configuration from files, flags and arguments."""

from __future__ import annotations

import json
import warnings
import zipfile
from dataclasses import replace
from importlib.metadata import distributions

import numpy as np
import pytest

from ptycho_config import (
    ConfigError,
    InferenceConfig,
    PyTorchExecutionConfig,
    TrainingConfig,
    field_specs,
    to_dict,
)
from ptycho_config.params import cfg
from ptycho_torch.config_factory import (
    create_inference_payload,
    create_training_payload,
    infer_probe_size,
    populate_legacy_params,
)
from ptycho_torch.data import reading
from ptycho_torch.data.formats.npz import load_scan, save_scan
from ptycho_torch.data.simulation.simulate import simulate_scene
from ptycho_torch.errors import BundleError, DataError
from ptycho_torch.workflows import train
from ptycho_torch.workflows.jobs import preparation


def _is_installed(name):
    return any(True for _ in distributions(name=name))


def _damage(path, key):
    """Overwrite the data of one array behind its header."""
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo(f"{key}.npy")
        start = info.header_offset + 30 + len(info.filename) + 256
    content = bytearray(path.read_bytes())
    content[start : start + 64] = bytes(byte ^ 0xFF for byte in content[start : start + 64])
    path.write_bytes(bytes(content))


def _save_plain(path, scan):
    np.savez(
        path,
        diff3d=scan.diffraction,
        xcoords=scan.positions[:, 1],
        ycoords=scan.positions[:, 0],
        probeGuess=scan.probe,
    )


def test_the_payload_holds_checked_configurations(payload):
    made = payload(execution={"num_workers": 1})
    assert isinstance(made.training_config, TrainingConfig)
    assert isinstance(made.execution_config, PyTorchExecutionConfig)
    assert made.training_config.model is made.resolution.configs["model"]
    assert made.training_config.nepochs == 1
    assert made.execution_config.num_workers == 1
    assert len(repr(made)) < 8000


@pytest.mark.rule("CFG-041")
def test_execution_settings_are_there_when_none_are_given(tiny_scan_file, tmp_path):
    made = create_training_payload(tiny_scan_file, tmp_path / "run")
    assert made.execution_config == PyTorchExecutionConfig()


def test_every_execution_setting_and_every_change_is_listed(payload):
    applied = payload(nepochs=7).overrides_applied
    assert {spec.name for spec in field_specs(PyTorchExecutionConfig)} <= set(applied)
    assert applied["nepochs"] == 7
    assert applied["deterministic"] is True
    assert "mae_weight" not in applied


def _write_toml(tmp_path, text):
    path = tmp_path / "settings.toml"
    path.write_text(text)
    return path


@pytest.mark.rule("CFG-010")
def test_training_settings_rank_overrides_flags_file_profile_default(tiny_scan_file, tmp_path):
    file = _write_toml(tmp_path, "[training]\nnepochs = 20\n")
    stated = [
        ({}, 50, "default"),
        ({"profile": "quick"}, 10, "profile"),
        ({"config_file": file}, 20, "file"),
        ({"cli": {"nepochs": 30}}, 30, "cli"),
        ({"overrides": {"nepochs": 40}}, 40, "overrides"),
    ]
    given = {}
    for layer, expected, name in stated:
        given |= layer
        made = create_training_payload(tiny_scan_file, tmp_path / "run", **given)
        assert made.training_config.nepochs == expected
        assert made.provenance["nepochs"].layer == name
    assert "nepochs = 40  [overrides]  over cli=30  over file=20  over profile=10  over default=50" in str(
        made.provenance
    )


@pytest.mark.parametrize("name", ["quick", "full", "reference_cnn"])
def test_every_profile_suits_a_scan_with_few_frames(tiny_scan_file, tmp_path, name):
    made = create_training_payload(tiny_scan_file, tmp_path / "run", profile=name)
    assert made.training_config.n_groups in (None, 30)


def test_an_execution_object_ranks_between_overrides_and_flags(tiny_scan_file, tmp_path):
    file = _write_toml(tmp_path, "[execution]\nlearning_rate = 0.1\nval_seed = 5\n")
    given = {"config_file": file, "cli": {"learning_rate": 0.2, "accum_steps": 3}}
    given["execution_config"] = PyTorchExecutionConfig(learning_rate=0.3)
    made = create_training_payload(tiny_scan_file, tmp_path / "run", **given)
    assert made.execution_config.learning_rate == 0.3
    # What the object was not told is absent from its layer, not equal to a default.
    assert (made.execution_config.val_seed, made.execution_config.accum_steps) == (5, 3)
    made = create_training_payload(tiny_scan_file, tmp_path / "run", {"learning_rate": 0.4}, **given)
    assert made.execution_config.learning_rate == 0.4
    assert "learning_rate = 0.4  [overrides]  over execution_config=0.3" in str(made.provenance)


def test_an_explicit_none_counts(tiny_scan_file, tmp_path):
    file = _write_toml(tmp_path, "[training]\nn_groups = 20\n[execution]\ngradient_clip_val = 1.0\n")
    nothing = {"n_groups": None, "gradient_clip_val": None}
    for layer in ("overrides", "cli"):
        made = create_training_payload(tiny_scan_file, tmp_path, config_file=file, **{layer: nothing})
        assert made.training_config.n_groups is None
        assert made.execution_config.gradient_clip_val is None
        assert made.provenance["n_groups"].layer == layer


@pytest.mark.rule("CFG-043")
def test_the_probe_gives_N_and_no_frame_is_read(tmp_path, tiny_scan):
    path = tmp_path / "damaged.npz"
    _save_plain(path, tiny_scan)
    _damage(path, "diff3d")
    made = create_training_payload(path, tmp_path / "run")
    assert made.training_config.model.N == infer_probe_size(path) == 32
    assert made.provenance["N"].layer == "data"
    assert made.provenance["N"].source == "probe in damaged.npz"
    with pytest.raises(DataError, check=lambda error: error.names == ("diff3d",)):
        load_scan(path)


@pytest.mark.rule("CFG-043")
def test_the_photon_count_comes_from_the_metadata(payload):
    made = payload()
    assert made.training_config.nphotons == 1e5
    assert made.provenance["nphotons"].source == "metadata of scan.npz"


@pytest.mark.rule("CFG-043")
def test_the_photon_count_that_ptychopinn_wrote_is_one(tmp_path, tiny_scan):
    path = tmp_path / "theirs.npz"
    metadata = {"physics_parameters": {"nphotons": 3e4}}
    save_scan(path, replace(tiny_scan, metadata=metadata))
    made = create_training_payload(path, tmp_path / "run")
    assert made.training_config.nphotons == 3e4
    assert made.provenance["nphotons"].layer == "data"


def test_a_photon_count_that_contradicts_the_data_is_refused(payload):
    with pytest.raises(ConfigError, check=lambda error: error.fields == ("nphotons",)):
        payload(nphotons=7.0)


@pytest.mark.rule("CFG-044")
def test_the_default_number_of_groups_is_what_there_is(payload):
    made = payload()
    assert made.training_config.n_groups == 30
    assert "n_groups = 30  [data: frames in scan.npz]  over default=512" in str(made.provenance)


def test_the_default_number_of_groups_heeds_the_subsample(payload):
    made = payload(n_subsample=12)
    assert made.training_config.n_groups == 12
    assert len(preparation.prepare_training(made.task).train) == 11


@pytest.mark.rule("CFG-044")
def test_more_groups_than_frames_are_refused_before_anything_is_written(payload, tmp_path):
    with pytest.raises(
        ConfigError, check=lambda error: error.fields == ("n_groups",) and "30" in error.problems[0].expected
    ):
        train(payload(n_groups=31))
    assert not (tmp_path / "run").exists()


def test_a_smaller_N_crops_with_a_warning_and_a_note(tmp_path):
    save_scan(tmp_path / "wide.npz", simulate_scene("lines", N=48, grid=(3, 4), step_px=6.0, photons=1e5))
    with pytest.warns(UserWarning, match="N = 32 .* smaller than the 48"):
        made = create_training_payload(tmp_path / "wide.npz", tmp_path / "run", {"N": 32})
    assert any("cropped" in note for note in made.notes)
    with pytest.warns(UserWarning, match="frames of 48 x 48 px were cropped"):
        prepared = preparation.prepare_training(made.task)
    assert prepared.scans[0].diffraction.shape[1:] == prepared.scans[0].probe.shape[1:] == (32, 32)


def test_a_larger_N_is_an_error_that_names_both(payload):
    with pytest.raises(ConfigError) as caught:
        payload(N=64)
    assert "64" in str(caught.value)
    assert "32" in str(caught.value)


@pytest.mark.rule("CONFIG-001")
def test_the_legacy_dictionary_is_filled_before_data_are_read_or_a_model_is_built(monkeypatch, payload):
    seen = []
    for where, name in ((reading, "open_scan"), (preparation, "build_patch_model")):
        function = getattr(where, name)

        def spy(*args, _name=name, _function=function, **keywords):
            seen.append((_name, dict(cfg)))
            return _function(*args, **keywords)

        monkeypatch.setattr(where, name, spy)
    cfg.clear()
    made = payload()
    assert seen == []
    filled = dict(cfg)
    assert (filled["N"], filled["nepochs"], filled["probe.trainable"]) == (32, 1, False)
    assert filled["train_data_file_path"] == str(made.training_config.train_data_file)
    preparation.prepare_training(made.task)
    assert seen == [("open_scan", filled), ("build_patch_model", filled)]


def test_execution_settings_stay_out_of_the_legacy_dictionary(payload):
    with pytest.raises(TypeError):
        populate_legacy_params(payload().execution_config)
    assert "accelerator" not in cfg


@pytest.mark.rule("CFG-042")
@pytest.mark.parametrize("name", ["train_data_file", "test_data_file"])
def test_a_missing_file_is_named(tiny_scan_file, tmp_path, name):
    files = {"train_data_file": tiny_scan_file, "output_dir": tmp_path, name: tmp_path / "absent.npz"}
    with pytest.raises(FileNotFoundError, match=f"{name}: .*absent.npz"):
        create_training_payload(**files)


@pytest.mark.rule("CFG-042")
def test_a_missing_configuration_file_is_named(tiny_scan_file, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent\.toml"):
        create_training_payload(tiny_scan_file, tmp_path, config_file=tmp_path / "absent.toml")


def test_training_data_are_required(tmp_path):
    with pytest.raises(ConfigError, check=lambda error: error.fields == ("train_data_file",)):
        create_training_payload(None, tmp_path)


@pytest.mark.rule("CFG-046")
def test_a_value_given_twice_is_refused(tiny_scan_file, tmp_path):
    with pytest.raises(ConfigError, check=lambda error: error.fields == ("output_dir",)):
        create_training_payload(tiny_scan_file, tmp_path / "a", {"output_dir": str(tmp_path / "b")})


def test_unknown_keys_are_refused_with_a_suggestion_all_at_once(payload):
    with pytest.raises(ConfigError) as caught:
        payload(nepoch=3, learning_rat=0.1)
    assert len(caught.value.problems) == 2
    assert "did you mean 'nepochs'" in str(caught.value)
    assert "did you mean 'learning_rate'" in str(caught.value)


def test_older_spellings_are_taken_and_noted(tiny_scan_file, tmp_path):
    made = create_training_payload(tiny_scan_file, tmp_path, {"max_epochs": 3, "n_images": 8})
    assert (made.training_config.nepochs, made.training_config.n_groups) == (3, 8)
    assert any("max_epochs" in note for note in made.notes)


def test_the_tensorflow_backend_is_refused(payload, inference):
    for make in (payload, inference):
        with pytest.raises(ConfigError, check=lambda error: error.fields == ("backend",)):
            make(backend="tensorflow")


def test_the_configuration_a_run_leaves_behind_repeats_it(trained, tmp_path):
    file = trained.output_dir / "resolved_config.json"
    written = json.loads(file.read_text())
    assert written["command"] == ["train", "tiny"]
    ours = {
        name for name in ("ptycho-config", "ptycho-torch-core", "ptycho-torch-cli") if _is_installed(name)
    }
    assert {*ours, "torch"} <= set(written["versions"])
    assert set(written["provenance"]) == {name for part in written["values"].values() for name in part}
    made = create_training_payload(None, tmp_path / "again", config_file=file)
    values = made.resolution.values()
    for configuration in (values, written["values"]):
        configuration["training"].pop("output_dir")
    assert json.loads(json.dumps(values)) == written["values"]


def test_the_model_part_comes_from_the_bundle(inference, trained):
    made = inference()
    assert isinstance(made.inference_config, InferenceConfig)
    assert made.inference_config.model.n_filters_scale == 1
    assert made.provenance["n_filters_scale"].source == str(trained.bundle)
    assert made.overrides_applied["accelerator"] == "cpu"
    assert (cfg["N"], cfg["model_path"]) == (32, str(trained.output_dir))


@pytest.mark.rule("CFG-045")
def test_a_model_setting_other_than_the_bundles_is_refused(inference):
    assert inference(n_filters_scale=1).inference_config.model.n_filters_scale == 1
    with pytest.raises(ConfigError, check=lambda error: error.fields == ("n_filters_scale",)):
        inference(n_filters_scale=2)


@pytest.mark.parametrize("size", [64, 48])
def test_a_trained_network_has_one_size(inference, size):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(
            ConfigError, check=lambda error: error.fields == ("N",) and error.problems[0].value == size
        ):
            inference(N=size)


def test_a_smaller_size_than_the_bundles_does_not_pass_as_a_crop(monkeypatch, tmp_path, inference):
    from ptycho_torch.config_factory import inference as factory

    manifest = factory.read_manifest
    larger = {}

    def read(path):
        found = manifest(path)
        larger.update(found.configuration["model"], N=64)
        object.__setattr__(found, "configuration", {"model": larger})
        return found

    monkeypatch.setattr(factory, "read_manifest", read)
    with pytest.raises(ConfigError, check=lambda error: error.fields == ("N",)):
        inference(N=32)


def test_a_training_configuration_serves_inference(trained, tiny_scan_file, tmp_path):
    made = create_inference_payload(
        trained.output_dir, tiny_scan_file, tmp_path, config_file=trained.output_dir / "resolved_config.json"
    )
    assert made.execution_config.accelerator == "cpu"
    assert to_dict(made.inference_config.model) == to_dict(made.resolution.configs["model"])


@pytest.mark.rule("CFG-019", "CFG-017")
@pytest.mark.parametrize(
    "stated",
    [
        {"deterministic": False},
        {"precision": "bf16-mixed"},
        {"pin_memory": True},
        {"persistent_workers": True, "num_workers": 1},
        {"prefetch_factor": 3, "num_workers": 1},
        {"learning_rate": 0.1},
    ],
    ids=lambda stated: next(iter(stated)),
)
def test_what_has_no_effect_on_a_reconstruction_is_refused(stated, trained, tiny_scan_file, tmp_path):
    name = next(iter(stated))
    for given in ({"overrides": stated}, {"execution_config": PyTorchExecutionConfig(**stated)}):
        with pytest.raises(ConfigError) as caught:
            create_inference_payload(trained.output_dir, tiny_scan_file, tmp_path, **given)
        assert [problem.field for problem in caught.value.problems] == [name]
    applied = create_inference_payload(trained.output_dir, tiny_scan_file, tmp_path).overrides_applied
    assert name not in applied
    assert "num_workers" in applied


@pytest.mark.rule("BUN-011")
def test_a_model_directory_without_a_bundle_is_refused(tiny_scan_file, tmp_path):
    (tmp_path / "notes.txt").write_text("no model here")
    with pytest.raises(BundleError, check=lambda error: error.names == ("wts.h5.zip",)) as caught:
        create_inference_payload(tmp_path, tiny_scan_file, tmp_path / "out")
    assert isinstance(caught.value, ValueError)
    with pytest.raises(FileNotFoundError, match="model_path"):
        create_inference_payload(tmp_path / "absent", tiny_scan_file, tmp_path / "out")


def test_missing_scan_of_an_inference_is_named(trained, tmp_path):
    with pytest.raises(FileNotFoundError, match="test_data_file"):
        create_inference_payload(trained.output_dir, tmp_path / "absent.npz", tmp_path / "out")
    with pytest.raises(ConfigError, check=lambda error: error.fields == ("test_data_file",)):
        create_inference_payload(trained.output_dir, None, tmp_path / "out")
