"""Which domain the values are in, how that is known, and the conversion to counts."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from ptycho_torch.data.scan.domain import decide_domain, to_counts
from ptycho_torch.diagnosis.domain import Witness
from ptycho_torch.errors import DataError

COUNTS = np.random.default_rng(1).poisson(np.geomspace(0.01, 5e4, 10 * 32 * 32).reshape(10, 32, 32))
SMOOTH = np.random.default_rng(2).gamma(2.0, 3.0, size=(10, 32, 32))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.int64, ">u2"])
def test_integer_dtype_means_counts(dtype):
    decision = decide_domain((COUNTS % 200).astype(dtype))
    assert (decision.domain, decision.stated) == ("counts", False)
    assert "integer dtype" in decision.reason


@pytest.mark.rule("DATA-021")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_integer_values_mean_counts(dtype):
    decision = decide_domain(COUNTS.astype(dtype))
    assert decision.domain == "counts"
    assert "values are integers" in decision.reason


@pytest.mark.rule("DATA-021")
@pytest.mark.parametrize("dtype", [np.float32, np.float64, ">f4"])
def test_integer_squares_mean_amplitude(dtype):
    decision = decide_domain(np.sqrt(COUNTS).astype(dtype))
    assert decision.domain == "amplitude"
    assert "squares" in decision.reason


@pytest.mark.rule("DATA-021")
def test_anything_else_is_amplitude_and_a_guess():
    decision = decide_domain(SMOOTH)
    assert decision.domain == "amplitude"
    assert decision.is_guess
    assert not decision.is_whole


def test_witnesses_decide_before_that():
    sure = Witness(name="probe", counts=0.01, amplitude=0.1, said="the probe fits")
    unsure = Witness(name="probe", counts=0.09, amplitude=0.1, said="the probe fits")
    decision = decide_domain(SMOOTH, hear=lambda: [sure])
    assert decision.domain == "counts"
    assert not decision.is_guess
    assert "factor of 10" in decision.reason
    assert decide_domain(SMOOTH, hear=lambda: [unsure]).is_guess


def test_a_sure_decision_is_logged_quietly(caplog):
    with caplog.at_level(logging.INFO, logger="ptycho_torch.data.scan.domain"):
        decide_domain(COUNTS)
    assert [record.levelname for record in caplog.records] == ["INFO"]


@pytest.mark.rule("DATA-020", "DATA-024")
def test_statement_of_caller_or_file_decides():
    for requested, in_file in (
        ("counts", None),
        ("auto", "counts"),
        ("counts", "counts"),
        ("counts", "auto"),
    ):
        decision = decide_domain(SMOOTH, requested=requested, in_file=in_file)
        assert (decision.domain, decision.stated) == ("counts", True)


@pytest.mark.rule("DATA-020")
def test_two_statements_that_differ_are_both_named():
    with pytest.raises(DataError, check=lambda error: error.names == ("measurement_domain",)):
        decide_domain(SMOOTH, requested="counts", in_file="amplitude")


@pytest.mark.parametrize("statement", [{"requested": "intensity"}, {"in_file": "intensity"}])
def test_unknown_domain_lists_the_known(statement):
    with pytest.raises(DataError, check=lambda error: error.names == ("measurement_domain",)):
        decide_domain(SMOOTH, **statement)


@pytest.mark.rule("DATA-022")
def test_amplitudes_stated_as_counts_are_refused():
    with pytest.raises(DataError, check=lambda error: error.names == ("measurement_domain",)):
        decide_domain(np.sqrt(COUNTS).astype(np.float32), requested="counts")


@pytest.mark.rule("DATA-022")
@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_counts_stated_as_amplitudes_are_refused(dtype):
    with pytest.raises(DataError, check=lambda error: error.names == ("measurement_domain",)):
        decide_domain(COUNTS.astype(dtype), in_file="amplitude")


def test_zeros_and_ones_are_both_counts_and_amplitudes():
    frames = (COUNTS > 0).astype(np.float32)
    assert decide_domain(frames, requested="amplitude").domain == "amplitude"
    assert decide_domain(frames).domain == "counts"


def test_bad_pixels_are_no_evidence():
    bad = np.zeros((32, 32), bool)
    bad[3, 4] = True
    frames = COUNTS.astype(np.float32)
    frames[:, 3, 4] = 0.3
    assert decide_domain(frames).domain == "amplitude"
    assert decide_domain(frames, bad_pixels=bad).domain == "counts"


def test_values_too_large_to_tell_are_no_evidence_for_integers():
    """Every float32 above 2**24 is an integer; saying 'counts' from that would be a guess."""
    frames = (SMOOTH * 1e9).astype(np.float32)
    assert decide_domain(frames).domain == "amplitude"


@pytest.mark.rule("DATA-023")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_square_root_comes_back_exactly(dtype):
    amplitude = np.sqrt(COUNTS).astype(dtype)
    counts = to_counts(amplitude, "amplitude")
    assert counts.dtype == np.float32
    np.testing.assert_array_equal(counts, COUNTS)


def test_other_amplitudes_are_squared():
    np.testing.assert_allclose(to_counts(SMOOTH, "amplitude"), SMOOTH**2, rtol=1e-6)


@pytest.mark.parametrize(
    ("given", "expected"),
    [("u2", "u2"), (">u2", "u2"), ("i4", "i4"), ("?", "u1"), ("f8", "f4"), ("f4", "f4"), ("f2", "f4")],
)
def test_counts_keep_integer_dtypes_in_native_order(given, expected):
    frames = (COUNTS % 2).astype(given)
    counts = to_counts(frames, "counts")
    assert counts.dtype == np.dtype(expected)
    assert counts.dtype.isnative
    np.testing.assert_array_equal(counts, COUNTS % 2)


def test_in_place_reuses_memory_only_when_asked():
    amplitude = np.sqrt(COUNTS).astype(np.float32)
    kept = amplitude.copy()
    assert to_counts(amplitude, "amplitude") is not amplitude
    np.testing.assert_array_equal(amplitude, kept)
    assert to_counts(amplitude, "amplitude", in_place=True) is amplitude
    np.testing.assert_array_equal(amplitude, COUNTS)


def test_bad_pixels_become_zero():
    bad = np.zeros((32, 32), bool)
    bad[1, 2] = True
    frames = COUNTS.astype(np.float32)
    frames[:, 1, 2] = np.nan
    counts = to_counts(frames, "counts", bad_pixels=bad)
    assert (counts[:, 1, 2] == 0).all()
    np.testing.assert_array_equal(counts[:, ~bad], COUNTS[:, ~bad])
