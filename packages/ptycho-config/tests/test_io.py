"""Configuration files are read strictly and written whole."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from ptycho_config import (
    SECTIONS,
    ConfigError,
    ModelConfig,
    PyTorchExecutionConfig,
    TrainingConfig,
    load_config,
    resolve,
    to_json,
    to_yaml,
    write_resolved,
)

SAME = {
    "a.yaml": """
nepochs: 3
execution:
  learning_rate: 1e-3
  max_time: 10:00:00:00
  logger_backend: null
""",
    "b.yml": "{nepochs: 3, execution: {learning_rate: .001, max_time: '10:00:00:00', logger_backend: ~}}",
    "c.toml": """
nepochs = 3
[execution]
learning_rate = 1e-3
max_time = "10:00:00:00"
logger_backend = "none"
""",
    "D.JSON": """\ufeff{
"nepochs": 3,
"execution": {"learning_rate": 1e-3, "max_time": "10:00:00:00", "logger_backend": null}
}""",
}


@pytest.mark.rule("CFG-030")
@pytest.mark.parametrize("name", SAME)
def test_the_same_settings_in_every_language(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(SAME[name], encoding="utf-8")
    read = load_config(tmp_path / name)
    assert read == {
        "nepochs": 3,
        "execution": {"learning_rate": 1e-3, "max_time": "10:00:00:00", "logger_backend": None},
    }
    resolve(SECTIONS, file=read)


@pytest.mark.parametrize("name", ["a.yaml", "a.toml"])
def test_an_empty_file_says_nothing(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("# nothing yet\n")
    assert load_config(tmp_path / name) == {}


def test_the_word_none_stays_a_word_where_none_is_not_meant(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('architecture = "none"\ntrain_data_file = "none"\nn_images = "none"\n')
    assert load_config(tmp_path / "a.toml") == {
        "architecture": "none",
        "train_data_file": "none",
        "n_images": None,
    }


DEEP = 30_000
BROKEN = [
    ("a.yaml", "nepochs: " + "[" * DEEP + "]" * DEEP, "settings are at most two levels deep"),
    ("a.toml", "nepochs = " + "[" * DEEP + "]" * DEEP, "settings are at most two levels deep"),
    ("a.json", '{"nepochs": ' + "[" * DEEP + "]" * DEEP + "}", "settings are at most two levels deep"),
    ("a.toml", "a." * DEEP + "b = 1", "valid TOML; a key has more than 64 parts"),
    ("a.toml", "nepochs = " + "9" * 5000, "valid TOML; Exceeds the limit"),
    ("a.json", '{"nepochs": ' + "9" * 5000 + "}", "valid JSON; Exceeds the limit"),
    ("a.yaml", "nepochs: " + "9" * 5000, "valid YAML; Exceeds the limit"),
    ("a.yaml", "nepochs: 3\nmodel: [1,\n", "a.yaml, line 3"),
    ("a.yaml", "nepochs: 3\nnepochs: 4\n", "line 2.*the key 'nepochs' is given twice"),
    (
        "a.yaml",
        "training:\n  batch_size: 3\n  batch_size: 4\n",
        "line 3.*the key 'batch_size' is given twice",
    ),
    (
        "a.yaml",
        "nepochs: !!python/object/apply:os.system ['true']\n",
        "valid YAML; could not determine a constructor",
    ),
    ("a.yaml", "nepochs: 3\n---\nnepochs: 4\n", "expected a single document"),
    ("a.yaml", "- 3\n- 4\n", "settings by name in .*such as nepochs: 30; the file holds a list"),
    ("a.yaml", "just words\n", "the file holds a str"),
    ("a.yaml", "nepochs: \x01\n", "valid YAML"),
    ("a.toml", "nepochs = 3\nbatch_size = \n", "a.toml, line 2.*valid TOML"),
    ("a.toml", "nepochs = 3\nnepochs = 4\n", "valid TOML; Cannot overwrite a value"),
    ("a.json", '{"nepochs": 3,\n "batch_size": }', "a.json, line 2.*valid JSON"),
    ("a.json", '{"nepochs": 3, "nepochs": 4}', "the key 'nepochs' is given twice"),
    ("a.json", "[3]", "the file holds a list"),
    ("a.json", "", "valid JSON"),
    ("a.ini", "nepochs = 3", "a configuration file ending in .yaml, .yml, .toml, .json"),
    ("a.yaml", "nepoch: 3\n", "nepoch = 3: expected a known setting; did you mean 'nepochs'"),
    (
        "a.yaml",
        "training:\n  nepoch: 3\n",
        "training.nepoch = 3: expected a setting of training; did you mean",
    ),
    ("a.yaml", "trainin:\n  nepochs: 3\n", "did you mean 'training'"),
    ("a.yaml", "3: 4\n", "the name of a setting as text"),
    ("a.json", '{"format": "ptycho-config resolved", "format_version": 9}', "format_version of .*expected 1"),
    ("a.json", '{"format": "ptycho-config resolved", "format_version": 1}', "values of .*missing.*damaged"),
]


@pytest.mark.rule("CFG-030")
@pytest.mark.parametrize(("name", "text", "words"), BROKEN, ids=range(len(BROKEN)))
def test_a_broken_file_is_refused_with_file_and_reason(
    name: str, text: str, words: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError, match=f"(?s){words}"):
        load_config(tmp_path / name)


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"\xff\xfe\x00nepochs")
    with pytest.raises(ConfigError, check=lambda error: error.fields == ("config file",)):
        load_config(tmp_path / "a.yaml")


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.yaml"):
        load_config(tmp_path / "none.yaml")


CONFIGS: list[Any] = [
    ModelConfig(N=128),
    TrainingConfig(model=ModelConfig(N=96), train_data_file=Path("1e-3"), nphotons=1e-5, n_groups=None),
    PyTorchExecutionConfig(
        max_time="10:00:00:00", recon_log_every_n_epochs=1, recon_log_fixed_indices=(1, 2)
    ),
]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: type(config).__name__)
@pytest.mark.parametrize("name", ["a.yaml", "a.json"])
def test_what_is_written_is_read_back(config: Any, name: str, tmp_path: Path) -> None:
    section = next(key for key, cls in SECTIONS.items() if cls is type(config))
    write = to_yaml if name.endswith("yaml") else to_json
    (tmp_path / name).write_text(write({section: config}), encoding="utf-8")
    assert resolve(SECTIONS, file=load_config(tmp_path / name)).configs[section] == config


def test_a_single_configuration_is_written_flat() -> None:
    assert to_yaml(ModelConfig()).startswith("N: 64\ngridsize: 1\n")
    assert json.loads(to_json(ModelConfig()))["N"] == 64


@pytest.mark.rule("CFG-031")
def test_the_record_of_a_run_can_be_fed_back(tmp_path: Path) -> None:
    first = resolve(
        SECTIONS, cli={"train_data_file": "a.npz", "max_epochs": 3, "n_groups": None}, facts={"N": 96}
    )
    path = tmp_path / "resolved_config.json"
    write_resolved(path, first, {"ptycho-config": "0.1.0"}, ["ptycho-torch", "train"])
    record = json.loads(path.read_text(encoding="utf-8"))
    assert record["versions"] == {"ptycho-config": "0.1.0"}
    assert record["command"] == ["ptycho-torch", "train"]
    assert record["provenance"]["N"]["layer"] == "data"
    again = resolve(SECTIONS, file=load_config(path))
    assert again.configs == first.configs


def test_the_record_of_a_training_serves_a_reconstruction(
    tmp_path: Path, training_schema: Any, inference_schema: Any
) -> None:
    path = tmp_path / "resolved_config.json"
    write_resolved(path, resolve(training_schema, cli={"N": 96, "num_workers": 1}), {}, "python")
    done = resolve(inference_schema, file=load_config(path))
    assert done.configs["model"] == ModelConfig(N=96)
    assert done.provenance["num_workers"].value == 1
    assert done.provenance["n_groups"].layer == "default"
    assert any("training.nepochs belongs to training" in note for note in done.notes)


@pytest.mark.rule("RUN-056")
def test_an_error_of_the_disk_names_the_file_that_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = os.replace

    def lose(source: Path, target: Path) -> None:
        os.unlink(source)
        replace(source, target)

    monkeypatch.setattr(os, "replace", lose)
    with pytest.raises(FileNotFoundError) as failed:
        write_resolved(tmp_path / "a.yaml", resolve(SECTIONS), {}, "train")
    assert (failed.value.filename, failed.value.filename2) == (str(tmp_path / "a.yaml"), None)


@pytest.mark.rule("CFG-032")
def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.yaml"
    write_resolved(path, resolve(SECTIONS), {}, "train")
    before = path.read_text()

    def fail(*args: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_resolved(path, resolve(SECTIONS, cli={"N": 128}), {}, "train")
    assert path.read_text() == before
    assert [file.name for file in tmp_path.iterdir()] == ["a.yaml"]


@pytest.mark.rule("CFG-030")
@pytest.mark.parametrize(("suffix", "size"), [(".yaml", 2 << 20), (".toml", 2 << 20), (".json", 5 << 20)])
def test_a_file_of_megabytes_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, size: int
) -> None:
    file = tmp_path / f"run{suffix}"
    with file.open("wb") as stream:
        stream.truncate(size)
    monkeypatch.setattr(Path, "read_text", None)
    with pytest.raises(ConfigError, check=lambda error: error.fields == ("config file",)):
        load_config(file)


@pytest.mark.rule("CFG-030")
def test_thousands_of_keys_are_one_problem(tmp_path: Path) -> None:
    # Each would be compared with all that exist, which takes minutes.
    for content in ({f"k{n}": n for n in range(3000)}, {"model": {f"k{n}": n for n in range(3000)}}):
        file = tmp_path / "run.json"
        file.write_text(json.dumps(content))
        with pytest.raises(ConfigError, check=lambda error: error.fields == ("config file",)):
            load_config(file)


@pytest.mark.rule("CFG-030")
def test_nobody_waits_for_a_pipe_of_settings(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "run.yaml")
    with pytest.raises(ConfigError, check=lambda error: error.fields == ("config file",)):
        load_config(tmp_path / "run.yaml")
