"""Errors carry fields, survive pickling and read as sentences."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

import ptycho_config.errors
from ptycho_torch.errors import BundleError, ConfigError, DataError, Fault, MissingMetadata, ShapeError, fault


@pytest.mark.parametrize("kind", [DataError, BundleError])
def test_one_problem_is_one_line(kind):
    error = kind("frames: all zero", "scan.npz")
    assert str(error) == "scan.npz: frames: all zero"
    assert error.problems == ("frames: all zero",)
    assert error.source == Path("scan.npz")


@pytest.mark.parametrize("kind", [DataError, BundleError])
def test_several_problems_are_listed(kind):
    error = kind(["first", "second"])
    assert str(error) == "2 problems\n  - first\n  - second"
    assert error.source is None


@pytest.mark.parametrize("kind", [DataError, BundleError])
def test_names_say_what_each_problem_is_about(kind):
    error = kind(
        [fault("probe", "all zero"), Fault("no key diff3d", "diff3d"), "the file is empty"], "scan.npz"
    )
    assert error.names == ("probe", "diff3d", "")
    assert error.problems == ("probe: all zero", "no key diff3d", "the file is empty")


def test_a_kind_stays_when_a_problem_is_worded_anew():
    large = Fault("takes 9 GiB", kind="too large")
    error = DataError([fault("probe", large), large.reworded("all of it", "frames"), "the file is empty"])
    assert error.names == ("probe", "frames", "")
    assert error.kinds == ("too large", "too large", "")
    assert error.problems[:2] == ("probe: takes 9 GiB", "all of it")


def test_no_problem_is_a_mistake_of_the_program():
    with pytest.raises(TypeError, match="at least one problem"):
        DataError([])


def test_shape_error_names_expected_and_actual():
    error = ShapeError(
        "probe", "(modes, height, width)", (64, 64), "add a leading mode axis with probe[None]"
    )
    assert str(error) == (
        "probe: expected (modes, height, width), got (64, 64); add a leading mode axis with probe[None]"
    )
    assert (error.name, error.actual) == ("probe", (64, 64))
    assert error.problems == (str(error),)


@pytest.mark.rule("PKG-009")
@pytest.mark.parametrize(
    "error",
    [
        DataError(["a", fault("probe", Fault("b", kind="too large"))], "x.npz"),
        BundleError(Fault("a", "weights.pt")),
        MissingMetadata(fault("metadata", "a"), "x.npz", ["a"]),
        ShapeError("probe", (1, 2), (3,), "transpose it"),
    ],
)
def test_pickling_keeps_the_fields(error):
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)
    for field in ("names", "kinds"):
        assert getattr(copy, field, None) == getattr(error, field, None)


@pytest.mark.rule("PKG-009")
@pytest.mark.parametrize("kind", [DataError, BundleError, ShapeError, ConfigError])
def test_all_are_value_errors(kind):
    assert issubclass(kind, ValueError)


def test_config_error_is_the_one_of_ptycho_config():
    assert ConfigError is ptycho_config.errors.ConfigError
