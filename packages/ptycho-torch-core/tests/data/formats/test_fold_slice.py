"""Files of fold_slice: two files, written by Python or by MATLAB, frames first or last."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from ptycho_config import PartsConfig
from ptycho_torch.data.opening import open_scan, read_scan_header
from ptycho_torch.data.recognition import recognised
from ptycho_torch.data.scan.example import example_scan
from ptycho_torch.data.scan.geometry import wavelength_m
from ptycho_torch.errors import DataError

pytestmark = pytest.mark.filterwarnings("ignore:.*holds no probe:ptycho_torch.errors.ScanWarning")
PIXEL_M = 2e-8
SCAN = example_scan()


@pytest.fixture
def made(tmp_path):
    def make(kind="python", *, with_optics=True):
        frames, (y, x) = SCAN.diffraction[:], SCAN.positions.T * PIXEL_M
        if kind == "matlab":
            # An array (row, column, frame) of MATLAB has its axes the other way round in the file.
            frames, y, x = frames.swapaxes(1, 2), y[None], x[None]
        if kind == "last":
            frames = np.moveaxis(frames, 0, -1)
        with h5py.File(tmp_path / "data_roi0_dp.hdf5", "w") as file:
            file["dp"] = frames
        with h5py.File(tmp_path / "data_roi0_para.hdf5", "w") as file:
            file["ppX"], file["ppY"] = x, y
            if with_optics:
                file["lambda"], file["dx"] = wavelength_m(8000.0), PIXEL_M
        return tmp_path / "data_roi0_dp.hdf5"

    return make


@pytest.mark.parametrize("kind", ["python", "matlab", "last"])
def test_two_files_are_one_scan(made, kind):
    path = made(kind)
    for one in (path, path.with_name("data_roi0_para.hdf5")):
        found = open_scan(one)
        np.testing.assert_array_equal(found.diffraction[:], SCAN.diffraction[:])
        moved = found.positions - found.positions[0]
        np.testing.assert_allclose(moved, SCAN.positions - SCAN.positions[0], atol=1e-6)
    assert found.metadata["object_pixel_width_m"] == PIXEL_M
    assert read_scan_header(path).n_frames == 12


def test_positions_without_optics_want_a_pixel_size(made):
    path = made(with_optics=False)
    with pytest.raises(DataError) as caught:
        open_scan(path)
    assert "photon_energy_eV" in caught.value.names
    found = open_scan(path, parts=PartsConfig(pixel_size=PIXEL_M))
    moved = found.positions - found.positions[0]
    np.testing.assert_allclose(moved, SCAN.positions - SCAN.positions[0], atol=1e-6)


def test_a_half_is_named_or_taken_with_positions_of_its_own(made, tmp_path):
    path = made()
    path.with_name("data_roi0_para.hdf5").unlink()
    with pytest.raises(DataError) as caught:
        open_scan(path)
    assert any("NAME_para" in problem for problem in caught.value.problems)
    np.save(tmp_path / "xy.npy", SCAN.positions[:, ::-1])
    stated = PartsConfig(positions=tmp_path / "xy.npy", position_unit="px")
    found = open_scan(f"{path}:/dp", parts=stated)
    np.testing.assert_array_equal(found.positions, SCAN.positions)
    assert recognised(f"{path}:/dp", parts=stated)[0].name == "parts"
