"""CXI files that cdtools writes: read as cdtools itself reads them, in every mounting of the detector."""

from __future__ import annotations

import numpy as np
import pytest

cdtools = pytest.importorskip("cdtools", reason="cdtools is installed by the session others")
pytestmark = pytest.mark.filterwarnings("ignore:.*holds no probe:ptycho_torch.errors.ScanWarning")

PIXEL_Y, PIXEL_X, DISTANCE, WAVELENGTH = 60e-6, 75e-6, 1.2, 1.5498e-10
MOUNTINGS = {
    "none stated": None,
    "straight": [[0, -PIXEL_Y, 0], [-PIXEL_X, 0, 0]],
    "mirrored": [[0, -PIXEL_Y, 0], [PIXEL_X, 0, 0]],
    "upside down": [[0, PIXEL_Y, 0], [-PIXEL_X, 0, 0]],
    "half a turn": [[0, PIXEL_Y, 0], [PIXEL_X, 0, 0]],
    "a quarter turn": [[-PIXEL_Y, 0, 0], [0, PIXEL_X, 0]],
    "transposed": [[-PIXEL_Y, 0, 0], [0, -PIXEL_X, 0]],
}


def written(path, basis):
    """A data set of cdtools in a file, and its probe translations (n, 3); m."""
    from cdtools.datasets import Ptycho2DDataset
    from cdtools.tools import data

    rng = np.random.default_rng(4)
    translations = np.concatenate([rng.uniform(-4e-6, 4e-6, (24, 2)), np.zeros((24, 1))], axis=1)
    mask = np.ones((32, 32), dtype=bool)
    mask[3, 5] = False
    spot = 80 * np.exp(-((np.indices((32, 32)) - 16) ** 2).sum(axis=0) / 40)
    made = Ptycho2DDataset(
        translations,
        rng.poisson(spot, (24, 32, 32)).astype(np.float32),
        wavelength=WAVELENGTH,
        detector_geometry={
            "distance": DISTANCE,
            "basis": np.array(basis or MOUNTINGS["straight"], dtype=float).T,
            "corner": None,
        },
        mask=mask,
    )
    with data.create_cxi(path) as file:
        made.to_cxi(file)
        if basis is None:
            del file["entry_1/instrument_1/detector_1/basis_vectors"]
    return translations


@pytest.mark.parametrize("mounting", MOUNTINGS)
def test_positions_are_those_of_cdtools(tmp_path, mounting):
    import h5py
    import torch
    from cdtools.tools import data, interactions

    from ptycho_torch.data.opening import open_scan

    translations = written(tmp_path / "scan.cxi", MOUNTINGS[mounting])
    found = open_scan(tmp_path / "scan.cxi")
    # Pixels of the object lie along the axes of the detector, and are as long as the far field makes them.
    with h5py.File(tmp_path / "scan.cxi") as file:
        _, basis, _ = data.get_detector_geometry(file)
        assert found.diffraction.shape == data.get_data(file, cut_zeros=False)[0].shape
        np.testing.assert_array_equal(found.bad_pixels, ~data.get_mask(file))
    lengths = np.linalg.norm(basis, axis=0)
    pixels = WAVELENGTH * DISTANCE / (32 * lengths)
    basis_of_object = torch.as_tensor(basis / lengths * pixels)
    theirs = interactions.translations_to_pixel(basis_of_object, torch.as_tensor(translations)).numpy()
    np.testing.assert_allclose(found.positions - found.positions[0], theirs - theirs[0], atol=2e-4)
