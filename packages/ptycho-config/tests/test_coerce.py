"""What people pass becomes plain Python."""

from __future__ import annotations

import os
from enum import Enum
from fractions import Fraction
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from ptycho_config import ConfigError, InferenceConfig, ModelConfig, PyTorchExecutionConfig, TrainingConfig


class Scalar:
    """Stands for a NumPy scalar or zero-dimensional tensor."""

    ndim = 0

    def __init__(self, value: Any) -> None:
        self._value = value

    def item(self) -> Any:
        return self._value


class Index:
    """Stands for any integer-like object."""

    def __index__(self) -> int:
        return 7


class Kind(str, Enum):  # noqa: UP042 - the older form, whose str() is not its value
    PINN = "pinn"


@pytest.mark.parametrize(("value", "stored"), [(30, 30), (Scalar(30), 30), (Index(), 7)])
def test_integers_are_stored_as_int(value: Any, stored: int) -> None:
    kept = TrainingConfig(nepochs=value).nepochs
    assert kept == stored
    assert type(kept) is int


@pytest.mark.parametrize(
    ("value", "stored"), [(1, 1.0), (0.5, 0.5), (Scalar(0.5), 0.5), (Fraction(1, 4), 0.25), (Index(), 7.0)]
)
def test_numbers_are_stored_as_float(value: Any, stored: float) -> None:
    kept = TrainingConfig(mae_weight=value).mae_weight
    assert kept == stored
    assert type(kept) is float


@pytest.mark.rule("CFG-005")
@pytest.mark.parametrize("value", [True, False, Scalar(True), 3.0, 2.5, "3", None, [3], int])
def test_an_integer_setting_refuses_everything_else(value: Any) -> None:
    with pytest.raises(ConfigError, check=lambda error: error.fields == ("nepochs",)):
        TrainingConfig(nepochs=value)


@pytest.mark.rule("CFG-005")
@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), -float("inf"), True, "1", None, 1j, 10**400, [1.0]]
)
def test_a_number_setting_refuses_everything_that_is_no_finite_number(value: Any) -> None:
    with pytest.raises(ConfigError, check=lambda error: error.fields == ("nphotons",)):
        TrainingConfig(nphotons=value)


@pytest.mark.parametrize("value", [1, 0, "true", None, 1.0])
def test_a_yes_no_setting_takes_only_booleans(value: Any) -> None:
    with pytest.raises(ConfigError, check=lambda error: error.fields == ("object_big",)):
        ModelConfig(object_big=value)


def test_boolean_scalars_are_booleans() -> None:
    assert ModelConfig(object_big=Scalar(False)).object_big is False  # type: ignore[arg-type]


def test_a_text_enum_member_is_stored_as_its_text() -> None:
    kept = ModelConfig(model_type=Kind.PINN).model_type
    assert kept == "pinn"
    assert type(kept) is str


@pytest.mark.parametrize("value", ["", "  ", 3, None, b"cnn"])
def test_a_name_must_be_text_with_something_in_it(value: Any) -> None:
    with pytest.raises(ConfigError, check=lambda error: error.fields == ("architecture",)):
        ModelConfig(architecture=value)


@pytest.mark.parametrize("value", ["a/b.npz", Path("a/b.npz"), PurePosixPath("a/b.npz")])
def test_paths_are_stored_as_path_and_need_not_exist(value: str | os.PathLike[str]) -> None:
    assert TrainingConfig(train_data_file=value).train_data_file == Path("a/b.npz")  # type: ignore[arg-type]


@pytest.mark.parametrize("value", ["", 3, b"scan.npz", "a\0b"])
def test_a_path_must_be_one(value: Any) -> None:
    with pytest.raises(ConfigError, check=lambda error: error.fields == ("model_path",)):
        InferenceConfig(model_path=value)


def test_a_list_of_integers_is_stored_as_a_tuple() -> None:
    config = PyTorchExecutionConfig(recon_log_every_n_epochs=1, recon_log_fixed_indices=[Scalar(3), 0])  # type: ignore[arg-type]
    assert config.recon_log_fixed_indices == (3, 0)


@pytest.mark.parametrize("value", [[-1], [True], "0,1", 3, [1.5], {0: 1}])
def test_a_list_of_integers_refuses_other_things(value: Any) -> None:
    with pytest.raises(ConfigError, check=lambda error: error.fields == ("recon_log_fixed_indices",)):
        PyTorchExecutionConfig(recon_log_every_n_epochs=1, recon_log_fixed_indices=value)


@pytest.mark.parametrize(
    ("value", "advice"),
    [
        (True, "true and false are not numbers here"),
        (3.0, "write 3 without a fraction"),
        ("3", "write the number without quotes"),
    ],
)
def test_the_advice_fits_the_mistake(value: Any, advice: str) -> None:
    with pytest.raises(ConfigError, check=lambda error: error.problems[0].hint == advice):
        TrainingConfig(nepochs=value)


def test_the_word_none_is_explained() -> None:
    with pytest.raises(
        ConfigError,
        check=lambda error: error.fields == ("logger_backend",) and error.problems[0].value == "none",
    ):
        PyTorchExecutionConfig(logger_backend="none")


def test_one_path_or_several_in_their_order() -> None:
    several = TrainingConfig(train_data_file=["b.npz", Path("a.npz")])  # type: ignore[arg-type]
    assert several.train_data_file == (Path("b.npz"), Path("a.npz"))
    assert TrainingConfig(train_data_file=["b.npz"]).train_data_file == Path("b.npz")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        ([], "the list is empty"),
        (["a", "a"], "'a' is in the list twice"),
        ([""], "the path is empty"),
        (3, ""),
    ],
)
def test_lists_that_name_no_files(value: object, hint: str) -> None:
    with pytest.raises(ConfigError, check=lambda error: error.fields == ("train_data_file",)) as caught:
        TrainingConfig(train_data_file=value)  # type: ignore[arg-type]
    assert hint in str(caught.value)
