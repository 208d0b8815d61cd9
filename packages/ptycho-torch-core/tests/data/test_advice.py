"""A number that is not that of the frames is refused with what is missing and what to do."""

import numpy as np
import pytest

from ptycho_torch.data.advice import one_per_frame, pairs_per_frame
from ptycho_torch.data.opening import open_scan
from ptycho_torch.data.simulation.simulate import simulate_scene
from ptycho_torch.errors import DataError


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (144, ("144 positions", "expected 100", "44 frames are missing")),
        (101, ("one frame is missing",)),
        (60, ("40 frames have none", "leave these frames out")),
        (99, ("one frame has none",)),
    ],
)
def test_what_is_missing_is_counted(found, words):
    said = one_per_frame(found, 100)
    assert all(word in said for word in words)
    assert pairs_per_frame((found, 2), 100) == said


def test_another_shape_is_no_number_of_positions():
    assert "(100, 2)" in pairs_per_frame((100, 3), 100)
    assert "positions, expected" not in pairs_per_frame((100, 3), 100)


@pytest.mark.parametrize("n", [30, 42])
def test_a_scan_with_frames_and_positions_of_other_numbers_says_what_to_do(tmp_path, n):
    scan = simulate_scene("lines", N=32, grid=(6, 6), seed=0)
    places = np.resize(scan.positions, (n, 2))
    np.savez(
        tmp_path / "scan.npz",
        diff3d=np.asarray(scan.diffraction), ycoords=places[:, 0], xcoords=places[:, 1],
        probeGuess=scan.probe,
    )  # fmt: skip
    with pytest.raises(DataError) as caught:
        open_scan(tmp_path / "scan.npz")
    (problem,) = caught.value.problems
    assert problem.name == "diff3d"
    assert "leave out the frames without a position, or the positions without a frame" in problem
