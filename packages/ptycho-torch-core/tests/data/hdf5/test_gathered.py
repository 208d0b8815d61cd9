"""Frames find their positions by number."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptycho_torch.data.hdf5.gathered import pair_by_index

NUMBERS = st.integers(-1, 12)
AXIS = st.floats(-1e3, 1e3, width=32)


@pytest.mark.rule("DATA-015")
@given(
    st.lists(NUMBERS, min_size=1, max_size=15),
    st.lists(st.tuples(NUMBERS, AXIS, AXIS), min_size=1, max_size=25),
)
def test_a_frame_has_the_mean_of_the_positions_of_its_number(frames, measured):
    found: dict[int, list[tuple[float, float]]] = {}
    for number, y, x in measured:
        found.setdefault(number, []).append((y, x))
    # A negative number is an empty slot.
    expected = [row for row, number in enumerate(frames) if number >= 0 and number in found]
    problems: list[str] = []
    rows, positions = pair_by_index(
        np.array(frames),
        np.array([number for number, _, _ in measured]),
        np.array([place for _, *place in measured]),
        problems,
        [],
    )
    assert rows.tolist() == expected
    assert len(problems) == (not expected)
    assert positions.shape == (len(expected), 2)
    for row, position in zip(expected, positions, strict=True):
        np.testing.assert_allclose(position, np.mean(found[frames[row]], axis=0), rtol=1e-9, atol=1e-9)
