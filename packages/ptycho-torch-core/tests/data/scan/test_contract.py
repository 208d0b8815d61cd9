"""The scan container refuses shapes that do not fit and fills what is left out."""

from __future__ import annotations

import numpy as np
import pytest

from ptycho_torch.data.scan import contract
from ptycho_torch.data.scan.contract import Scan, frame_chunks
from ptycho_torch.errors import ShapeError


def _parts(n=4, size=8):
    return {
        "diffraction": np.arange(n * size * size, dtype=np.uint16).reshape(n, size, size),
        "positions": np.arange(2.0 * n).reshape(n, 2),
        "probe": np.ones((2, size, size), dtype=np.complex64),
    }


def test_left_out_fields_are_filled():
    scan = Scan(**_parts())
    assert (scan.n_frames, scan.N, scan.n_modes) == (4, 8, 2)
    np.testing.assert_array_equal(scan.object_truth_origin, [0.0, 0.0])
    np.testing.assert_array_equal(scan.scan_index, np.zeros(4))
    np.testing.assert_array_equal(scan.positions_nominal, scan.positions)
    assert scan.positions_nominal is not scan.positions
    assert scan.domain.domain == "counts"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("diffraction", np.zeros((4, 8, 7))),
        ("diffraction", np.zeros((0, 8, 8))),
        ("positions", np.zeros((2, 4))),
        ("probe", np.ones((8, 8))),
        ("probe", np.ones((1, 6, 6))),
        ("object_truth", np.ones((1, 9, 9))),
        ("scan_index", np.zeros(3)),
        ("bad_pixels", np.zeros((4, 8), bool)),
        ("labels", np.ones((3, 8, 8))),
        ("positions_nominal", np.ones((3, 2))),
        ("object_truth_origin", np.ones(3)),
    ],
)
def test_wrong_shapes_are_named(name, value):
    with pytest.raises(ShapeError, check=lambda error: (error.name, error.actual) == (name, value.shape)):
        Scan(**{**_parts(), name: value})


def test_take_selects_every_per_frame_array():
    parts = _parts()
    scan = Scan(
        **parts,
        labels=np.arange(256).reshape(4, 8, 8).astype(np.complex64),
        scan_index=np.array([0, 0, 1, 1]),
    )
    part = scan.take([3, 1])
    np.testing.assert_array_equal(part.diffraction, scan.diffraction[[3, 1]])
    np.testing.assert_array_equal(part.positions, scan.positions[[3, 1]])
    np.testing.assert_array_equal(part.positions_nominal, scan.positions_nominal[[3, 1]])
    np.testing.assert_array_equal(part.labels, scan.labels[[3, 1]])
    np.testing.assert_array_equal(part.scan_index, [1, 0])
    assert scan.take(np.array([True, False, False, False])).n_frames == 1
    with pytest.raises(ShapeError, check=lambda error: error.name == "indices"):
        scan.take([])


def test_counts_per_frame_does_not_overflow_or_round():
    parts = _parts()
    parts["diffraction"] = np.full((4, 8, 8), 65535, dtype=np.uint16)
    np.testing.assert_array_equal(Scan(**parts).counts_per_frame(), np.full(4, 64 * 65535.0))


def test_chunks_cover_all_frames(monkeypatch):
    monkeypatch.setattr(contract, "_CHUNK_VALUES", 130)
    frames = np.arange(7 * 64).reshape(7, 8, 8)
    parts = frame_chunks(frames)
    assert len(parts) == 4
    np.testing.assert_array_equal(np.concatenate([frames[part] for part in parts]), frames)
    monkeypatch.setattr(contract, "_CHUNK_VALUES", 1)
    assert len(frame_chunks(frames)) == 7
