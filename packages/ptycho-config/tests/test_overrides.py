"""Layers, facts and requirements become one configuration."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptycho_config import (
    JOBS,
    LAYERS,
    SECTIONS,
    Config,
    ConfigError,
    Fact,
    InferenceConfig,
    ModelConfig,
    Profile,
    PyTorchExecutionConfig,
    Resolution,
    TrainingConfig,
    parse_assignments,
    resolve,
    schema_of_job,
    spec_of,
    stated_fields,
)

Schema = dict[str, type[Config]]


_WORDS = {
    "num_workers": ("execution", st.integers(0, 64)),
    "learning_rate": ("execution", st.floats(1e-9, 1.0)),
    "batch_size": ("training", st.integers(1, 512)),
    "n_groups": ("training", st.none() | st.integers(1, 10_000)),
    "n_filters_scale": ("model", st.integers(1, 8)),
}


@st.composite
def _stated(draw: st.DrawFn) -> dict[str, dict[str, Any]]:
    """What each layer states; a layer may be missing, or state nothing."""
    found = {}
    for layer in draw(st.lists(st.sampled_from(LAYERS), unique=True)):
        known = [
            n for n, (section, _) in _WORDS.items() if layer != "execution_config" or section == "execution"
        ]
        names = draw(st.lists(st.sampled_from(known), unique=True))
        found[layer] = {name: draw(_WORDS[name][1]) for name in names}
    return found


def _as_layer(layer: str, values: dict[str, Any], *, by_section: bool) -> Any:
    sections: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        sections.setdefault(_WORDS[name][0], {})[name] = value
    if layer == "profile":
        return Profile("p", "p", sections)
    return sections if by_section and layer != "execution_config" else values


@pytest.mark.rule("CFG-010")
@given(_stated(), st.booleans())
def test_the_highest_layer_that_speaks_wins(stated: dict[str, dict[str, Any]], by_section: bool) -> None:
    schema = {name: SECTIONS[name] for name in ("model", "training", "execution")}
    done = resolve(schema, **{k: _as_layer(k, v, by_section=by_section) for k, v in stated.items()})
    for name, (section, _) in _WORDS.items():
        default = spec_of(schema[section], name).default
        speaking = [(layer, stated[layer][name]) for layer in LAYERS if name in stated.get(layer, {})]
        first, *below = [*speaking, ("default", default)]
        found = done.provenance[name]
        assert (found.layer, found.value) == first
        assert list(found.outranked) == below
        assert getattr(done.configs[section], name) == first[1]


@pytest.mark.rule("CFG-011")
def test_none_speaks_and_absence_does_not(training_schema: Schema) -> None:
    assert (
        resolve(training_schema, overrides={"n_groups": None}, cli={"n_groups": 5})
        .provenance["n_groups"]
        .value
        is None
    )
    assert resolve(training_schema, overrides={}, cli={"n_groups": 5}).provenance["n_groups"].value == 5


def test_the_objects_are_built_and_the_model_is_shared(training_schema: Schema) -> None:
    done = resolve(training_schema, overrides={"N": 128, "nepochs": 2, "num_workers": 1})
    assert list(done.configs) == ["model", "training", "execution"]
    assert done.configs["training"] == TrainingConfig(model=ModelConfig(N=128), nepochs=2)
    assert done.configs["training"].model is done.configs["model"]  # type: ignore[attr-defined]
    assert done.configs["execution"] == PyTorchExecutionConfig(num_workers=1)
    assert stated_fields(done.configs["execution"]) == {"num_workers": 1}


@pytest.mark.rule("CFG-017")
def test_what_was_applied_is_what_differs_and_every_execution_setting(training_schema: Schema) -> None:
    done = resolve(training_schema, overrides={"nepochs": 2, "batch_size": 16})
    knobs = PyTorchExecutionConfig()
    assert done.overrides_applied == {
        "nepochs": 2,
        **{field.name: getattr(knobs, field.name) for field in dataclasses.fields(knobs)},
    }


@pytest.mark.rule("CFG-015")
def test_all_problems_of_all_layers_come_at_once(
    training_schema: Schema, problems_of: Callable[..., dict[str, str]]
) -> None:
    found = problems_of(
        resolve,
        training_schema,
        overrides={"nepoch": 3, "batch_size": 0},
        cli={"gridsize": "two"},
        file={"num_worker": 1, "execution": {"prefetch_factor": 2}},
        profile="quik",
        facts={"nphotons": 3.0},
        required=("train_data_file",),
    )
    assert set(found) == {
        "profile", "nepoch", "batch_size", "gridsize", "num_worker", "prefetch_factor", "train_data_file",
    }  # fmt: skip
    assert "given by overrides as batch_size" in found["batch_size"]


def test_contradictions_between_layers_are_found(
    training_schema: Schema, problems_of: Callable[..., dict[str, str]]
) -> None:
    found = problems_of(
        resolve, training_schema, overrides={"num_workers": 0}, file={"persistent_workers": True}
    )
    assert "set num_workers to at least 1" in found["persistent_workers"]
    grid = problems_of(resolve, training_schema, cli={"gridsize": 3})
    assert "raise neighbor_count or lower gridsize" in grid["neighbor_count"]


@pytest.mark.rule("CFG-013")
def test_a_fact_fills_what_nobody_stated(training_schema: Schema) -> None:
    done = resolve(
        training_schema, facts={"N": Fact(128, "probeGuess in scan.npz"), "training.nphotons": 1e6}
    )
    assert str(done.provenance["N"]) == "N = 128  [data: probeGuess in scan.npz]  over default=64"
    assert str(done.provenance["nphotons"]) == "nphotons = 1e+06  [data]  over default=1e+09"


@pytest.mark.rule("CFG-013")
@pytest.mark.parametrize("layer", ["overrides", "cli", "file", "profile"])
def test_a_fact_contradicts_any_layer(
    layer: str, training_schema: Schema, problems_of: Callable[..., dict[str, str]]
) -> None:
    values: Any = {"training": {"nphotons": 5.0}}
    stated = Profile("p", "p", values) if layer == "profile" else values
    found = problems_of(
        resolve, training_schema, facts={"nphotons": Fact(7.0, "_metadata")}, **{layer: stated}
    )
    assert f"expected 7, which the data say (_metadata), but {layer} states 5" in found["nphotons"]


def test_a_fact_in_single_precision_is_no_contradiction(training_schema: Schema) -> None:
    done = resolve(training_schema, cli={"nphotons": 1.1e6}, facts={"nphotons": 1100000.05})
    assert done.provenance["nphotons"].value == 1.1e6


def test_agreeing_with_a_fact_leaves_no_trace(training_schema: Schema) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        done = resolve(training_schema, cli={"N": 128}, facts={"N": 128})
    assert str(done.provenance["N"]) == "N = 128  [cli]  over default=64"
    assert done.notes == ()


@pytest.mark.rule("CFG-014")
def test_a_smaller_frame_is_cropped_with_a_warning_and_a_note(training_schema: Schema) -> None:
    with pytest.warns(
        UserWarning, match="N = 64.*smaller than the 128 of the data.*probe.*cropped"
    ) as caught:
        done = resolve(training_schema, cli={"N": 64}, facts={"N": Fact(128, "probe")})
    assert caught[0].filename == __file__
    assert done.configs["model"].N == 64  # type: ignore[attr-defined]
    assert str(done.provenance["N"]) == "N = 64  [cli]  over data=128  over default=64"
    assert done.notes == (
        "N = 64 [cli] is smaller than the 128 of the data (probe); "
        "frames and probe cropped around the centre",
    )


def test_frames_that_fit_no_network_can_be_cropped(
    training_schema: Schema, problems_of: Callable[..., dict[str, str]]
) -> None:
    found = problems_of(resolve, training_schema, facts={"N": Fact(100, "probe")})
    assert "read from the data (probe); state N = 96 to crop the frames" in found["N"]
    with pytest.warns(UserWarning, match="smaller than the 100"):
        assert resolve(training_schema, cli={"N": 96}, facts={"N": 100}).configs["model"] == ModelConfig(N=96)


def test_a_larger_frame_is_an_error(
    training_schema: Schema, problems_of: Callable[..., dict[str, str]]
) -> None:
    found = problems_of(resolve, training_schema, cli={"N": 128}, facts={"N": 64})
    assert "expected 64, which the data say, but cli states 128" in found["N"]
    assert "never enlarged" in found["N"]


@pytest.mark.parametrize("value", [None, "x"])
def test_a_fact_that_is_no_size_contradicts_like_any_other(
    value: Any, training_schema: Schema, problems_of: Callable[..., dict[str, str]]
) -> None:
    found = problems_of(resolve, training_schema, cli={"N": 64}, facts={"N": value})
    assert f"expected {value}, which the data say, but cli states 64" in found["N"]


def test_an_unknown_fact_is_a_problem(
    training_schema: Schema, problems_of: Callable[..., dict[str, str]]
) -> None:
    assert "did you mean 'nphotons'" in problems_of(resolve, training_schema, facts={"nphoton": 1})["nphoton"]


def test_required_settings(training_schema: Schema, problems_of: Callable[..., dict[str, str]]) -> None:
    needed = ("train_data_file", "n_groups")
    found = problems_of(resolve, training_schema, required=needed)
    assert set(found) == set(needed)
    assert (
        "train_data_file: missing; expected a path or a list of paths; scan to learn from"
        in found["train_data_file"]
    )
    assert "state it with --n-groups or as training.n_groups in a file" in found["n_groups"]
    done = resolve(
        training_schema, file={"train_data_file": "a.npz"}, cli={"n_groups": None}, required=needed
    )
    assert done.configs["training"].train_data_file == Path("a.npz")  # type: ignore[attr-defined]


def test_none_is_no_answer_to_a_required_path(
    training_schema: Schema, problems_of: Callable[..., dict[str, str]]
) -> None:
    found = problems_of(
        resolve, training_schema, overrides={"train_data_file": None}, required=("training.train_data_file",)
    )
    assert set(found) == {"train_data_file"}


def test_a_wrong_required_setting_is_not_called_missing_too(
    training_schema: Schema, problems_of: Callable[..., dict[str, str]]
) -> None:
    found = problems_of(resolve, training_schema, cli={"n_groups": 0}, required=("n_groups",))
    assert "missing" not in found["n_groups"]


def test_requiring_what_does_not_exist_is_a_programming_error(training_schema: Schema) -> None:
    with pytest.raises(KeyError, match="model_path"):
        resolve(training_schema, required=("model_path",))


def test_resolving_changes_none_of_its_inputs(training_schema: Schema) -> None:
    overrides = {"max_epochs": 3, "training": {"n_groups": 5}}
    resolve(training_schema, overrides=overrides)
    assert overrides == {"max_epochs": 3, "training": {"n_groups": 5}}


def test_a_fresh_schema_may_hold_one_section_only() -> None:
    assert resolve({"model": ModelConfig}, cli={"N": 96}).configs == {"model": ModelConfig(N=96)}
    assert resolve({"training": TrainingConfig}).configs["training"] == TrainingConfig()


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("training.nepochs=30", "training.nepochs", 30),
        ("n_groups = none", "n_groups", None),
        ("max_epochs=4", "max_epochs", 4),
        ("mode=Unsupervised", "mode", "pinn"),
        ("grid_size=2,2", "grid_size", 2),
        ("train_data_file=a=b.npz", "train_data_file", Path("a=b.npz")),
        ("deterministic=warn", "deterministic", "warn"),
        ("learning_rate=1e-4", "learning_rate", 1e-4),
    ],
)
def test_assignments_are_read_by_their_type(text: str, key: str, value: Any, training_schema: Schema) -> None:
    layer = parse_assignments(training_schema, [text])
    assert layer == {key: value}
    resolve(training_schema, cli=layer)


def test_wrong_assignments_are_reported_together(
    training_schema: Schema, problems_of: Callable[..., dict[str, str]]
) -> None:
    found = problems_of(
        parse_assignments, training_schema, ["nepochs", "nepoch=3", "batch_size=many", "debug=true"]
    )
    assert set(found) == {"--set", "nepoch", "batch_size", "debug"}
    assert "expected key=value; write --set training.nepochs=30" in found["--set"]
    assert "expected an integer of at least 1" in found["batch_size"]
    assert "belongs to inference" in found["debug"]


def test_the_last_assignment_of_a_key_counts() -> None:
    assert parse_assignments(SECTIONS, ["nepochs=3", "nepochs=4"]) == {"nepochs": 4}


def test_a_job_has_the_sections_in_which_something_has_an_effect() -> None:
    assert {job: list(schema_of_job(job)) for job in JOBS} == {
        "train": ["model", "training", "orientation", "parts", "execution"],
        "infer": ["model", "inference", "orientation", "parts", "refine", "execution"],
        "refine": ["orientation", "parts", "refine_data", "refine", "execution"],
        "live": ["orientation", "parts", "live", "refine", "execution"],
        "tune": ["orientation", "parts", "refine_data", "refine", "tune", "execution"],
    }
    with pytest.raises(KeyError, match="evaluate"):
        schema_of_job("evaluate")


@pytest.mark.parametrize("layer", LAYERS)
def test_a_setting_without_effect_in_the_job_is_refused_or_left_aside(
    layer: str, problems_of: Callable[..., dict[str, str]]
) -> None:
    schema = schema_of_job("infer")

    def given(**values: Any) -> dict[str, Any]:
        known = {"execution": values}
        return {layer: {"profile": Profile("p", "p", known), "execution_config": values}.get(layer, known)}

    without = resolve(schema, job="infer", **given(precision="32-true", middle_trim=4))
    assert not without.notes
    assert without.overrides_applied["middle_trim"] == 4
    assert "precision" not in without.overrides_applied
    if layer in ("file", "profile"):
        done = resolve(schema, job="infer", **given(precision="16-mixed"))
        assert done.provenance["precision"].value == "32-true"
        assert any("precision" in note for note in done.notes)
    else:
        found = problems_of(resolve, schema, job="infer", **given(precision="16-mixed", num_workers=-1))
        assert set(found) == {"precision", "num_workers"}
    assert resolve(schema, **given(precision="16-mixed")).provenance["precision"].value == "16-mixed"


@pytest.mark.rule("CFG-018")
@pytest.mark.parametrize("layer", ["overrides", "cli", "file"])
@pytest.mark.parametrize(
    ("written", "name", "value"),
    [
        ({"accumulate_grad_batches": 4}, "accum_steps", 4),
        ({"execution": {"accumulate_grad_batches": 4}}, "accum_steps", 4),
        ({"training": {"gradient_clip_algorithm": "value"}}, "gradient_clip_algorithm", "value"),
        ({"training.gradient_clip_algorithm": "value"}, "gradient_clip_algorithm", "value"),
    ],
)
def test_other_names_and_places_are_read_in_every_layer_and_noted(
    layer: str, written: dict[str, Any], name: str, value: object, training_schema: Schema
) -> None:
    done = resolve(training_schema, **{layer: written})
    assert done.provenance[f"execution.{name}"].value == value
    assert getattr(done.configs["execution"], name) == value
    assert any(name in note and "older spelling" in note for note in done.notes)
    both = {**written, f"execution.{name}": 2 if value == 4 else "norm"}
    with pytest.raises(ConfigError, check=lambda error: error.fields == (name,)):
        resolve(training_schema, **{layer: both})


@pytest.mark.rule("CFG-018")
def test_other_names_and_places_are_read_as_assignments(training_schema: Schema) -> None:
    texts = ["accumulate_grad_batches=4", "training.gradient_clip_algorithm=value"]
    done = resolve(training_schema, cli=parse_assignments(training_schema, texts))
    assert done.provenance["accum_steps"].value == 4
    assert done.provenance["gradient_clip_algorithm"].value == "value"


def test_facts_may_come_from_what_the_layers_resolve_to(training_schema: Any) -> None:
    seen = []

    def facts(stated: Resolution) -> dict[str, Any]:
        seen.append(stated.config(TrainingConfig).train_data_file)
        return {"N": 96}

    done = resolve(training_schema, cli={"train_data_file": "a.npz"}, file={"max_epochs": 3}, facts=facts)
    assert seen == [Path("a.npz")]
    assert done.config(TrainingConfig).model.N == 96
    assert done.provenance["N"].layer == "data"
    # The layers are read once: what is noted of them is noted once.
    assert len(done.notes) == 1


def test_facts_are_not_asked_of_layers_that_are_wrong(training_schema: Any) -> None:
    def facts(stated: Resolution) -> dict[str, Any]:
        raise AssertionError("asked")

    with pytest.raises(ConfigError):
        resolve(training_schema, cli={"nepochs": 0}, facts=facts)


def test_a_configuration_is_found_by_its_class(training_schema: Any) -> None:
    done = resolve(training_schema, cli={"nepochs": 3})
    assert done.config(TrainingConfig).nepochs == 3
    with pytest.raises(KeyError, match="InferenceConfig"):
        done.config(InferenceConfig)
