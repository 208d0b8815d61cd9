"""Frames and positions are turned against each other when a scan is opened."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace

import numpy as np
import pytest

from ptycho_config import OrientationConfig
from ptycho_torch.data.convert import convert
from ptycho_torch.data.formats.npz import save_scan
from ptycho_torch.data.opening import open_scan
from ptycho_torch.data.scan.lazy import FrameStack
from ptycho_torch.data.scan.orientation import (
    ORIENTATIONS,
    flags_of,
    frame_orientation,
    orientation_config,
    oriented,
    position_orientation,
    turn_frames,
)

OPTICS = {
    "photon_energy_eV": 9000.0,
    "detector_object_distance_m": 2.0,
    "detector_pixel_width_m": 75e-6,
    "detector_pixel_height_m": 75e-6,
}


def _far_field(field):
    return np.abs(np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(field)))) ** 2


@pytest.mark.parametrize("size", [8, 9])
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_frames_turn_about_the_zero_frequency(orientation, size):
    """A field that is turned about the pixel at its middle has a far field that is turned in the same way."""
    rng = np.random.default_rng(3)
    field = rng.standard_normal((size, size)) + 1j * rng.standard_normal((size, size))
    # The same turn in real space, pixel by pixel about N // 2.
    middle, matrix = size // 2, np.array(orientation)
    turned = np.empty_like(field)
    for place in np.ndindex(size, size):
        source = (matrix.T @ (np.array(place) - middle) + middle) % size
        turned[place] = field[tuple(source)]
    np.testing.assert_allclose(turn_frames(_far_field(field)[None], orientation)[0], _far_field(turned))


@pytest.mark.parametrize("frames", ORIENTATIONS)
@pytest.mark.parametrize("positions", ORIENTATIONS)
def test_settings_and_matrices_name_the_same_orientation(frames, positions):
    config = orientation_config(frames, positions, 2.5)
    assert (frame_orientation(config), position_orientation(config)) == (frames, positions)
    assert config.position_scale == 2.5


def test_all_orientations_differ_and_turn_back():
    frames = np.arange(2 * 6 * 6).reshape(2, 6, 6)
    seen = {turn_frames(frames, orientation).tobytes() for orientation in ORIENTATIONS}
    assert len(seen) == 8
    for orientation in ORIENTATIONS:
        back = tuple(map(tuple, np.array(orientation).T.tolist()))
        np.testing.assert_array_equal(turn_frames(turn_frames(frames, orientation), back), frames)


def test_flags_are_those_of_the_command_line():
    config = OrientationConfig(flip_frames="rows", swap_axes=True, position_scale=1.25)
    assert flags_of(config) == "--flip-frames rows --position-scale 1.25 --swap-axes"
    assert flags_of(OrientationConfig()) == ""


@pytest.mark.rule("DATA-100")
def test_positions_are_scaled_swapped_and_flipped(tiny_scan):
    positions = tiny_scan.positions
    low, high = positions.min(axis=0), positions.max(axis=0)
    flipped = oriented(tiny_scan, OrientationConfig(flip_x=True))
    np.testing.assert_array_equal(flipped.positions[:, 0], positions[:, 0])
    np.testing.assert_allclose(flipped.positions[:, 1], low[1] + high[1] - positions[:, 1])
    assert flipped.positions.min(axis=0) == pytest.approx(low)
    swapped = oriented(tiny_scan, OrientationConfig(swap_axes=True, position_scale=2))
    np.testing.assert_array_equal(swapped.positions, 2 * positions[:, ::-1])
    # The flip comes after the swap: what runs backwards is the new x.
    both = oriented(tiny_scan, OrientationConfig(swap_axes=True, flip_x=True))
    np.testing.assert_allclose(both.positions[:, 1], low[0] + high[0] - positions[:, 0])
    np.testing.assert_array_equal(both.positions[:, 0], positions[:, 1])
    nominal = replace(tiny_scan, positions_nominal=positions + 0.25)
    moved = oriented(nominal, OrientationConfig(flip_y=True))
    np.testing.assert_allclose(moved.positions_nominal - moved.positions, [[-0.25, 0.25]] * len(positions))
    for scan in (flipped, swapped, both):
        assert scan.probe is tiny_scan.probe
        assert scan.object_truth is tiny_scan.object_truth


@pytest.mark.rule("DATA-100")
@pytest.mark.parametrize("name", ["scan.npz", "scan.cxi"])
def test_a_scan_in_any_file_is_turned_when_it_is_opened(tmp_path, tiny_scan, name):
    bad = np.zeros((tiny_scan.N, tiny_scan.N), dtype=bool)
    bad[3, 5] = True
    frames = np.where(bad, 0, tiny_scan.diffraction)
    source = tmp_path / "scan.npz"
    save_scan(source, replace(tiny_scan, diffraction=frames, bad_pixels=bad, metadata=OPTICS))
    path = convert(source, tmp_path / name) if name != "scan.npz" else source
    settings = OrientationConfig(transpose_frames=True, flip_frames="columns", flip_y=True)
    plain, turned = open_scan(path), open_scan(path, orientation=settings)
    orientation = frame_orientation(settings)
    expected = turn_frames(np.asarray(plain.diffraction), orientation)
    np.testing.assert_array_equal(np.asarray(turned.diffraction), expected)
    np.testing.assert_array_equal(turned.bad_pixels, turn_frames(bad[None], orientation)[0])
    np.testing.assert_allclose(turned.counts_per_frame(), plain.counts_per_frame())
    assert turned.diffraction.dtype == plain.diffraction.dtype
    assert turned.metadata["orientation"] == [
        {"transpose_frames": True, "flip_frames": "columns", "flip_y": True}
    ]
    assert "orientation" not in plain.metadata
    if name == "scan.cxi":
        assert isinstance(turned.diffraction, FrameStack)
        again = pickle.loads(pickle.dumps(turned.diffraction))
        np.testing.assert_array_equal(again[[4, 1]], expected[[4, 1]])
    # A scan in memory is opened like a file.
    held = open_scan(plain, orientation=settings)
    np.testing.assert_array_equal(np.asarray(held.diffraction), expected)
    np.testing.assert_array_equal(held.positions, turned.positions)


def test_a_converted_scan_is_turned_for_good_and_says_so(tmp_path, tiny_scan):
    source = tmp_path / "scan.npz"
    save_scan(source, tiny_scan)
    first, second = OrientationConfig(flip_frames="rows"), OrientationConfig(flip_frames="both", flip_x=True)
    target = convert(source, tmp_path / "turned.npz", orientation=first)
    np.testing.assert_array_equal(
        open_scan(target).diffraction, open_scan(source, orientation=first).diffraction
    )
    twice = open_scan(target, orientation=second)
    assert twice.metadata["orientation"] == [{"flip_frames": "rows"}, {"flip_frames": "both", "flip_x": True}]
    json.dumps(twice.metadata["orientation"])
