"""Frames here, positions there: any kind of file for each, their units, and what is refused by name."""

from __future__ import annotations

import pickle
import shutil

import h5py
import numpy as np
import pytest
import tifffile

from ptycho_torch.data.formats import parts
from ptycho_torch.data.opening import open_scan, read_scan_header
from ptycho_torch.data.scan.example import example_scan
from ptycho_torch.data.scan.geometry import NEEDED_ENTRIES, ScanGeometry, wavelength_m
from ptycho_torch.errors import DataError

SCAN = example_scan()
GEOMETRY = ScanGeometry.from_entries(SCAN.metadata, SCAN.N)
PLACES_M = GEOMETRY.middles_m(SCAN.positions, SCAN.N)
DETECTOR = "entry/instrument/detector"


@pytest.fixture
def made(tmp_path):
    """Write the text for parts that lie beside it; an entry that is None is left out."""
    parts.make_example(tmp_path / "a.scan")
    usual = {
        "frames": "frames.h5:/entry/data",
        "positions": "positions.csv",
        "position_unit": "um",
        "probe": "probe.h5:/probe",
        "metadata": {name: SCAN.metadata[name] for name in NEEDED_ENTRIES},
    }

    def make(**entries):
        lines = []
        for name, value in {**usual, **entries}.items():
            if isinstance(value, dict):
                value = "{ " + ", ".join(f"{key} = {item!r}" for key, item in value.items()) + " }"
                lines.append(f"{name} = {value}")
            elif value is not None:
                lines.append(f"{name} = {value!r}")
        (tmp_path / "b.scan").write_text("\n".join(lines))
        return tmp_path / "b.scan"

    return make


def shift(scan):
    return scan.positions - scan.positions[0]


@pytest.mark.parametrize("kind", ["npy", "tif stack", "folder of tif", "folder of npy"])
def test_frames_may_be_in_files_of_their_own(made, tmp_path, kind):
    frames = SCAN.diffraction[:]
    name = kind.replace(" ", "_")
    if kind == "npy":
        np.save(tmp_path / "frames.npy", frames)
        name = "frames.npy"
    elif kind == "tif stack":
        tifffile.imwrite(tmp_path / "frames.tif", frames)
        name = "frames.tif"
    else:
        (tmp_path / name).mkdir()
        for number, frame in enumerate(frames):
            # No leading zeros: frame 10 comes after frame 9.
            path = tmp_path / name / f"frame_{number}{'.tif' if 'tif' in kind else '.npy'}"
            tifffile.imwrite(path, frame) if "tif" in kind else np.save(path, frame)
    path = made(frames=name)
    found = open_scan(path)
    np.testing.assert_array_equal(found.diffraction[:], frames)
    np.testing.assert_array_equal(found.diffraction[[9, 2, 9]], frames[[9, 2, 9]])
    np.testing.assert_array_equal(
        pickle.loads(pickle.dumps(found.diffraction)).take([3, 1])[:], frames[[3, 1]]
    )
    with pytest.warns(UserWarning, match="cropped"):
        smaller = open_scan(path, N=8)
    np.testing.assert_array_equal(smaller.diffraction[:], frames[:, 4:12, 4:12])
    header = read_scan_header(path)
    assert (header.n_frames, header.N, header.probe_size) == (12, 16, 16)


@pytest.mark.parametrize("chunks", [None, (16, 16, 1), (4, 8, 5)])
def test_the_frame_axis_may_be_the_last(made, tmp_path, chunks):
    frames = SCAN.diffraction[:]
    with h5py.File(tmp_path / "scan_dp.hdf5", "w") as file:
        file.create_dataset("dp", data=np.moveaxis(frames, 0, -1), chunks=chunks)
    path = made(frames="scan_dp.hdf5:/dp", frame_axis="last")
    found = open_scan(path).diffraction
    for index in (slice(None), 7, [9, 0, 9], slice(3, 8)):
        np.testing.assert_array_equal(found[index], frames[index])
    assert read_scan_header(path).n_frames == 12
    with pytest.raises(DataError) as caught:
        open_scan(tmp_path / "scan_dp.hdf5")
    assert any("fold_slice" in problem for problem in caught.value.problems)


@pytest.mark.parametrize("kind", ["columns", "words", "npy", "hdf5"])
@pytest.mark.parametrize(("unit", "factor"), [("m", 1.0), ("mm", 1e3), ("nm", 1e9)])
def test_positions_may_be_in_a_table_or_an_array(made, tmp_path, kind, unit, factor):
    yx = PLACES_M * factor
    name = "places.txt"
    if kind == "columns":
        np.savetxt(tmp_path / name, yx[:, ::-1])
    elif kind == "words":
        rows = [f"{number};{y!r};{x!r}" for number, (y, x) in enumerate(yx.tolist())]
        (tmp_path / name).write_text("\n".join(["# a stage", "number;Y;X", *rows]))
    elif kind == "npy":
        np.save(tmp_path / "places.npy", yx[:, ::-1])
        name = "places.npy"
    else:
        with h5py.File(tmp_path / "places.h5", "w") as file:
            file["stage/xy"] = yx[:, ::-1]
        name = "places.h5:/stage/xy"
    found = open_scan(made(positions=name, position_unit=unit))
    np.testing.assert_allclose(shift(found), shift(SCAN), atol=1e-6)


def test_pixels_and_a_stated_pixel_size_need_no_optics(made, tmp_path):
    np.save(tmp_path / "px.npy", SCAN.positions[:, ::-1] - 0.5)
    found = open_scan(made(positions="px.npy", position_unit="px", metadata=None))
    np.testing.assert_allclose(found.positions, SCAN.positions, atol=1e-9)
    np.save(tmp_path / "um.npy", SCAN.positions[:, ::-1] * 0.05)
    found = open_scan(made(positions="um.npy", position_unit="um", metadata=None, pixel_size=5e-8))
    np.testing.assert_allclose(shift(found), shift(SCAN), atol=1e-6)
    assert found.metadata["object_pixel_width_m"] == 5e-8


@pytest.mark.parametrize("model", ["mean-frame", "gaussian", "disk"])
def test_a_probe_is_modelled_where_there_is_none(made, model, caplog):
    width = None if model == "mean-frame" else 5 * GEOMETRY.object_pixel_m[1]
    found = open_scan(made(probe=None, probe_model=model, probe_diameter=width))
    assert found.probe.shape == (1, 16, 16)
    assert "no probe" in caplog.text
    light = np.abs(found.probe[0]) ** 2
    assert light.sum() == pytest.approx(SCAN.diffraction[:].sum() / 12, rel=1e-3)
    if model != "mean-frame":
        half = light[8] >= light.max() / 2
        assert abs(int(half.sum()) - 5) <= 1


@pytest.mark.parametrize("defocus_px", [0, 3e2])
def test_a_zone_plate_lights_the_frequencies_of_its_aperture(made, defocus_px):
    zone = 4 * GEOMETRY.object_pixel_m[1]
    defocus = defocus_px * GEOMETRY.object_pixel_m[1]
    model = {
        "probe_model": "zone-plate",
        "probe_outer_zone": zone,
        "probe_defocus": defocus,
        "probe_stop": 0.3,
    }
    probe = open_scan(made(probe=None, **model)).probe[0].astype(np.complex128)
    far = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(probe)))
    q = [np.fft.fftshift(np.fft.fftfreq(16, pixel)) for pixel in GEOMETRY.object_pixel_m]
    squares = q[0][:, None] ** 2 + q[1][None] ** 2
    largest = 1 / (2 * zone) ** 2
    lit = (squares <= largest) & (squares >= 0.09 * largest)
    assert lit.any()
    np.testing.assert_array_equal(np.abs(far) > 0.5 * np.abs(far).max(), lit)
    # Moved along the beam by the defocus, with the sign of the propagation of a wave exp(ikz).
    phase = np.exp(-1j * np.pi * wavelength_m(8000.0) * defocus * squares)
    np.testing.assert_allclose((far / phase)[lit].imag, 0, atol=1e-4 * np.abs(far).max())


def test_a_mask_of_its_own_marks_pixels(made, tmp_path):
    mask = np.zeros((16, 16), dtype=np.uint8)
    mask[2, 5] = 4
    np.save(tmp_path / "mask.npy", mask)
    assert np.argwhere(open_scan(made(mask="mask.npy")).bad_pixels).tolist() == [[2, 5]]


REFUSED = {
    "frame": {"frame": "x"},
    "position_unit": {"position_unit": "stone"},
    "frame_axis": {"frame_axis": "middle"},
    "positions": {"positions": "three.npy"},
    "frames": {"frames": "frames.h5"},
    "probe_model": {"probe": None, "probe_model": "square"},
    "probe_diameter": {"probe": None, "probe_model": "disk"},
    "probe_outer_zone": {"probe": None, "probe_model": "zone-plate"},
    "pixel_size": {"pixel_size": 5.0},
    "mask": {"mask": "nowhere.npy"},
    "photon_energy_eV": {"metadata": None},
}


@pytest.mark.parametrize("named", REFUSED)
def test_what_does_not_fit_is_refused_by_name(made, tmp_path, named):
    np.save(tmp_path / "three.npy", np.zeros((3, 2)))
    with pytest.raises(DataError, check=lambda error: named in error.names):
        open_scan(made(**REFUSED[named]))


@pytest.fixture
def master(tmp_path):
    """A master file of a detector of 19 x 22 px, whose beam does not meet its middle."""

    def make(edit=lambda file: None):
        frames = np.zeros((12, 19, 22), dtype=np.uint16)
        frames[:, 3:19, 2:18] = SCAN.diffraction[:]
        with h5py.File(tmp_path / "run_master.h5", "w") as file:
            for number, part in enumerate((slice(0, 5), slice(5, 12)), 1):
                with h5py.File(tmp_path / f"run_data_{number:06}.h5", "w") as block:
                    block["entry/data/data"] = frames[part]
                file[f"entry/data/data_{number:06}"] = h5py.ExternalLink(
                    f"run_data_{number:06}.h5", "entry/data/data"
                )
            for name, value, unit in (
                ("detector_distance", 1.2e3, "mm"),
                ("x_pixel_size", 75e-6, "m"),
                ("y_pixel_size", 60e-6, "m"),
                ("beam_center_x", 10.2, "pixel"),
                ("beam_center_y", 11.0, "pixel"),
                ("detectorSpecific/countrate_correction_count_cutoff", 60000, None),
            ):
                file[f"{DETECTOR}/{name}"] = value
                if unit:
                    file[f"{DETECTOR}/{name}"].attrs["units"] = unit
            mask = np.zeros((19, 22), dtype=np.uint32)
            mask[4, 3] = 1
            file[f"{DETECTOR}/detectorSpecific/pixel_mask"] = mask
            file["entry/instrument/beam/incident_wavelength"] = wavelength_m(8000.0) * 1e10
            file["entry/instrument/beam/incident_wavelength"].attrs["units"] = "angstrom"
            edit(file)
        return tmp_path / "run_master.h5"

    return make


def test_a_master_file_gives_frames_mask_and_optics(made, master, caplog):
    path = made(frames=master().name, metadata=None)
    found = open_scan(path)
    np.testing.assert_array_equal(found.diffraction[:], np.where(found.bad_pixels, 0, SCAN.diffraction[:]))
    assert np.argwhere(found.bad_pixels).tolist() == [[1, 1]]
    np.testing.assert_allclose(shift(found), shift(SCAN), atol=1e-6)
    assert found.metadata["saturation_value"] == 60000
    assert "beam centre" in caplog.text
    assert read_scan_header(path).N == 16


def test_a_block_of_a_master_file_that_is_not_there_is_named(made, master, tmp_path):
    path = made(frames=master().name, metadata=None)
    (tmp_path / "run_data_000002.h5").unlink()
    with pytest.raises(DataError) as caught:
        open_scan(path)
    assert any("run_data_000002.h5" in problem for problem in caught.value.problems)


def test_a_master_file_alone_is_named(master, tmp_path):
    (tmp_path / "alone").mkdir()
    with pytest.raises(DataError) as caught:
        open_scan(shutil.copy(master(), tmp_path / "alone"))
    assert any("DECTRIS master file" in problem for problem in caught.value.problems)
