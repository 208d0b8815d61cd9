"""The summary says what is in a file and never raises for what is wrong with it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from ptycho_torch.data.formats.npz import save_scan
from ptycho_torch.data.simulation.simulate import simulate_scene
from ptycho_torch.data.summary import inspect_scan, probe_diameter, summarise_scan
from ptycho_torch.errors import DataError, ShapeError


@pytest.fixture
def scan():
    return simulate_scene("lines", N=32, grid=(5, 6), step_px=4.0, jitter_px=0.0, photons=1e5)


def found_in(summary):
    return [finding.name for finding in summary.findings if finding.found]


def test_summary_of_a_sound_file(tmp_path, scan):
    save_scan(tmp_path / "scan.npz", scan)
    summary = inspect_scan(tmp_path / "scan.npz")
    assert summary.is_sound
    assert found_in(summary) == ["raster"]
    assert summary.headers["diff3d"] == ((30, 32, 32), scan.diffraction.dtype)
    assert (summary.n_frames, summary.N, summary.n_modes) == (30, 32, 1)
    assert summary.has_truth
    assert (summary.domain.domain, summary.domain.stated) == ("counts", True)
    place = summary.positions
    assert (place.y_min, place.y_max, place.x_min, place.x_max) == (16, 32, 16, 36)
    assert place.median_step == pytest.approx(4.0)
    assert place.overlap == pytest.approx(1 - 4.0 / place.probe_diameter)
    totals = scan.diffraction.sum(axis=(1, 2))
    photons = summary.photons
    assert (photons.mean, photons.minimum, photons.maximum) == (totals.mean(), totals.min(), totals.max())
    assert photons.max_pixel == scan.diffraction.max()
    assert photons.zero_share == pytest.approx((scan.diffraction == 0).mean())
    assert photons.n_hot_pixels == 0
    assert summary.metadata["nphotons"] == 1e5


def test_problems_are_returned_with_the_headers(arrays, write):
    arrays["diff3d"][2] = 0
    del arrays["probeGuess"]
    summary = inspect_scan(write(arrays))
    assert not summary.is_sound
    assert len(summary.problems) == 2
    assert summary.headers["diff3d"][0] == (6, 16, 16)
    assert summary.photons is None


def test_a_file_that_is_no_scan(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"text")
    assert any("not a zip archive" in text for text in inspect_scan(tmp_path / "a.npz").problems)
    with pytest.raises(FileNotFoundError):
        inspect_scan(tmp_path / "b.npz")


def test_the_crop_is_a_note(tmp_path, scan):
    save_scan(tmp_path / "scan.npz", scan)
    summary = inspect_scan(tmp_path / "scan.npz", N=16)
    assert summary.N == 16
    assert "cropped to the central 16 x 16" in summary.notes[0]


def test_light_in_the_corners_is_noted(scan):
    frames = np.fft.ifftshift(scan.diffraction, axes=(-2, -1))
    assert "corner" in found_in(summarise_scan(replace(scan, diffraction=frames)))
    # A pixel that is off the middle, or a flat background, is no reason to doubt.
    moved = replace(scan, diffraction=np.roll(scan.diffraction, (2, -2), (1, 2)))
    assert "corner" not in found_in(summarise_scan(moved))
    assert "corner" not in found_in(summarise_scan(replace(scan, diffraction=scan.diffraction + 100)))


def test_probe_diameter_of_a_disk_and_a_gaussian():
    y, x = np.mgrid[:128, :128] - 64
    disk = (np.hypot(y, x) < 20).astype(complex)[None]
    assert probe_diameter(disk) == pytest.approx(40, rel=0.02)
    # Amplitude exp(-r^2 / 4 s^2) is an intensity of standard deviation s.
    gaussian = np.exp(-(y**2 + x**2) / (4 * 6.0**2))[None].astype(complex)
    assert probe_diameter(gaussian) == pytest.approx(24, rel=1e-6)
    assert probe_diameter(1e-12 * gaussian) == pytest.approx(24, rel=1e-6)
    assert probe_diameter(np.concatenate([gaussian, gaussian])) == pytest.approx(24, rel=1e-6)


@pytest.mark.parametrize("probe", [np.zeros((1, 8, 8), complex), np.full((1, 8, 8), np.nan, complex)])
def test_probe_diameter_needs_an_intensity(probe):
    with pytest.raises(DataError, check=lambda error: error.names == ("probe",)):
        probe_diameter(probe)


def test_probe_diameter_needs_a_mode_axis():
    with pytest.raises(ShapeError, check=lambda error: error.name == "probe"):
        probe_diameter(np.ones((8, 8), complex))


def test_hot_pixels_sparse_scans_and_wrong_objects_are_noted(scan):
    frames = scan.diffraction.copy()
    frames[:, 2, 3] = 5000
    hot = replace(scan, diffraction=frames)
    assert summarise_scan(hot).photons.n_hot_pixels == 1
    assert "hot" in found_in(summarise_scan(hot))
    far = replace(scan, positions=scan.positions * 4)
    assert {"overlap", "truth"} <= set(found_in(summarise_scan(far)))


def test_one_frame_has_no_step(scan):
    place = summarise_scan(scan.take([0])).positions
    assert math.isnan(place.median_step)
    assert math.isnan(place.overlap)


def test_bad_pixels_are_not_counted_as_zeros(scan):
    bad = np.zeros((32, 32), bool)
    bad[:16] = True
    frames = np.ones_like(scan.diffraction)
    frames[:, bad] = 0
    summary = summarise_scan(replace(scan, diffraction=frames, bad_pixels=bad))
    assert summary.photons.zero_share == 0.0
    assert summary.n_bad_pixels == 512


def test_repeated_positions_do_not_hide_the_step(scan):
    twice = scan.take(np.repeat(np.arange(scan.n_frames), 2))
    assert summarise_scan(twice).positions.median_step == pytest.approx(4.0)
