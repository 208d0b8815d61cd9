"""A small sound scan as named arrays, to break one thing at a time."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest

N_FRAMES, SIZE = 6, 16


@pytest.fixture
def arrays():
    """Sound scan of 6 frames of 16 x 16 counts, as a file holds it."""
    rng = np.random.default_rng(0)
    return {
        "diff3d": rng.poisson(30.0, size=(N_FRAMES, SIZE, SIZE)).astype(np.uint16),
        "xcoords": rng.uniform(20, 60, N_FRAMES),
        "ycoords": rng.uniform(20, 50, N_FRAMES),
        "probeGuess": (rng.normal(size=(SIZE, SIZE)) + 1j * rng.normal(size=(SIZE, SIZE))).astype(
            np.complex64
        ),
    }


@pytest.fixture
def write(tmp_path):
    """Write named arrays as NPZ, with optional metadata, and return the path."""

    def write_npz(arrays, metadata=None, name="scan.npz"):
        path = tmp_path / name
        extra = {} if metadata is None else {"_metadata": np.array(json.dumps(metadata))}
        np.savez_compressed(path, **arrays, **extra)
        return path

    return write_npz


@pytest.fixture
def optics():
    """Geometry of the files below: 8 keV, 1.2 m, detector pixels of 60 (y) and 75 (x) micrometres."""
    return {
        "photon_energy_eV": 8000.0,
        "detector_object_distance_m": 1.2,
        "detector_pixel_height_m": 60e-6,
        "detector_pixel_width_m": 75e-6,
    }


@pytest.fixture
def pair(tmp_path, arrays, optics):
    """Write diffraction.h5 and product.h5 as ptychodus lays them out, from the sound arrays.

    Frames are numbered from 3; the object is 90 x 100 px around (1 mm, -2 mm). ``edit(diffraction, product)``
    changes the open files before they are closed.
    """
    wavelength = 6.62607015e-34 * 299792458.0 / (optics["photon_energy_eV"] * 1.602176634e-19)
    pixel_y, pixel_x = (
        wavelength * optics["detector_object_distance_m"] / (SIZE * optics[f"detector_pixel_{axis}_m"])
        for axis in ("height", "width")
    )
    image = np.ones((90, 100), dtype=np.complex64) * 1j

    def write_pair(edit=None):
        files = (h5py.File(tmp_path / name, "w") for name in ("diffraction.h5", "product.h5"))
        with next(files) as one, next(files) as two:
            one["indexes"] = np.arange(3, 3 + N_FRAMES)
            one.create_dataset("patterns", data=arrays["diff3d"], chunks=(4, 5, 7), compression="lzf")
            for name in ("detector_pixel_height_m", "detector_pixel_width_m"):
                one["patterns"].attrs[name] = optics[name]
            one["bad_pixels"] = np.zeros((SIZE, SIZE), dtype=bool)
            two.attrs["name"] = "test"
            two.attrs["detector_object_distance_m"] = optics["detector_object_distance_m"]
            two.attrs["photon_energy_eV"] = optics["photon_energy_eV"]
            two["probe"] = arrays["probeGuess"][None, None]
            two["object"] = image[None]
            for item in (two["probe"], two["object"]):
                item.attrs["pixel_height_m"], item.attrs["pixel_width_m"] = pixel_y, pixel_x
            two["object"].attrs["center_x_m"], two["object"].attrs["center_y_m"] = 1e-3, -2e-3
            two["object_layer_spacing_m"] = np.zeros(0)
            two["probe_position_indexes"] = np.arange(3, 3 + N_FRAMES)
            two["probe_position_x_m"] = 1e-3 + (arrays["xcoords"] - 99 / 2) * pixel_x
            two["probe_position_y_m"] = -2e-3 + (arrays["ycoords"] - 89 / 2) * pixel_y
            if edit is not None:
                edit(one, two)
        return tmp_path

    return write_pair
