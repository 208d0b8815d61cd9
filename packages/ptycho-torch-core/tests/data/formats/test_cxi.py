"""CXI files, written here with h5py after the standard, must become the scan they hold."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from ptycho_torch.data.opening import open_scan
from ptycho_torch.errors import DataError

ELECTRONVOLT_J = 1.602176634e-19
WAVELENGTH_M = 6.62607015e-34 * 299792458.0 / (8000.0 * ELECTRONVOLT_J)
PIXEL_M = {"y": WAVELENGTH_M * 1.2 / (16 * 60e-6), "x": WAVELENGTH_M * 1.2 / (16 * 75e-6)}


@pytest.fixture
def cxi(tmp_path, arrays):
    """Write a CXI file without anything that only ptychodus knows."""

    def write_cxi(edit=None):
        path = tmp_path / "scan.cxi"
        with h5py.File(path, "w") as file:
            file["cxi_version"] = 160
            file["entry_1/instrument_1/source_1/energy"] = 8000.0 * ELECTRONVOLT_J
            file["entry_1/instrument_1/source_1/illumination"] = arrays["probeGuess"]
            detector = file.create_group("entry_1/instrument_1/detector_1")
            detector["distance"], detector["x_pixel_size"], detector["y_pixel_size"] = 1.2, 75e-6, 60e-6
            detector["data"] = arrays["diff3d"]
            file.create_group("entry_1/data_1")["data"] = h5py.SoftLink(
                "/entry_1/instrument_1/detector_1/data"
            )
            places = np.zeros((6, 3))
            places[:, 0] = 0.01 + arrays["xcoords"] * PIXEL_M["x"]
            places[:, 1] = -0.02 + arrays["ycoords"] * PIXEL_M["y"]
            file["entry_1/sample_1/geometry_1/translation"] = places
            if edit is not None:
                edit(file)
        return path

    return write_cxi


def _refusal(path):
    with pytest.raises(DataError) as caught:
        open_scan(path)
    return caught.value.names


@pytest.mark.rule("DATA-016")
def test_positions_are_pixels_about_the_middle(cxi, arrays):
    scan = open_scan(cxi())
    np.testing.assert_array_equal(scan.diffraction[:], arrays["diff3d"])
    np.testing.assert_array_equal(scan.probe[0], arrays["probeGuess"])
    expected = np.stack([arrays["ycoords"], arrays["xcoords"]], axis=1)
    expected -= (expected.min(axis=0) + expected.max(axis=0)) / 2
    # A position in metres is that of the middle of a patch, half a pixel before pixel N / 2.
    np.testing.assert_allclose(scan.positions, expected + 0.5, atol=1e-8)
    assert scan.object_truth is None
    assert scan.metadata["photon_energy_eV"] == pytest.approx(8000.0)
    zero_x, pixel_x = scan.metadata["coordinate_zero_x_m"], scan.metadata["object_pixel_width_m"]
    in_metres = zero_x + (scan.positions[:, 1] - 0.5) * pixel_x
    np.testing.assert_allclose(in_metres, 0.01 + arrays["xcoords"] * PIXEL_M["x"], rtol=0, atol=1e-15)


def test_mask_bits_that_mark_signal_are_measured(cxi):
    mask = np.zeros((16, 16), dtype=np.uint32)
    mask[0, 0], mask[1, 1], mask[2, 2] = 0x1, 0x20 | 0x800, 0x10 | 0x800

    def masked(file):
        file["entry_1/instrument_1/detector_1/mask"] = mask

    bad = open_scan(cxi(masked)).bad_pixels
    assert np.argwhere(bad).tolist() == [[0, 0], [2, 2]]


def _without(name):
    return lambda file: file.__delitem__(name)


def _set(name, value):
    def edit(file):
        del file[name]
        file[name] = value

    return edit


pytestmark = pytest.mark.filterwarnings("ignore:.*holds no probe:ptycho_torch.errors.ScanWarning")

DETECTOR = "entry_1/instrument_1/detector_1"
PLACES = "entry_1/sample_1/geometry_1/translation"
REFUSED = [
    (_without("entry_1/data_1"), None),
    (
        _without(f"{DETECTOR}/data"),
        "entry_1/data_1/data",
    ),
    (
        lambda file: [file.__delitem__("entry_1/data_1"), file.__delitem__(f"{DETECTOR}/data")],
        "entry_1/data_1/data",
    ),
    (_without("entry_1/instrument_1/source_1/illumination"), None),
    (_without("entry_1/sample_1"), "entry_1/sample_1/geometry_1/translation"),
    (_without(f"{DETECTOR}/distance"), "detector_object_distance_m"),
    (_without("entry_1/instrument_1/source_1/energy"), "photon_energy_eV"),
    (_set("entry_1/instrument_1/source_1/energy", 8000.0), None),
    (_set("entry_1/instrument_1/source_1/energy", 50.0), "entry_1/instrument_1/source_1/energy"),
    (
        _set("entry_1/sample_1/geometry_1/translation", np.zeros((4, 3))),
        "entry_1/sample_1/geometry_1/translation",
    ),
    (_set("entry_1/sample_1/geometry_1/translation", np.zeros(6)), "entry_1/sample_1/geometry_1/translation"),
    (_set("entry_1/sample_1/geometry_1/translation", np.zeros((6, 3))), f"{PLACES} x, {PLACES} y"),
    (_set("entry_1/sample_1/geometry_1/translation", np.eye(6)[:, :3] * 1e-12), f"{PLACES} x, {PLACES} y"),
]


@pytest.mark.parametrize(("edit", "name"), REFUSED)
def test_refused(cxi, edit, name):
    path = cxi(edit)
    if name is None:
        assert open_scan(path).n_frames == 6
    else:
        assert _refusal(path)[0] == name
