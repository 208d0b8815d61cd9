"""Frames find their positions by number."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptycho_torch.data.hdf5.positions import pair_by_index

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
    found.pop(-1, None)
    exact = [number for number in frames if number in found]
    low, high = (min(found), max(found)) if exact else (1, 0)
    expected = [row for row, number in enumerate(frames) if low <= number <= high]
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
        if frames[row] in found:
            np.testing.assert_allclose(position, np.mean(found[frames[row]], axis=0), rtol=1e-9, atol=1e-9)
        else:
            means = np.array([np.mean(found[number], axis=0) for number in sorted(found)])
            assert (position >= means.min(axis=0)).all()
            assert (position <= means.max(axis=0)).all()
