"""Cropped frames belong to larger object pixels: probe, positions and object must follow."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptycho_torch.config_factory.sources import _scan_facts
from ptycho_torch.data.formats.npz import load_scan, save_scan
from ptycho_torch.data.opening import read_scan_header
from ptycho_torch.data.scan.crop import crop_fourier, crop_frames, resample
from ptycho_torch.data.simulation.scenes import (
    defocused_probe,
    object_shape,
    random_field_object,
    raster_positions,
)
from ptycho_torch.data.simulation.simulate import expected_intensity, simulate_scan

SIZE, HALF = 64, 32


def _scene(correlation_px=8.0):
    """Noise-free scan whose light stays well inside the central half of the detector."""
    positions = raster_positions((3, 4), step_px=5.0, jitter_px=1.0, start_px=(36.0, 34.0), seed=1)
    probe = defocused_probe(SIZE, edge_frequency=0.06, edge_px=3.0, mode_powers=(0.8, 0.2))
    obj = random_field_object(object_shape(positions, SIZE), correlation_px=correlation_px, seed=2)
    return simulate_scan(obj, probe, positions, photons=1e6, seed=3, noise=False)


def _load_cropped(tmp_path, scan, N=HALF):
    save_scan(tmp_path / "scan.npz", scan)
    with pytest.warns(UserWarning, match="cropped to the central"):
        return load_scan(tmp_path / "scan.npz", N=N)


def _misfit(predicted, measured):
    predicted = predicted * measured.sum() / predicted.sum()
    return np.abs(np.sqrt(predicted) - np.sqrt(measured)).sum() / np.sqrt(measured).sum()


@pytest.mark.rule("DATA-041")
def test_empty_object_predicts_exactly_the_cropped_frames(tmp_path):
    scan = _scene()
    positions = scan.positions
    empty = np.ones(scan.object_truth.shape, np.complex64)
    scan = simulate_scan(empty, scan.probe, positions, photons=1e6, seed=0, noise=False)
    cropped = _load_cropped(tmp_path, scan)
    np.testing.assert_array_equal(cropped.diffraction, crop_frames(scan.diffraction, HALF))
    predicted = expected_intensity(cropped.object_truth, cropped.probe, cropped.positions)
    predicted *= scan.metadata["intensity_scale"]
    # Frames and probe pass through float32.
    np.testing.assert_allclose(
        predicted, cropped.diffraction, rtol=1e-4, atol=1e-4 * cropped.diffraction.max()
    )


def test_forward_of_the_cropped_scan_matches_the_cropped_frames(tmp_path):
    """The misfit left is the interpolation of patches; without any one part it is far worse."""
    cropped = _load_cropped(tmp_path, _scene())
    truth, probe, positions = cropped.object_truth, cropped.probe, cropped.positions
    frames = cropped.diffraction.astype(np.float64)
    good = _misfit(expected_intensity(truth, probe, positions), frames)
    assert good < 0.01
    scan = _scene()
    wrong_probe = crop_frames(scan.probe, HALF)
    assert _misfit(expected_intensity(truth, wrong_probe, positions), frames) > 5 * good
    shifted = positions + np.array([1.0, 0.0])
    wrong_place = expected_intensity(np.pad(truth, 2, mode="edge"), probe, shifted, object_origin=(2, 2))
    assert _misfit(wrong_place, frames) > 3 * good


@pytest.mark.rule("DATA-041", "DATA-043")
def test_positions_origin_and_note(tmp_path):
    scan = _scene()
    cropped = _load_cropped(tmp_path, scan)
    np.testing.assert_array_equal(cropped.positions, scan.positions / 2)
    np.testing.assert_array_equal(cropped.positions_nominal, scan.positions_nominal / 2)
    assert cropped.metadata["detector_crop"] == {"from_px": 64, "to_px": 32, "position_scale": 0.5}
    assert cropped.probe.shape == (2, 32, 32)


@pytest.mark.rule("DATA-042")
def test_a_probe_of_the_cropped_size_says_that_only_frames_are_cropped(tmp_path):
    scan = _scene()
    save_scan(tmp_path / "scan.npz", scan)
    with np.load(tmp_path / "scan.npz") as archive:
        arrays = dict(archive)
    arrays["probeGuess"] = crop_fourier(scan.probe, HALF)
    np.savez(tmp_path / "scan.npz", **arrays)
    with pytest.warns(UserWarning, match="the probe has that size already"):
        cropped = load_scan(tmp_path / "scan.npz", N=HALF)
    np.testing.assert_array_equal(cropped.positions, scan.positions)
    np.testing.assert_array_equal(cropped.object_truth, scan.object_truth)
    np.testing.assert_array_equal(cropped.probe, arrays["probeGuess"])


def test_asking_for_the_size_of_the_frames_changes_nothing(tmp_path):
    scan = _scene()
    save_scan(tmp_path / "scan.npz", scan)
    same = load_scan(tmp_path / "scan.npz", N=SIZE)
    np.testing.assert_array_equal(same.diffraction, scan.diffraction)
    assert "detector_crop" not in same.metadata


def test_values_outside_the_crop_do_not_matter(arrays, write):
    frames = arrays["diff3d"].astype(np.float32)
    frames[:, 0, 0] = np.nan
    bad = np.zeros((16, 16), bool)
    bad[4, 5] = True
    path = write(arrays | {"diff3d": frames, "bad_pixels": bad})
    with pytest.warns(UserWarning, match="cropped"):
        cropped = load_scan(path, N=8)
    assert cropped.bad_pixels[0, 1]
    assert cropped.bad_pixels.sum() == 1
    assert cropped.diffraction.shape == (6, 8, 8)


def test_labels_follow_the_object(tmp_path):
    scan = _scene(correlation_px=16.0)
    corners = np.rint(scan.positions).astype(int) - SIZE // 2
    labels = np.stack([scan.object_truth[y : y + SIZE, x : x + SIZE] for y, x in corners])
    arrays = {
        "diff3d": scan.diffraction,
        "xcoords": scan.positions[:, 1],
        "ycoords": scan.positions[:, 0],
        "probeGuess": scan.probe,
        "Y": labels,
        "measurement_domain": np.array("counts"),
    }
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.warns(UserWarning, match="cropped"):
        cropped = load_scan(tmp_path / "a.npz", N=HALF)
    # Smooth patches are nearly their own samples; the mirrored filter is weakest at the border.
    np.testing.assert_allclose(cropped.labels[:, 2:-2, 2:-2], labels[:, 4:-4:2, 4:-4:2], atol=0.02)


@pytest.mark.rule("DATA-040")
@given(st.lists(st.integers(1, 40), min_size=3, max_size=3))
def test_frames_keep_their_centre(sizes):
    small, middle, large = sorted(sizes)
    frames = np.arange(large * large).reshape(1, large, large)
    cropped = crop_frames(frames, small)
    assert cropped.shape == (1, small, small)
    assert cropped[0, small // 2, small // 2] == frames[0, large // 2, large // 2]
    np.testing.assert_array_equal(crop_frames(crop_frames(frames, middle), small), cropped)


@given(st.integers(1, 20), st.integers(1, 20), st.integers(0, 2**32 - 1))
def test_a_fourier_crop_keeps_the_light_in_the_kept_frequencies(a, b, seed):
    N, size = sorted((2 * a, 2 * b))
    field = np.random.default_rng(seed).normal(size=(size, size, 2)) @ [1, 1j]
    small = crop_fourier(field, N)
    spectrum = np.fft.fftshift(np.fft.fft2(field, norm="ortho"))
    kept = np.sum(np.abs(crop_frames(spectrum, N)) ** 2)
    assert np.sum(np.abs(small) ** 2) == pytest.approx(kept, rel=1e-5)
    if size == N:
        np.testing.assert_allclose(small, field, atol=1e-5)


@given(st.integers(1, 20), st.integers(1, 20), st.integers(1, 30), st.integers(1, 30))
def test_resampled_coordinates_shrink_with_the_frames_and_constants_stay(a, b, height, width):
    N, size = sorted((2 * a, 2 * b))
    small = resample(np.full((height, width), 0.5 - 2j), size, N)
    assert small.shape == (-(-height * N // size), -(-width * N // size))
    np.testing.assert_allclose(small, 0.5 - 2j, atol=1e-5)


def test_fourier_crop_keeps_power_centre_and_constants():
    probe = defocused_probe(SIZE, edge_frequency=0.05, edge_px=3.0)
    small = crop_fourier(probe, HALF)
    assert np.sum(np.abs(small) ** 2) == pytest.approx(np.sum(np.abs(probe) ** 2), rel=1e-3)
    # Twice the pixel size, half the number of pixels along an axis: four times the power per pixel.
    np.testing.assert_allclose(small, 2 * probe[:, ::2, ::2], atol=5e-3 * np.abs(small).max())


@pytest.mark.parametrize(("size", "N"), [(64, 32), (64, 48), (128, 96), (96, 64)])
def test_resample_places_new_index_i_at_old_index_i_times_ratio(size, N):
    # A cosine that is symmetric about both borders obeys the mirror, so it must come out exactly.
    height, width = 2 * size, 3 * size
    y, x = np.arange(height)[:, None], np.arange(width)[None, :]
    wave = (np.cos(np.pi * 3 * (y + 0.5) / height) * np.cos(np.pi * 5 * (x + 0.5) / width)).astype(
        np.complex64
    )
    got = resample(wave, size, N)
    assert got.shape == (2 * N, 3 * N)
    y, x = np.arange(2 * N)[:, None] * size / N, np.arange(3 * N)[None, :] * size / N
    expected = np.cos(np.pi * 3 * (y + 0.5) / height) * np.cos(np.pi * 5 * (x + 0.5) / width)
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_resample_keeps_a_constant_and_rounds_sizes_up():
    got = resample(np.full((7, 10), 0.5 - 0.25j), 64, 48)
    assert got.shape == (6, 8)
    np.testing.assert_allclose(got, 0.5 - 0.25j, atol=1e-6)


@pytest.mark.rule("DATA-040", "DATA-041")
@pytest.mark.parametrize("size", [33, 63, 65, 70])
def test_a_probe_of_any_size_predicts_the_cropped_frame_and_stays_where_it_is(size):
    rng = np.random.default_rng(size)
    probe = rng.normal(size=(2, size, size)) + 1j * rng.normal(size=(2, size, size))

    def light(field):
        return np.abs(np.fft.fftshift(np.fft.fft2(field, norm="ortho"), axes=(-2, -1))) ** 2

    np.testing.assert_allclose(light(crop_fourier(probe, 32)), crop_frames(light(probe), 32), rtol=1e-4)
    point = np.zeros((size, size), complex)
    point[size // 2, size // 2] = 1
    found = np.abs(crop_fourier(point, 32))
    assert np.unravel_index(found.argmax(), found.shape) == (16, 16)


@pytest.mark.rule("CFG-043", "DATA-040")
@pytest.mark.parametrize(("size", "N"), [(32, 32), (33, 32), (47, 32), (50, 48), (16, 16)])
def test_frames_of_any_size_are_offered_to_a_network_at_one_that_it_takes(tmp_path, size, N):
    positions = raster_positions((3, 3), step_px=5.0, start_px=(40.0, 40.0), seed=1)
    scan = simulate_scan(np.ones((120, 120), complex), defocused_probe(size), positions, photons=1e5, seed=0)
    save_scan(tmp_path / "scan.npz", scan)
    fact = _scan_facts(read_scan_header(tmp_path / "scan.npz"), "scan.npz")["model.N"]
    assert fact.value == N
    if size == 33:
        with pytest.warns(UserWarning, match="cropped to the central 32"):
            found = load_scan(tmp_path / "scan.npz", N=N)
        np.testing.assert_allclose(found.positions, scan.positions * N / size)
        assert found.probe.shape[-1] == N
