"""All the names one setting answers to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ptycho_config import SECTIONS, Config, ModelConfig, PyTorchExecutionConfig, TrainingConfig, resolve


@pytest.mark.parametrize(
    "layer",
    [
        {"nepochs": 3},
        {"training.nepochs": 3},
        {"training": {"nepochs": 3}},
        {"training": TrainingConfig(nepochs=3)},
        {"max_epochs": 3},
        {"training.max_epochs": 3},
        {"training": {"max_epochs": 3}},
    ],
)
def test_every_way_to_write_a_key(layer: dict[str, Any], training_schema: dict[str, type[Config]]) -> None:
    assert resolve(training_schema, cli=layer).provenance["nepochs"].value == 3


@pytest.mark.rule("CFG-018")
@pytest.mark.parametrize(
    ("old", "value", "new", "stored"),
    [
        ("max_epochs", 3, "nepochs", 3),
        ("K", 6, "neighbor_count", 6),
        ("mode", "Unsupervised", "model_type", "pinn"),
        ("mode", "Supervised", "model_type", "supervised"),
        ("mode", "pinn", "model_type", "pinn"),
        ("n_images", 9, "n_groups", 9),
        ("n_images", None, "n_groups", None),
        ("grid_size", (2, 2), "gridsize", 2),
        ("grid_size", [2, 2], "gridsize", 2),
        ("grid_size", 2, "gridsize", 2),
        ("n_devices", 2, "devices", 2),
    ],
)
@pytest.mark.parametrize("layer", ["overrides", "cli", "file"])
def test_older_spellings_are_read_and_recorded(
    layer: str, old: str, value: Any, new: str, stored: Any, training_schema: dict[str, type[Config]]
) -> None:
    done = resolve(training_schema, **{layer: {old: value}})  # type: ignore[arg-type]
    assert done.provenance[new].value == stored
    assert done.provenance[new].layer == layer
    assert done.notes == (f"{layer}: {old} is an older spelling, read as {new} = {stored}",)


@pytest.mark.parametrize("value", [(2, 3), (2, 2, 2), "2x2", (0, 0), ()])
def test_a_grid_that_is_not_square_is_refused(
    value: Any, training_schema: dict[str, type[Config]], problems_of: Callable[..., dict[str, str]]
) -> None:
    found = problems_of(resolve, training_schema, overrides={"grid_size": value})
    assert "given by overrides as grid_size" in found["gridsize"]


@pytest.mark.rule("CFG-018")
def test_two_spellings_in_one_layer_must_agree(
    training_schema: dict[str, type[Config]], problems_of: Callable[..., dict[str, str]]
) -> None:
    found = problems_of(resolve, training_schema, cli={"K": 3, "neighbor_count": 5})
    assert "K = 3 is given beside neighbor_count = 5; keep one of them in cli" in found["neighbor_count"]
    assert resolve(training_schema, cli={"K": 5, "neighbor_count": 5}).provenance["neighbor_count"].value == 5


def test_two_spellings_in_two_layers_are_ranked(training_schema: dict[str, type[Config]]) -> None:
    done = resolve(training_schema, cli={"max_epochs": 3}, file={"nepochs": 4})
    assert str(done.provenance["nepochs"]) == "nepochs = 3  [cli]  over file=4  over default=50"


@pytest.mark.rule("CFG-015")
@pytest.mark.parametrize(
    ("layer", "field", "words"),
    [
        ({"nepoch": 3}, "nepoch", "expected a known setting; did you mean 'nepochs'"),
        ({"training.nepoch": 3}, "training.nepoch", "expected a setting of training; did you mean 'nepochs'"),
        ({"training": {"nepoch": 3}}, "training.nepoch", "did you mean 'nepochs'"),
        ({"trainin": {"nepochs": 3}}, "trainin", "expected one of the sections model, training"),
        ({"trainin.nepochs": 3}, "trainin.nepochs", "did you mean 'training'"),
        ({"training.N": 64}, "training.N", "expected a setting of training"),
        ({"training": 3}, "training", "expected settings by name, such as training: {...}"),
        ({"zzzz": 3}, "zzzz", "given by cli"),
        ({"max_epoch": 3}, "max_epoch", "did you mean 'max_epochs'"),
        ({"execution.nepochs": 3}, "execution.nepochs", "expected a setting of execution; given by cli"),
        ({"": 3}, "", "expected a known setting"),
        ({"training.": 3}, "training.", "expected a setting of training"),
        ({3: 4}, "3", "the name of a setting as text"),
    ],
)
def test_unknown_keys(
    layer: dict[Any, Any],
    field: str,
    words: str,
    training_schema: dict[str, type[Config]],
    problems_of: Callable[..., dict[str, str]],
) -> None:
    found = problems_of(resolve, training_schema, cli=layer)
    assert list(found) == [field]
    assert words in found[field]


@pytest.mark.rule("CFG-019")
def test_settings_of_another_command_are_refused_where_they_were_meant(
    inference_schema: dict[str, type[Config]], problems_of: Callable[..., dict[str, str]]
) -> None:
    found = problems_of(resolve, inference_schema, cli={"nepochs": 3})
    assert "belongs to training" in found["nepochs"]


@pytest.mark.rule("CFG-019")
def test_settings_of_another_command_in_a_file_are_left_aside(
    inference_schema: dict[str, type[Config]],
) -> None:
    done = resolve(inference_schema, file={"training": {"nepochs": 3}, "max_epochs": 3, "execution": None})
    assert "training" not in done.configs
    assert done.notes == (
        "file: training.nepochs belongs to training, which has no effect here; ignored",
        "file: max_epochs belongs to training, which has no effect here; ignored",
    )


def test_a_name_of_two_sections_counts_for_all_in_use(training_schema: dict[str, type[Config]]) -> None:
    both = resolve(SECTIONS, cli={"output_dir": "here"})
    assert both.provenance["training.output_dir"].value == both.provenance["inference.output_dir"].value
    assert "output_dir" not in both.provenance
    assert resolve(training_schema, cli={"output_dir": "here"}).provenance["output_dir"].layer == "cli"


def test_a_configuration_inside_a_configuration_is_read_too(training_schema: dict[str, type[Config]]) -> None:
    layer = {"training": TrainingConfig(model=ModelConfig(N=96), nepochs=4)}
    done = resolve(training_schema, file=layer)
    assert done.provenance["N"].value == 96
    assert done.provenance["gridsize"].layer == "default"


@pytest.mark.rule("CFG-012")
def test_execution_settings_from_an_object_are_those_it_stated(
    training_schema: dict[str, type[Config]],
) -> None:
    done = resolve(
        training_schema,
        execution_config=PyTorchExecutionConfig(num_workers=0),
        cli={"num_workers": 2, "devices": 3},
    )
    assert (
        str(done.provenance["num_workers"])
        == "num_workers = 0  [execution_config]  over cli=2  over default=0"
    )
    assert done.provenance["devices"].layer == "cli"
