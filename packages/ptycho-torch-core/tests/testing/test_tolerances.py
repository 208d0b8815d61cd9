"""The tolerance table and the comparison that uses it."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
import torch

import ptycho_torch.testing.tolerances as module
from ptycho_torch.testing import TOLERANCES, assert_close, relative_error, tolerance


@pytest.mark.parametrize("dtype", list(TOLERANCES))
def test_tolerances_leave_room_for_rounding_and_no_more(dtype):
    eps = torch.finfo(dtype).eps
    assert eps < tolerance(dtype) < 1e4 * eps


def test_integers_have_no_tolerance():
    with pytest.raises(KeyError, match="int64"):
        tolerance(torch.int64)


def test_error_is_relative_to_the_largest_value():
    assert relative_error(torch.tensor([10.0, 0.1]), np.array([10.0, 0.0])) == pytest.approx(0.01)
    assert relative_error(torch.tensor([0.5]), torch.tensor([0.0])) == 0.5
    assert relative_error(torch.empty(0), torch.empty(0)) == 0


def test_shapes_are_not_broadcast():
    with pytest.raises(AssertionError, match=r"expected shape \(3,\), got \(1, 3\)"):
        relative_error(torch.ones(1, 3), torch.ones(3))


@pytest.mark.parametrize("dtype", list(TOLERANCES))
def test_dtype_of_the_result_sets_what_is_allowed(dtype):
    expected = torch.full((4,), 4.0, dtype=torch.float64)
    assert_close(torch.full((4,), 4.0, dtype=dtype), expected)
    with pytest.raises(AssertionError, match=str(dtype)):
        assert_close(torch.full((4,), 4.0, dtype=dtype), expected * (1 + 3 * tolerance(dtype)))
    assert_close(torch.full((4,), 4.0, dtype=dtype), expected * (1 + 3 * tolerance(dtype)), factor=4)


def test_not_a_number_is_not_close():
    with pytest.raises(AssertionError, match="nan"):
        assert_close(torch.tensor([float("nan")]), torch.tensor([1.0]))


def test_example_runs():
    assert doctest.testmod(module, extraglobs={"torch": torch}).failed == 0
