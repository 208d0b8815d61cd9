"""Settings state everything about themselves, once."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from ptycho_config import (
    SECTIONS,
    ConfigError,
    FieldSpec,
    ModelConfig,
    PyTorchExecutionConfig,
    TrainingConfig,
    field_specs,
    setting,
    spec_of,
)

ALL_SPECS = [spec for cls in SECTIONS.values() for spec in field_specs(cls)]
IDS = [f"{spec.owner}.{spec.name}" for spec in ALL_SPECS]


@pytest.mark.rule("CFG-002")
@pytest.mark.parametrize("spec", ALL_SPECS, ids=IDS)
def test_every_setting_is_fully_stated(spec: FieldSpec) -> None:
    assert spec.help
    assert spec.help[-1] != "."
    assert spec.group
    assert spec.allowed
    assert spec.metavar
    if spec.only_default or spec.no_flag:
        assert spec.flags == spec.off_flags == ()
    else:
        assert spec.flags[0] == "--" + spec.name.replace("_", "-")
        assert bool(spec.off_flags) == (spec.kind == "bool")


@pytest.mark.parametrize("spec", ALL_SPECS, ids=IDS)
def test_every_default_is_allowed_and_already_in_stored_form(spec: FieldSpec) -> None:
    stored = spec.check(spec.default)
    assert stored == spec.default
    assert type(stored) is type(spec.default)


@pytest.mark.parametrize("spec", ALL_SPECS, ids=IDS)
def test_every_default_can_be_typed(spec: FieldSpec) -> None:
    typed = "none" if spec.default is None else str(spec.default)
    assert spec.parse(typed) == spec.default


@pytest.mark.parametrize("spec", ALL_SPECS, ids=IDS)
def test_none_is_accepted_exactly_where_it_is_announced(spec: FieldSpec) -> None:
    assert spec.optional == spec.allowed.endswith("or None")
    if spec.optional:
        assert spec.check(None) is None
    else:
        with pytest.raises(ConfigError):
            spec.check(None)


@pytest.mark.parametrize("spec", ALL_SPECS, ids=IDS)
def test_every_bound_is_enforced(spec: FieldSpec) -> None:
    wrap = (lambda number: [number]) if spec.kind == "int_list" else (lambda number: number)
    kind = float if spec.kind == "float" else int
    outside = [
        bound + step
        for bound, step in ((spec.ge, -1), (spec.gt, 0), (spec.le, 1), (spec.lt, 0))
        if bound is not None
    ]
    if spec.kind in ("int", "float", "int_list"):
        assert outside, "a number without any bound"
    for number in outside:
        with pytest.raises(ConfigError):
            spec.check(wrap(kind(number)))
    for bound in (spec.ge, spec.le):
        if bound is not None:
            spec.check(wrap(kind(bound)))


@pytest.mark.parametrize("name", list(SECTIONS))
def test_no_flag_means_two_settings_of_one_section(name: str) -> None:
    flags = [flag for spec in field_specs(SECTIONS[name]) for flag in (*spec.flags, *spec.off_flags)]
    assert len(flags) == len(set(flags))


@pytest.mark.parametrize("other", ["training", "inference"])
def test_no_flag_means_two_settings_of_one_command(other: str) -> None:
    specs = [spec for name in ("model", other, "execution") for spec in field_specs(SECTIONS[name])]
    flags = [flag for spec in specs for flag in (*spec.flags, *spec.off_flags)]
    assert len(flags) == len(set(flags))


@pytest.mark.parametrize(
    ("cls", "name", "flags"),
    [
        (TrainingConfig, "nepochs", {"--nepochs", "--max-epochs", "--max_epochs"}),
        (TrainingConfig, "train_data_file", {"--train-data-file", "--train-data", "--train_data_file"}),
        (TrainingConfig, "n_groups", {"--n-groups", "--n-images", "--n_images"}),
        (TrainingConfig, "batch_size", {"--batch-size", "--batch_size"}),
        (TrainingConfig, "torch_loss_mode", {"--torch-loss-mode"}),
        (ModelConfig, "gridsize", {"--gridsize"}),
        (SECTIONS["inference"], "model_path", {"--model-path", "--model_path"}),
        (
            SECTIONS["inference"],
            "test_data_file",
            {"--test-data-file", "--test_data_file", "--test-data", "--test_data"},
        ),
        (PyTorchExecutionConfig, "accum_steps", {"--accum-steps", "--accumulate-grad-batches"}),
        (PyTorchExecutionConfig, "logger_backend", {"--logger-backend", "--logger"}),
    ],
)
def test_the_historical_flags_are_there(cls: type, name: str, flags: set[str]) -> None:
    assert set(spec_of(cls, name).flags) == flags


def test_off_flags_read_as_people_say_them() -> None:
    assert spec_of(PyTorchExecutionConfig, "deterministic").off_flags == ("--no-deterministic",)
    assert spec_of(PyTorchExecutionConfig, "enable_checkpointing").off_flags == ("--disable-checkpointing",)


@pytest.mark.parametrize(
    ("cls", "name", "text", "value"),
    [
        (TrainingConfig, "nepochs", " 30 ", 30),
        (TrainingConfig, "nphotons", "1e6", 1e6),
        (TrainingConfig, "n_groups", "none", None),
        (TrainingConfig, "n_groups", "NULL", None),
        (TrainingConfig, "probe_trainable", "yes", True),
        (TrainingConfig, "probe_trainable", "Off", False),
        (PyTorchExecutionConfig, "devices", "auto", "auto"),
        (PyTorchExecutionConfig, "devices", "2", 2),
        (PyTorchExecutionConfig, "deterministic", "warn", "warn"),
        (PyTorchExecutionConfig, "deterministic", "false", False),
        (PyTorchExecutionConfig, "max_time", "00:12:00:00", "00:12:00:00"),
        (PyTorchExecutionConfig, "logger_backend", "none", None),
        (PyTorchExecutionConfig, "recon_log_fixed_indices", "3,1, 4", (3, 1, 4)),
        (PyTorchExecutionConfig, "recon_log_fixed_indices", "[3, 1]", (3, 1)),
    ],
)
def test_parse(cls: type, name: str, text: str, value: Any) -> None:
    assert spec_of(cls, name).parse(text) == value


@pytest.mark.parametrize(
    ("cls", "name", "text", "words"),
    [
        (TrainingConfig, "nepochs", "1.5", "nepochs = '1.5': expected an integer of at least 1"),
        (TrainingConfig, "nepochs", "0", "nepochs = 0: expected an integer of at least 1"),
        (TrainingConfig, "nepochs", "none", "nepochs = 'none': expected an integer"),
        (TrainingConfig, "nphotons", "nan", "NaN and infinity are not accepted"),
        (TrainingConfig, "probe_trainable", "maybe", "expected true or false; write true or false"),
        (PyTorchExecutionConfig, "devices", "many", "an integer of at least 1 or 'auto'"),
        (PyTorchExecutionConfig, "max_time", "12h", "a time as DD:HH:MM:SS"),
        (PyTorchExecutionConfig, "scheduler", "reducelronplateau", "did you mean 'ReduceLROnPlateau'"),
        (PyTorchExecutionConfig, "accelerator", "tpu", "TPUs are not supported"),
        (PyTorchExecutionConfig, "recon_log_fixed_indices", "a,b", "write a list such as 0,5,10"),
        (ModelConfig, "N", "50", "an integer divisible by 16 and of at least 32"),
    ],
)
def test_parse_refuses_in_words(cls: type, name: str, text: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        spec_of(cls, name).parse(text)
    assert words in str(caught.value)


def test_an_unknown_setting_is_suggested() -> None:
    with pytest.raises(ConfigError, check=lambda error: error.fields == ("nepoch",)):
        spec_of(TrainingConfig, "nepoch")


def test_a_setting_without_default_is_required() -> None:
    @dataclasses.dataclass(kw_only=True)
    class Box:
        width: int = setting(help="width of the box", ge=1, group="Size")

    assert field_specs(Box)[0].required
    with pytest.raises(TypeError, match="width"):
        Box()


def test_upper_bounds_and_unions_are_put_in_words() -> None:
    @dataclasses.dataclass(kw_only=True)
    class Box:
        share: float | None = setting(None, help="share", gt=0, le=1, group="Size")

    assert field_specs(Box)[0].allowed == "a finite number greater than 0 and of at most 1 or None"


@dataclasses.dataclass
class _TwoTypes:
    value: int | str = setting(1, help="two types", group="x")


@dataclasses.dataclass
class _OddType:
    value: complex = setting(1j, help="no such kind", group="x")


@pytest.mark.parametrize(
    ("cls", "words"), [(_TwoTypes, "exactly one base type"), (_OddType, "cannot be of type")]
)
def test_a_setting_of_an_unsupported_type_is_a_programming_error(cls: type, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        field_specs(cls)
