"""Data files that PtyLab reads: both programs see the same frames, positions and pixels."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

pytest.importorskip("PtyLab", reason="PtyLab is installed by the session others")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("number", range(8))
def test_both_see_the_same_scan(tmp_path, number):
    from PtyLab.ExperimentalData.ExperimentalData import ExperimentalData
    from PtyLab.Params.Params import Params
    from PtyLab.Reconstruction.Reconstruction import Reconstruction

    from ptycho_torch.data.opening import open_scan

    rng = np.random.default_rng(number)
    spot = 80 * np.exp(-((np.indices((32, 32)) - 16) ** 2).sum(axis=0) / 40)
    with h5py.File(tmp_path / "scan.hdf5", "w") as file:
        file["ptychogram"] = rng.poisson(spot, (20, 32, 32)).astype("f4")
        file["encoder"] = rng.uniform(-2e-4, 2e-4, (20, 2))
        file["dxd"], file["zo"], file["wavelength"] = (7e-5,), (5e-2,), (6.3e-7,)
        file["entrancePupilDiameter"] = (1e-4,)
        file["orientation"] = number
    theirs = ExperimentalData(tmp_path / "scan.hdf5", operationMode="CPM")
    state = Reconstruction(theirs, Params())
    found = open_scan(tmp_path / "scan.hdf5")
    ours = np.asarray(found.diffraction[:])
    # PtyLab flips the array, here it is flipped about the zero frequency: one row or column apart.
    for bit, axis in ((2, -2), (1, -1)):
        if number & bit:
            ours = np.roll(ours, -1, axis)
    np.testing.assert_array_equal(ours, theirs.ptychogram)
    assert found.metadata["object_pixel_width_m"] == pytest.approx(float(state.dxo))
    rows = np.round(found.positions - found.positions[0] + theirs.encoder[0] / float(state.dxo), 6)
    np.testing.assert_allclose(rows, theirs.encoder / float(state.dxo), atol=1e-5)
