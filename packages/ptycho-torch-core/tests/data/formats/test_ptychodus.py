"""The files of ptychodus, written here with h5py as it lays them out, must become the scan they hold."""

from __future__ import annotations

import logging

import h5py
import numpy as np
import pytest

from ptycho_torch.data.opening import open_scan
from ptycho_torch.data.scan.lazy import FrameStack
from ptycho_torch.errors import DataError


def _replace(file, name, values):
    attributes = dict(file[name].attrs)
    del file[name]
    file[name] = values
    file[name].attrs.update(attributes)


def _refusal(directory, **asked):
    with pytest.raises(DataError) as caught:
        open_scan(directory, **asked)
    return caught.value


@pytest.mark.rule("DATA-016")
def test_pair_is_read_in_pixels(pair, arrays, optics):
    scan = open_scan(pair())
    assert isinstance(scan.diffraction, FrameStack)
    np.testing.assert_array_equal(scan.diffraction[:], arrays["diff3d"])
    # Positions of some 1 mm over pixels of some 10 nm lose five digits of sixteen.
    # Those of the file name the middle of a patch, half a pixel before pixel N / 2.
    np.testing.assert_allclose(scan.positions[:, 0], arrays["ycoords"] + 0.5, atol=1e-9)
    np.testing.assert_allclose(scan.positions[:, 1], arrays["xcoords"] + 0.5, atol=1e-9)
    np.testing.assert_array_equal(scan.probe[0], arrays["probeGuess"])
    assert scan.object_truth is not None
    assert scan.object_truth.shape == (90, 100)
    assert scan.frame_index.tolist() == list(range(3, 9))
    assert scan.bad_pixels is None
    assert (scan.domain.domain, scan.domain.stated) == ("counts", True)
    assert scan.metadata.items() >= optics.items()
    assert scan.metadata["name"] == "test"
    np.testing.assert_array_equal(scan.counts_per_frame(), arrays["diff3d"].sum(axis=(1, 2)))


def test_real_valued_patterns_are_counts(pair, arrays):
    values = np.random.default_rng(1).uniform(0.1, 9, arrays["diff3d"].shape).astype(np.float32)
    scan = open_scan(pair(lambda one, two: _replace(one, "patterns", values)))
    np.testing.assert_array_equal(scan.diffraction[:], values)


def test_the_caller_may_say_amplitude(pair, arrays):
    roots = np.sqrt(arrays["diff3d"].astype(np.float32))
    directory = pair(lambda one, two: _replace(one, "patterns", roots))
    scan = open_scan(directory, measurement_domain="amplitude")
    np.testing.assert_array_equal(scan.diffraction[:], arrays["diff3d"])
    np.testing.assert_array_equal(scan.counts_per_frame(), arrays["diff3d"].sum(axis=(1, 2)))
    assert _refusal(directory).names == ("measurement_domain",)


@pytest.mark.rule("DATA-015")
def test_frames_and_positions_pair_by_number(pair, arrays, caplog):
    order = np.array([8, 3, 5, 20, 4, -1])

    def renumber(one, two):
        _replace(one, "indexes", order)

    with caplog.at_level(logging.WARNING):
        scan = open_scan(pair(renumber))
    assert scan.frame_index.tolist() == [8, 3, 5, 4]
    np.testing.assert_array_equal(scan.diffraction[:], arrays["diff3d"][[0, 1, 2, 4]])
    np.testing.assert_allclose(scan.positions[:, 1], arrays["xcoords"][[5, 0, 2, 1]] + 0.5, atol=1e-9)
    assert (
        "1 frames without a position and 2 positions without a frame are left out; 4 pairs remain"
        in caplog.text
    )


def test_several_positions_of_one_frame_are_averaged(pair, arrays):
    def repeat(one, two):
        _replace(two, "probe_position_indexes", np.array([3, 3, 5, 6, 7, 8]))

    scan = open_scan(pair(repeat))
    first, after = arrays["xcoords"][:2].mean(), arrays["xcoords"][2]
    np.testing.assert_allclose(
        scan.positions[:3, 1], np.array([first, (first + after) / 2, after]) + 0.5, atol=1e-9
    )


@pytest.mark.rule("DATA-015")
def test_a_frame_between_positions_gets_its_place_between_them(pair, arrays, caplog):
    """As ptychodus does it; frames beyond the first or the last position stay without one."""

    def thin(one, two):
        _replace(two, "probe_position_indexes", np.array([4, 7]))
        for axis in "xy":
            _replace(two, f"probe_position_{axis}_m", two[f"probe_position_{axis}_m"][[1, 4]])

    with caplog.at_level(logging.WARNING):
        scan = open_scan(pair(thin))
    assert scan.frame_index.tolist() == [4, 5, 6, 7]
    low, high = arrays["xcoords"][1], arrays["xcoords"][4]
    np.testing.assert_allclose(scan.positions[:, 1], np.linspace(low, high, 4) + 0.5, atol=1e-9)
    assert "2 frames have no position of their number" in caplog.text


def test_a_tilted_detector_is_refused(pair):
    error = _refusal(pair(lambda one, two: two.attrs.create("tilt_angle_deg", 5.0)))
    assert error.names == ("tilt_angle_deg",)


def test_no_common_number_is_refused(pair):
    error = _refusal(pair(lambda one, two: _replace(one, "indexes", np.arange(100, 106))))
    assert error.problems == (
        "no frame has a position: frames are numbered 100 to 105, positions 3 to 8; the files are of "
        "different scans",
    )


@pytest.mark.parametrize("rank", [2, 3, 4])
def test_probe_ranks(pair, arrays, rank):
    probe = arrays["probeGuess"][(None,) * (rank - 2)]
    scan = open_scan(pair(lambda one, two: _replace(two, "probe", probe)))
    np.testing.assert_array_equal(scan.probe, arrays["probeGuess"][None])


def test_first_of_several_coherent_probes_and_layers(pair, arrays, caplog):
    def many(one, two):
        _replace(two, "probe", np.stack([arrays["probeGuess"][None], 2 * arrays["probeGuess"][None]]))
        _replace(two, "object", np.stack([two["object"][0], 2 * two["object"][0]]))

    scan = open_scan(pair(many))
    np.testing.assert_array_equal(scan.probe[0], arrays["probeGuess"])
    assert scan.object_truth is not None
    assert scan.object_truth[0, 0] == 1j
    assert "the probe varies over the scan in 2 parts" in caplog.text
    assert "the object has 2 layers" in caplog.text


def test_bad_pixels_carry_no_counts(pair, arrays):
    bad = np.zeros((16, 16), dtype=bool)
    bad[4, 5] = True
    scan = open_scan(pair(lambda one, two: _replace(one, "bad_pixels", bad)))
    np.testing.assert_array_equal(scan.bad_pixels, bad)
    assert not scan.diffraction[:][:, 4, 5].any()


def test_older_energy_name_and_missing_object_pixel(pair, arrays, optics):
    def older(one, two):
        two.attrs["probe_energy_eV"] = two.attrs["photon_energy_eV"]
        del two.attrs["photon_energy_eV"]
        for name in ("pixel_width_m", "pixel_height_m"):
            del two["object"].attrs[name]

    scan = open_scan(pair(older))
    np.testing.assert_allclose(scan.positions[:, 0], arrays["ycoords"] + 0.5, atol=1e-7)
    assert scan.metadata["photon_energy_eV"] == optics["photon_energy_eV"]


def test_geometry_that_contradicts_itself_is_logged(pair, caplog):
    open_scan(pair(lambda one, two: two.attrs.modify("photon_energy_eV", 7000.0)))
    assert "but energy, distance and detector pixel make it" in caplog.text


def test_crop_scales_positions_and_the_object_pixel(pair):
    directory = pair()
    whole = open_scan(directory)
    with pytest.warns(UserWarning, match="cropped to the central 8 x 8"):
        cropped = open_scan(directory, N=8)
    np.testing.assert_array_equal(cropped.diffraction[:], whole.diffraction[:][:, 4:12, 4:12])
    np.testing.assert_allclose(cropped.positions, whole.positions / 2)
    name = "object_pixel_width_m"
    assert cropped.metadata[name] == pytest.approx(2 * whole.metadata[name])


def _delete(which, name):
    def edit(one, two):
        del (one if which == 1 else two)[name]

    return edit


def _set(which, name, values):
    return lambda one, two: _replace(one if which == 1 else two, name, values)


def _attribute(which, item, name, value):
    return lambda one, two: (one if which == 1 else two)[item].attrs.modify(name, value)


REFUSED = [
    (_delete(1, "patterns"), "patterns"),
    (_delete(2, "probe"), "probe"),
    (_delete(2, "probe_position_x_m"), "probe_position_x_m"),
    (_set(1, "indexes", np.arange(5)), "indexes"),
    (_set(1, "indexes", np.zeros(6)), "indexes"),
    (
        _set(2, "probe_position_x_m", np.zeros(4)),
        "probe_position_indexes, probe_position_x_m, probe_position_y_m",
    ),
    (_set(2, "probe_position_x_m", np.full(6, np.nan)), "probe_position_x_m"),
    (_set(2, "probe_position_x_m", np.arange(6) * 10.0), "probe_position_x_m, probe_position_y_m"),
    (_attribute(2, "object", "pixel_width_m", 75.0), "probe_position_x_m, probe_position_y_m"),
    (_attribute(2, "object", "pixel_width_m", -1.0), "object: attribute pixel_width_m"),
    (_set(1, "patterns", np.zeros((6, 16, 16), dtype=np.int32)), "patterns"),
    (_set(1, "patterns", np.ones((6, 16, 12))), "patterns"),
    (_set(1, "patterns", np.ones((6, 16))), "patterns"),
    (_set(2, "probe", np.zeros((1, 1, 16, 16), dtype=complex)), "probe"),
    (_set(2, "probe", np.ones((1, 1, 32, 32), dtype=complex)), "probe"),
    (_set(1, "bad_pixels", np.ones((16, 16), dtype=bool)), "bad_pixels"),
]


@pytest.mark.parametrize(("edit", "name"), REFUSED)
def test_refused(pair, edit, name):
    def quiet(one, two):
        edit(one, two)
        if two.get("object") is not None and two["object"].attrs["pixel_width_m"] in (75.0, -1.0):
            two["object"].attrs["pixel_height_m"] = 75.0

    error = _refusal(pair(quiet))
    assert error.names == (name,)


def test_every_problem_is_listed_at_once(pair):
    def spoil(one, two):
        _replace(one, "patterns", -np.ones((6, 16, 16), dtype=np.int32))
        _replace(two, "probe", np.zeros((16, 16), dtype=complex))
        del two["probe_position_indexes"]

    error = _refusal(pair(spoil))
    assert set(error.names) >= {"probe_position_indexes", "probe"}


def test_missing_geometry_names_what_is_missing(pair):
    def strip(one, two):
        del two.attrs["detector_object_distance_m"], two["object"].attrs["pixel_width_m"]

    assert _refusal(pair(strip)).names == ("object, detector_object_distance_m",)


def test_energy_in_joules_is_refused(pair):
    error = _refusal(pair(lambda one, two: two.attrs.modify("photon_energy_eV", 1.28e-15)))
    assert error.names == ("photon_energy_eV",)


@pytest.mark.parametrize("name", ["diffraction.h5", "product.h5"])
def test_truncated_file_is_refused(pair, name):
    directory = pair()
    whole = (directory / name).read_bytes()
    (directory / name).write_bytes(whole[: len(whole) // 2])
    assert "truncated HDF5 file" in str(_refusal(directory))


@pytest.fixture
def training(tmp_path, arrays, optics):
    """Write a training file as ptychodus lays it out."""

    def write_training(edit=None):
        path = tmp_path / "training.h5"
        with h5py.File(path, "w") as file:
            file["patterns"] = arrays["diff3d"]
            file["bad_pixels"] = np.zeros((16, 16), dtype=bool)
            file["probe"] = arrays["probeGuess"][None]
            file["object"] = np.ones((90, 100), dtype=complex)
            file["probe_position_x_px"], file["probe_position_y_px"] = arrays["xcoords"], arrays["ycoords"]
            file["object_pixel_width_m"], file["object_pixel_height_m"] = 1.5e-7, 2e-7
            for name in ("photon_energy_eV", "detector_object_distance_m"):
                file[name] = optics[name]
            if edit is not None:
                edit(file)
        return path

    return write_training


def test_training_file_is_in_pixels_already(training, arrays):
    scan = open_scan(training())
    middles = np.stack([arrays["ycoords"], arrays["xcoords"]], axis=1)
    np.testing.assert_allclose(scan.positions, middles + 0.5, atol=1e-12)
    np.testing.assert_array_equal(scan.diffraction[:], arrays["diff3d"])
    wavelength = 1.2398419843320026e-6 / 8000.0
    # The detector pixel is not stored; it follows from the object pixel.
    assert scan.metadata["detector_pixel_width_m"] == pytest.approx(wavelength * 1.2 / (16 * 1.5e-7))


def test_training_file_with_metres_in_place_of_pixels_is_refused(training, arrays):
    def metres(file):
        _replace(file, "probe_position_x_px", arrays["xcoords"] * 1e-8)
        _replace(file, "probe_position_y_px", arrays["ycoords"] * 1e-8)

    assert _refusal(training(metres)).names == ("probe_position_x_px, probe_position_y_px",)


def test_training_file_without_probe_is_refused(training):
    error = _refusal(training(lambda file: file.__delitem__("probe")))
    assert error.names == ("probe",)
