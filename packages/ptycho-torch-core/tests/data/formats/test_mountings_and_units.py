"""One scan in every mounting and unit: what a file states about them always gives the same scan."""

from __future__ import annotations

from itertools import product

import h5py
import numpy as np
import pytest

from ptycho_torch.data.formats import cxi, nxcxi_ptycho
from ptycho_torch.data.opening import open_scan
from ptycho_torch.data.scan.example import example_scan
from ptycho_torch.data.scan.geometry import wavelength_m
from ptycho_torch.data.scan.orientation import ORIENTATIONS, turn_frames

DETECTOR, SOURCE = "entry_1/instrument_1/detector_1", "entry_1/instrument_1/source_1"
BEAM, PLACES = "entry_1/instrument_1/beam_1", "entry_1/sample_1/geometry_1/translation"
LENGTHS = {"m": 1.0, "mm": 1e3, "um": 1e6, "nm": 1e9}
BEAMS = {
    "eV": (f"{SOURCE}/energy", 8000.0),
    "keV": (f"{SOURCE}/energy", 8.0),
    "J": (f"{SOURCE}/energy", 8000.0 * 1.602176634e-19),
    "m": (f"{BEAM}/incident_wavelength", wavelength_m(8000.0)),
    "nm": (f"{BEAM}/incident_wavelength", wavelength_m(8000.0) * 1e9),
    "angstrom": (f"{BEAM}/incident_wavelength", wavelength_m(8000.0) * 1e10),
}
PIXEL_M = 75e-6


def put(file, name, value, unit=None):
    if name in file:
        del file[name]
    file[name] = value
    if unit is not None:
        file[name].attrs["units"] = unit


def written(path, module, mounting, length, beam):
    """The example with square pixels, its detector mounted so, in these units; gives what it must be read as.

    A detector that is turned by a matrix sees frames that are turned by it, and says by its axes where its
    rows and columns point.
    """
    module.make_example(path)
    turned = np.array(mounting)
    with h5py.File(path, "a") as file:
        plain = file[f"{DETECTOR}/data"][()]
        factor = LENGTHS[length]
        metres = example_scan().positions * 2e-8
        places = np.zeros((12, 3))
        places[:, [1, 0]] = metres
        put(file, PLACES, places * factor, length)
        put(file, f"{DETECTOR}/data", turn_frames(plain, mounting))
        # Rows of a straight detector run along -y, columns along -x.
        axes = np.zeros((2, 3))
        axes[:, [1, 0]] = -turned * PIXEL_M
        put(file, f"{DETECTOR}/basis_vectors", axes * factor, length)
        for name, value in (("distance", 1.2), ("x_pixel_size", PIXEL_M), ("y_pixel_size", PIXEL_M)):
            put(file, f"{DETECTOR}/{name}", value * factor, length)
        for name in (f"{SOURCE}/energy", f"{BEAM}/energy"):
            if name in file:
                del file[name]
        put(file, BEAMS[beam][0], BEAMS[beam][1], beam)
    return turn_frames(plain, mounting), metres @ turned.T


@pytest.mark.rule("DATA-064")
@pytest.mark.parametrize("module", [cxi, nxcxi_ptycho], ids=lambda module: module.NAME)
@pytest.mark.parametrize("mounting", ORIENTATIONS, ids=str)
def test_every_mounting_and_unit_gives_the_same_scan(tmp_path, module, mounting):
    seen = []
    for number, (length, beam) in enumerate(product(LENGTHS, BEAMS)):
        path = tmp_path / f"{number}.h5"
        frames, metres = written(path, module, mounting, length, beam)
        found = open_scan(path)
        np.testing.assert_array_equal(found.diffraction[:], frames)
        pixel = found.metadata["object_pixel_width_m"]
        assert pixel == pytest.approx(wavelength_m(8000.0) * 1.2 / (16 * PIXEL_M))
        expected = (metres - metres[0]) / pixel
        np.testing.assert_allclose(found.positions - found.positions[0], expected, atol=1e-6)
        seen.append(found.metadata["photon_energy_eV"])
    np.testing.assert_allclose(seen, 8000.0)
