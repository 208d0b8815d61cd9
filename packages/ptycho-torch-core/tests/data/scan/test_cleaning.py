"""What is found is masked and left out when a scan is opened, said once, and can be left as it is."""

import json
import warnings
from dataclasses import replace

import h5py
import numpy as np
import pytest

from ptycho_config import OrientationConfig
from ptycho_torch.data.formats.npz import save_scan
from ptycho_torch.data.opening import open_scan
from ptycho_torch.data.scan.hdf5_frames import HDF5Frames
from ptycho_torch.data.scan.lazy import FrameStack
from ptycho_torch.data.simulation.simulate import simulate_scene
from ptycho_torch.errors import DataError, ScanWarning


@pytest.fixture(scope="module")
def scan():
    return simulate_scene("random_field", N=32, grid=(6, 6), step_px=4.0, jitter_px=1.0, photons=1e5, seed=2)


def arrays_of(scan, **changes):
    arrays = {
        "diff3d": scan.diffraction.astype(np.int32),
        "ycoords": scan.positions[:, 0].copy(),
        "xcoords": scan.positions[:, 1].copy(),
        "probeGuess": scan.probe,
    }
    return arrays | changes


def names(scan):
    return [finding.name for finding in scan.findings if finding.found and finding.severity == "warning"]


@pytest.mark.rule("DATA-110")
def test_a_sound_scan_is_opened_as_it_is_and_without_a_word(scan):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        opened = open_scan(arrays_of(scan))
    np.testing.assert_array_equal(opened.diffraction, scan.diffraction)
    assert opened.bad_pixels is None
    assert opened.findings
    assert names(opened) == []
    np.testing.assert_array_equal(opened.statistics.totals, opened.counts_per_frame())


@pytest.mark.rule("DATA-110", "DATA-111")
def test_faults_are_masked_and_left_out_together_and_said_with_their_numbers(scan):
    frames = scan.diffraction.astype(np.int32)
    frames[:, 20:22] = -1
    frames[7] = 0
    frames[9, 2, 3] = 10**6
    arrays = arrays_of(scan, diff3d=frames)
    arrays["xcoords"][12] = 9000.0
    arrays["ycoords"][20] = np.nan
    with pytest.warns(ScanWarning) as caught:
        opened = open_scan(arrays)
    assert names(opened) == ["unread", "gaps", "hits", "empty-frames", "stray"]
    assert len(caught) == 5
    kept = np.setdiff1d(np.arange(36), [7, 12, 20])
    np.testing.assert_array_equal(opened.frame_index, kept)
    np.testing.assert_array_equal(opened.positions, scan.positions[kept])
    assert opened.bad_pixels.sum() == 64
    expected = np.where(opened.bad_pixels, 0, scan.diffraction[kept])
    measured = opened.measured(opened.diffraction)
    assert np.argwhere(~measured & ~opened.bad_pixels).tolist() == [[8, 2, 3]]
    np.testing.assert_array_equal(np.where(measured, opened.diffraction, expected), expected)
    # A value that is none counts as the most that its pixel holds otherwise.
    np.testing.assert_allclose(opened.counts_per_frame(), expected.sum(axis=(1, 2)), atol=20)


@pytest.mark.rule("DATA-111")
def test_nothing_is_done_that_was_not_asked_for(scan):
    frames = scan.diffraction.astype(np.int32)
    frames[:, 20:22] = 0
    frames[9, 2, 3] = 10**6
    arrays = arrays_of(scan, diff3d=frames)
    with pytest.warns(ScanWarning):
        opened = open_scan(arrays, clean=())
    assert opened.bad_pixels is None
    np.testing.assert_array_equal(opened.diffraction, frames)
    with pytest.warns(ScanWarning):
        opened = open_scan(arrays, clean=["hits"])
    assert opened.bad_pixels is None
    assert np.argwhere(~opened.measured(opened.diffraction)).tolist() == [[9, 2, 3]]
    with pytest.raises(DataError):
        open_scan(arrays_of(scan, diff3d=np.where(np.arange(36)[:, None, None] == 3, 0, frames)), clean=())


def test_the_mask_of_the_scan_is_kept(scan):
    bad = np.zeros((32, 32), bool)
    bad[5] = True
    frames = scan.diffraction.astype(np.int32)
    frames[:, 20] = 2**31 - 1
    with pytest.warns(ScanWarning):
        opened = open_scan(arrays_of(scan, diff3d=frames, bad_pixels=bad))
    assert np.flatnonzero(opened.bad_pixels.all(axis=1)).tolist() == [5, 20]


def test_a_mask_of_the_other_polarity_is_questioned_and_nothing_added_to_it(scan):
    bad = np.ones((32, 32), bool)
    bad[2] = False
    frames = scan.diffraction + 1
    with pytest.warns(ScanWarning, match="True means not measured"):
        opened = open_scan(arrays_of(scan, diff3d=frames, bad_pixels=bad))
    np.testing.assert_array_equal(opened.bad_pixels, bad)


def test_frames_that_stay_in_their_file_are_cleaned_as_they_are_read(scan, tmp_path):
    frames = scan.diffraction.astype(np.uint16)
    frames[:, 20] = 65535
    frames[4] = 0
    with h5py.File(tmp_path / "frames.h5", "w") as file:
        file["frames"] = frames
    stack = HDF5Frames(tmp_path / "frames.h5", "frames")
    from ptycho_torch.data.scan.assemble import assemble_scan

    lazy = assemble_scan(arrays_of(scan, diff3d=stack))
    loaded = assemble_scan(arrays_of(scan, diff3d=frames))
    assert isinstance(lazy.diffraction, FrameStack)
    np.testing.assert_array_equal(lazy.diffraction[:], loaded.diffraction)
    np.testing.assert_array_equal(lazy.counts_per_frame(), loaded.counts_per_frame())
    assert len(lazy.positions) == 35


def test_what_was_cleaned_is_saved_clean(scan, tmp_path):
    frames = scan.diffraction.astype(np.int32)
    frames[:, 20:22] = -1
    frames[7] = 0
    with pytest.warns(ScanWarning):
        opened = open_scan(arrays_of(scan, diff3d=frames))
    save_scan(tmp_path / "clean.npz", opened)
    again = open_scan(tmp_path / "clean.npz")
    assert names(again) == []
    np.testing.assert_array_equal(again.diffraction, opened.diffraction)


def test_amplitudes_are_looked_at_as_counts(scan):
    roots = np.sqrt(scan.diffraction.astype(np.float32))
    roots[:, 20:22] = 0
    with pytest.warns(ScanWarning, match="light on both sides"):
        opened = open_scan(arrays_of(scan, diff3d=roots))
    assert opened.domain.domain == "amplitude"
    assert opened.bad_pixels.sum() == 64
    np.testing.assert_array_equal(opened.diffraction[:, 5], scan.diffraction[:, 5])


@pytest.mark.rule("DATA-112")
@pytest.mark.parametrize("truth", ["counts", "amplitude"])
def test_counts_that_are_no_whole_numbers_are_told_from_amplitudes(scan, truth):
    counts = scan.diffraction / np.random.default_rng(0).normal(1, 0.05, (32, 32))
    values = counts if truth == "counts" else np.sqrt(counts)
    opened = open_scan(arrays_of(scan, diff3d=values.astype(np.float32)))
    assert opened.domain.domain == truth
    assert not opened.domain.is_guess
    np.testing.assert_allclose(opened.diffraction, counts, rtol=1e-5)


def test_a_guess_is_said():
    rng = np.random.default_rng(0)
    probe = np.ones((16, 16), complex)
    arrays = {"xcoords": np.arange(9) * 3.0, "ycoords": np.arange(9) % 4 * 1.0, "probeGuess": probe}
    with pytest.warns(ScanWarning, match="a guess"):
        opened = open_scan(arrays | {"diff3d": rng.random((9, 16, 16)) + 1})
    assert opened.domain.is_guess


def test_parts_of_a_scan_keep_its_findings_but_not_its_sums(scan):
    opened = open_scan(arrays_of(scan))
    assert opened.take([1, 2]).findings == opened.findings
    assert opened.take([1, 2]).statistics is None
    assert opened.scaled(2.0).statistics is None
    assert replace(opened, metadata={}).statistics is opened.statistics


def test_most_positions_must_be_numbers(scan):
    arrays = arrays_of(scan)
    arrays["xcoords"][5:] = np.nan
    with pytest.raises(DataError):
        open_scan(arrays)


def test_equal_points_are_refused_as_such(scan):
    arrays = arrays_of(scan)
    arrays["xcoords"][:], arrays["ycoords"][:] = 20.0, 21.0
    with pytest.raises(DataError, check=lambda error: error.names == ("xcoords, ycoords",)):
        open_scan(arrays)


@pytest.mark.rule("DATA-115")
def test_values_that_were_not_measured_are_remembered_with_the_scan(scan, tmp_path):
    """Through files, memory, turns, scaling, and choices of frames."""
    frames = scan.diffraction.astype(np.int32)
    frames[9, 2, 3] = 10**6
    with pytest.warns(ScanWarning, match="stands far above"):
        opened = open_scan(arrays_of(scan, diff3d=frames))
    save_scan(tmp_path / "scan.npz", opened)
    turned = OrientationConfig(flip_frames="rows")
    for again, where in (
        (open_scan(tmp_path / "scan.npz", clean=()), [9, 2, 3]),
        (open_scan(opened, clean=()), [9, 2, 3]),
        (open_scan(opened, clean=(), orientation=turned), [9, 30, 3]),
        (opened.scaled(0.125), [9, 2, 3]),
        (opened.take([4, 9]), [1, 2, 3]),
    ):
        assert np.argwhere(~again.measured(again.diffraction)).tolist() == [where]
        assert again.counts_per_frame()[where[0]] < 2 * np.median(again.counts_per_frame())


@pytest.mark.rule("DATA-115")
def test_a_counter_that_ends_is_stated_or_found(scan):
    full = int(np.quantile(scan.diffraction.max(axis=(1, 2)), 0.3))
    arrays = arrays_of(scan, diff3d=np.minimum(scan.diffraction, full).astype(np.int32))
    stated = arrays | {"_metadata": np.array(json.dumps({"saturation_counts": full}))}
    for given in (arrays, stated):
        with pytest.warns(ScanWarning, match="stop"):
            opened = open_scan(given)
        np.testing.assert_array_equal(opened.measured(opened.diffraction), arrays["diff3d"] < full)
    assert open_scan(arrays_of(scan)).ceiling is None


@pytest.mark.rule("DATA-116")
@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_negative_values_count_as_zero(scan, dtype):
    frames = scan.diffraction.astype(dtype)
    frames[2, :4] -= 2
    with pytest.warns(ScanWarning, match="negative"):
        opened = open_scan(arrays_of(scan, diff3d=frames))
    np.testing.assert_array_equal(opened.diffraction, np.maximum(frames, 0))
    with pytest.raises(DataError) as refused:
        open_scan(arrays_of(scan, diff3d=frames), clean=())
    assert refused.value.names == ("diff3d",)
