"""Problems say what was wrong, what was expected and what to do."""

from __future__ import annotations

import copy
import pickle

import pytest

from ptycho_config import MISSING, ConfigError, Problem, suggest


def test_a_problem_reads_as_value_expectation_and_advice() -> None:
    problem = Problem("batch_size", 0, "an integer of at least 1", "raise it")
    assert str(problem) == "batch_size = 0: expected an integer of at least 1; raise it"


def test_a_missing_value_is_not_shown_as_a_value() -> None:
    assert str(Problem("n_groups", MISSING, "an integer")) == "n_groups: missing; expected an integer"


def test_a_long_value_is_cut_in_the_middle() -> None:
    text = str(Problem("model_path", "/data/" + "deep/" * 1000 + "model", "a file that exists"))
    assert len(text) < 150
    assert "'/data/deep/" in text
    assert "..." in text
    assert "/deep/model':" in text


@pytest.mark.rule("CFG-004")
def test_an_error_is_a_value_error_that_lists_every_problem() -> None:
    error = ConfigError([Problem("a", 1, "2"), Problem("b", 3, "4")])
    assert isinstance(error, ValueError)
    assert str(error).splitlines() == [
        "2 problems in the configuration:",
        "  - a = 1: expected 2",
        "  - b = 3: expected 4",
    ]


def test_a_single_problem_needs_no_list() -> None:
    assert str(ConfigError(Problem("a", 1, "2"))) == "a = 1: expected 2"


def test_an_error_survives_pickling_as_between_processes() -> None:
    error = ConfigError([Problem("a", MISSING, "2")])
    back = pickle.loads(pickle.dumps(error))
    assert back.problems == error.problems
    assert back.problems[0].value is MISSING


def test_missing_is_one_object_and_false() -> None:
    assert copy.deepcopy(MISSING) is MISSING
    assert type(MISSING)() is MISSING
    assert not MISSING
    assert repr(MISSING) == "MISSING"


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("nepoch", "did you mean 'nepochs'?"),
        ("batch-size", "did you mean 'batch_size'?"),
        ("BATCH_SIZE", "did you mean 'batch_size'?"),
        ("zzzz", ""),
    ],
)
def test_suggest(word: str, expected: str) -> None:
    assert suggest(word, ["nepochs", "batch_size"]) == expected


def test_a_value_of_billions_of_parts_is_shown_without_looking_at_all_of_them():
    bomb: list[object] = ["x"] * 8
    for _ in range(12):
        bomb = [bomb] * 8
    said = str(Problem("nepochs", {"a": bomb}, "a number"))
    assert said.startswith("nepochs = {'a': ")
    assert len(said) < 500
