"""What a CXI file states about its geometry is obeyed, or refused where it contradicts itself."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from ptycho_torch.data.formats import cxi
from ptycho_torch.data.opening import open_scan, read_scan_header
from ptycho_torch.data.scan.example import example_scan
from ptycho_torch.data.scan.geometry import electron_wavelength_m, wavelength_m
from ptycho_torch.errors import DataError

DETECTOR, SOURCE = "entry_1/instrument_1/detector_1", "entry_1/instrument_1/source_1"
BEAM, PLACES = "entry_1/instrument_1/beam_1", "entry_1/sample_1/geometry_1/translation"
JOULE_eV = 1 / 1.602176634e-19


@pytest.fixture
def made(tmp_path):
    """Write the example, edited: a function of the open file."""

    made = []

    def make(edit=lambda file: None):
        path = tmp_path / f"scan{len(made)}.cxi"
        made.append(path)
        cxi.make_example(path)
        with h5py.File(path, "a") as file:
            edit(file)
        return path

    return make


def put(file, name, value, units=None):
    if name in file:
        del file[name]
    file[name] = value
    if units is not None:
        file[name].attrs["units"] = units


def shift(scan):
    return scan.positions - scan.positions[0]


@pytest.mark.rule("DATA-064")
@pytest.mark.parametrize(
    ("unit", "factor"),
    [("mm", 1e3), ("um", 1e6), ("µm", 1e6), ("nm", 1e9), ("A", 1e10), ("meters", 1.0), (b"m", 1.0)],
)
def test_lengths_are_in_the_unit_that_stands_beside_them(made, unit, factor):
    def edit(file):
        for name in (PLACES, f"{DETECTOR}/distance", f"{DETECTOR}/x_pixel_size", f"{DETECTOR}/y_pixel_size"):
            put(file, name, file[name][()] * factor, unit)

    found = open_scan(made(edit))
    np.testing.assert_allclose(shift(found), shift(example_scan()), atol=1e-6)
    assert found.metadata["detector_object_distance_m"] == pytest.approx(1.2)
    assert found.metadata["detector_pixel_width_m"] == pytest.approx(75e-6)


@pytest.mark.rule("DATA-064")
@pytest.mark.parametrize(
    "energies",
    [
        {f"{SOURCE}/energy": (8000.0, "eV")},
        {f"{SOURCE}/energy": (8.0, "keV")},
        {f"{SOURCE}/energy": (8000.0 / JOULE_eV, None)},
        {f"{BEAM}/energy": (8000.0, "eV"), f"{SOURCE}/energy": (3.0, "GeV")},
        {f"{BEAM}/incident_beam_energy": (8000.0 / JOULE_eV, "J"), f"{SOURCE}/energy": (3e9 / JOULE_eV, "J")},
        {f"{BEAM}/incident_wavelength": (wavelength_m(8000.0) * 1e10, "angstrom")},
        {f"{BEAM}/incident_wavelength": (wavelength_m(8000.0), None), f"{SOURCE}/energy": (8.0, "keV")},
        {f"{BEAM}/energy": (np.full(12, 8.0), "keV")},
        {f"{BEAM}/energy": (8000.0, None)},
        {f"{BEAM}/energy": (np.full(12, 8000.0), None), f"{SOURCE}/energy": (3e9, None)},
        {f"{BEAM}/energy": (8000.0, None), f"{SOURCE}/energy": (3.0, None)},
        {f"{BEAM}/energy": (8.0, None), f"{BEAM}/incident_wavelength": (wavelength_m(8000.0), None)},
        {f"{BEAM}/energy": (8000.0, "eV"), f"{SOURCE}/energy": (8.0, None)},
    ],
)
def test_the_photon_energy_is_that_of_the_beam(made, energies):
    def edit(file):
        del file[f"{SOURCE}/energy"]
        for name, (value, unit) in energies.items():
            put(file, name, value, unit)

    path = made(edit)
    assert open_scan(path).metadata["photon_energy_eV"] == pytest.approx(8000.0)
    assert read_scan_header(path).metadata["photon_energy_eV"] == pytest.approx(8000.0)


@pytest.mark.rule("DATA-064")
@pytest.mark.parametrize(
    ("name", "value", "unit", "named"),
    [
        (f"{BEAM}/incident_wavelength", 2e-10, "m", f"{SOURCE}/energy, {BEAM}/incident_wavelength"),
        (f"{BEAM}/energy", 9.0, "keV", f"{BEAM}/energy, {SOURCE}/energy"),
        (f"{DETECTOR}/distance", 1.2, "s", f"{DETECTOR}/distance"),
        (f"{SOURCE}/energy", 8.0, "keV/c", f"{SOURCE}/energy"),
        (f"{SOURCE}/energy", 8.0, None, f"{SOURCE}/energy"),
        (f"{BEAM}/energy", 9000.0, None, f"{BEAM}/energy, {SOURCE}/energy"),
        (f"{SOURCE}/energy", np.array([8.0, 9.0]), "keV", f"{SOURCE}/energy"),
    ],
)
def test_what_contradicts_or_has_no_known_unit_is_refused(made, name, value, unit, named):
    path = made(lambda file: put(file, name, value, unit))
    with pytest.raises(DataError, check=lambda error: error.names[0] == named):
        open_scan(path)


@pytest.mark.parametrize("says_so", [True, False])
def test_electrons_have_the_energy_of_photons_of_their_wavelength(made, says_so, caplog):
    length = electron_wavelength_m(300e3)
    assert length == pytest.approx(1.9687e-12, rel=1e-4)

    def edit(file):
        put(file, f"{SOURCE}/energy", 300.0, "keV")
        if says_so:
            file[f"{SOURCE}/probe"] = "electron"
        else:
            put(file, f"{BEAM}/wavelength", length * 1e12, "pm")
        # Keep the object pixel: the distance grows as the wavelength shrinks.
        put(file, f"{DETECTOR}/distance", 1.2 * wavelength_m(8000.0) / length)

    found = open_scan(made(edit))
    np.testing.assert_allclose(shift(found), shift(example_scan()), atol=1e-6)
    assert wavelength_m(found.metadata["photon_energy_eV"]) == pytest.approx(length)
    assert "electrons" in caplog.text


P_Y, P_X = 60e-6, 75e-6
MOUNTINGS = {
    "straight": ([[0, -P_Y, 0], [-P_X, 0, 0]], [[1, 0], [0, 1]]),
    "mirrored": ([[0, -P_Y, 0], [P_X, 0, 0]], [[1, 0], [0, -1]]),
    "upside down": ([[0, P_Y, 0], [-P_X, 0, 0]], [[-1, 0], [0, 1]]),
    "turned": ([[-P_Y, 0, 0], [0, P_X, 0]], [[0, 1], [-1, 0]]),
}


@pytest.mark.rule("DATA-064")
@pytest.mark.parametrize("mounting", MOUNTINGS)
@pytest.mark.parametrize("store", ["rows", "columns", "per frame"])
def test_positions_are_taken_along_the_axes_of_the_detector(made, mounting, store, caplog):
    vectors, matrix = (np.array(part, dtype=float) for part in MOUNTINGS[mounting])
    stored = {"rows": vectors, "columns": vectors.T, "per frame": np.tile(vectors, (12, 1, 1))}[store]
    found = open_scan(made(lambda file: put(file, f"{DETECTOR}/basis_vectors", stored)))
    plain = open_scan(made())
    pixel = np.array([plain.metadata[f"object_pixel_{name}_m"] for name in ("height", "width")])
    np.testing.assert_allclose(shift(found), shift(plain) * pixel @ matrix.T / pixel, atol=1e-7)
    np.testing.assert_array_equal(found.diffraction[:], plain.diffraction[:])
    assert ("mounted" in caplog.text) == (mounting != "straight")


def test_axes_give_the_pixel_sizes_where_nothing_else_does(made):
    def edit(file):
        put(file, f"{DETECTOR}/basis_vectors", np.array(MOUNTINGS["straight"][0]))
        del file[f"{DETECTOR}/x_pixel_size"], file[f"{DETECTOR}/y_pixel_size"]

    found = open_scan(made(edit))
    np.testing.assert_allclose(shift(found), shift(example_scan()), atol=1e-6)


@pytest.mark.rule("DATA-064")
@pytest.mark.parametrize(
    "vectors",
    [
        [[0, -P_Y, 0], [-P_X, 0, 0.1 * P_X]],
        [[0, -P_Y, 0], [-P_X, P_X, 0]],
        [[0, -P_X, 0], [-P_X, 0, 0]],
        [[0, 0, 0], [-P_X, 0, 0]],
        [0, 0, 0],
    ],
    ids=["tilted", "skew", "another pixel", "no direction", "another shape"],
)
def test_axes_that_no_frame_can_have_are_refused(made, vectors):
    path = made(lambda file: put(file, f"{DETECTOR}/basis_vectors", np.array(vectors, dtype=float)))
    with pytest.raises(DataError, check=lambda error: error.names == (f"{DETECTOR}/basis_vectors",)):
        open_scan(path)


@pytest.fixture
def two(made):
    def edit(file):
        file.copy("entry_1", "entry_2")
        places = file["entry_2/sample_1/geometry_1/translation"]
        places[...] = places[:][::-1]

    return made(edit)


@pytest.mark.rule("DATA-065")
def test_one_of_several_entries_is_named_in_the_path(two):
    first, second = (open_scan(f"{two}:/entry_{number}") for number in (1, 2))
    np.testing.assert_allclose(first.positions[::-1], second.positions)
    assert read_scan_header(f"{two}:/entry_2").metadata == second.metadata
    for path, named in ((two, "entry_1, entry_2"), (f"{two}:/entry_3", "entry_1, entry_2")):
        with pytest.raises(DataError) as caught:
            open_scan(path)
        assert named in caught.value.problems[0]


@pytest.mark.rule("DATA-065")
def test_the_only_entry_with_frames_is_the_scan(made):
    def moved(file):
        del file["entry_1/data_1"]
        file.move("entry_1", "entry_7")
        file["entry_1/image_1/data"] = np.ones((1, 16, 16), complex)

    assert open_scan(made(moved)).n_frames == 12


def test_one_pixel_size_is_that_of_both_axes_and_a_corner_tells_the_distance(made):
    def edit(file):
        del file[f"{DETECTOR}/x_pixel_size"], file[f"{DETECTOR}/distance"]
        file[f"{DETECTOR}/corner_position"] = np.array([1e-3, 1e-3, -1.2])

    metadata = open_scan(made(edit)).metadata
    assert metadata["detector_pixel_width_m"] == metadata["detector_pixel_height_m"] == 60e-6
    assert metadata["detector_object_distance_m"] == pytest.approx(1.2)


def test_positions_may_be_at_the_detector_alone(made):
    def edit(file):
        file[f"{DETECTOR}/translation"] = file[PLACES][()]
        del file["entry_1/sample_1"]
        if "translation" in file["entry_1/data_1"]:
            del file["entry_1/data_1/translation"]

    np.testing.assert_allclose(shift(open_scan(made(edit))), shift(example_scan()), atol=1e-6)


def test_signal_alone_is_measured_and_beside_others_a_correction_that_failed(made):
    bits = np.zeros((16, 16), dtype=np.uint32)
    bits[1, 1], bits[2, 2], bits[3, 3], bits[4, 4] = 0x1000, 0x1001, 0x1, 0x820
    found = open_scan(made(lambda file: put(file, f"{DETECTOR}/mask", bits)))
    assert np.argwhere(found.bad_pixels).tolist() == [[2, 2], [3, 3]]


def test_frames_may_be_last_where_their_axes_say_so_and_dark_frames_are_told_of(made, caplog):
    def edit(file):
        frames = file["entry_1/data_1/data"][()]
        put(file, f"{DETECTOR}/data", np.moveaxis(frames, 0, -1))
        file[f"{DETECTOR}/data"].attrs["axes"] = b"y:x:translation"
        file[f"{DETECTOR}/data_dark"] = np.ones((16, 16))

    found = open_scan(made(edit))
    np.testing.assert_array_equal(found.diffraction[:], example_scan().diffraction)
    assert "dark frames" in caplog.text
