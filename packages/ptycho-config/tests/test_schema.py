"""JSON schema and tables say what validation does."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

from ptycho_config import (
    SECTIONS,
    Config,
    ModelConfig,
    PyTorchExecutionConfig,
    TrainingConfig,
    field_specs,
    file_schema,
    json_schema,
    markdown_table,
    to_dict,
)


@pytest.mark.parametrize("cls", SECTIONS.values())
def test_the_schema_is_one_and_accepts_the_defaults(cls: type[Config]) -> None:
    schema = json.loads(json.dumps(json_schema(cls)))
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(to_dict(cls()), schema)


WRONG: list[tuple[type[Config], dict[str, Any]]] = [
    (ModelConfig, {"N": 50}),
    (ModelConfig, {"N": 16}),
    (ModelConfig, {"N": "64"}),
    (ModelConfig, {"architecture": ""}),
    (ModelConfig, {"model_type": "other"}),
    (ModelConfig, {"object_big": None}),
    (TrainingConfig, {"nepochs": 0}),
    (TrainingConfig, {"nphotons": 0}),
    (TrainingConfig, {"adam_beta1": 1}),
    (PyTorchExecutionConfig, {"devices": "many"}),
    (PyTorchExecutionConfig, {"deterministic": "maybe"}),
    (PyTorchExecutionConfig, {"max_time": "1h"}),
    (PyTorchExecutionConfig, {"accelerator": "tpu"}),
    (PyTorchExecutionConfig, {"recon_log_fixed_indices": [-1]}),
    (PyTorchExecutionConfig, {"num_worker": 1}),
]
RIGHT: list[tuple[type[Config], dict[str, Any]]] = [
    (ModelConfig, {"N": 96}),
    (TrainingConfig, {"n_groups": None}),
    (TrainingConfig, {"model": {"N": 128}}),
    (PyTorchExecutionConfig, {"devices": 2}),
    (PyTorchExecutionConfig, {"deterministic": "warn"}),
    (PyTorchExecutionConfig, {"max_time": "00:12:00:00"}),
    (PyTorchExecutionConfig, {"logger_backend": None}),
]


@pytest.mark.parametrize(("cls", "values"), WRONG)
def test_what_validation_refuses_the_schema_refuses(cls: type[Config], values: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(values, json_schema(cls))
    with pytest.raises((ValueError, TypeError)):
        cls(**values)


@pytest.mark.parametrize(("cls", "values"), RIGHT)
def test_what_validation_accepts_the_schema_accepts(cls: type[Config], values: dict[str, Any]) -> None:
    jsonschema.validate(values, json_schema(cls))


def test_a_file_is_described_by_section() -> None:
    schema = file_schema()
    jsonschema.validate({"training": {"nepochs": 3}, "execution": {}}, schema)
    for wrong in ({"trainin": {}}, {"training": {"nepoch": 3}}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema)


@pytest.mark.rule("CFG-002")
@pytest.mark.parametrize("cls", SECTIONS.values())
def test_the_table_has_a_row_for_every_setting(cls: type[Config]) -> None:
    lines = markdown_table(cls).splitlines()
    for spec in field_specs(cls):
        rows = [line for line in lines if line.startswith(f"| `{spec.name}` |")]
        assert len(rows) == 1
        assert spec.help in rows[0]
        assert rows[0].replace("\\|", "").count("|") == 6
