"""Files of other programs of the field, written here after their layouts: units, rasters, masks, refusals."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from ptycho_torch.data.convert import convert, write_scan
from ptycho_torch.data.formats import nxcxi_ptycho, ptylab, ptypy_ptyd
from ptycho_torch.data.opening import open_scan, read_scan_header
from ptycho_torch.data.recognition import recognised
from ptycho_torch.data.scan.example import example_scan
from ptycho_torch.data.scan.hdf5_frames import HDF5Frames
from ptycho_torch.data.scan.joined import JoinedFrames
from ptycho_torch.errors import DataError, ScanWarning

pytestmark = pytest.mark.filterwarnings("ignore:.*holds no probe:ptycho_torch.errors.ScanWarning")

E, PLACES = "entry_1", "entry_1/sample_1/geometry_1/translation"


@pytest.fixture
def made(tmp_path):
    """Write the example of a format, edited: a function of the open file."""

    def make(module, edit=lambda file: None):
        path = tmp_path / f"{module.NAME}{len(list(tmp_path.iterdir()))}.h5"
        module.make_example(path)
        with h5py.File(path, "a") as file:
            edit(file)
        return path

    return make


def shift(scan):
    return scan.positions - scan.positions[0]


def put(file, name, value, units=None):
    if name in file:
        del file[name]
    file[name] = value
    if units is not None:
        file[name].attrs["units"] = units


def refusal(path):
    with pytest.raises(DataError) as caught:
        open_scan(path)
    return caught.value.names


@pytest.mark.parametrize("group", ["transformations", "geometry_1"])
def test_positions_of_a_nexus_file_may_be_moves_of_the_stage(made, group):
    def edit(file):
        x, y, _ = file[PLACES][()].T
        del file[PLACES], file[f"{E}/data_1/translation"]
        put(file, f"{E}/sample_1/{group}/x", x * 1e3, "um")
        put(file, f"{E}/sample_1/{group}/y", y * 1e6, "nm")

    np.testing.assert_allclose(shift(open_scan(made(nxcxi_ptycho, edit))), shift(example_scan()), atol=1e-6)


def test_frames_of_a_raster_have_two_axes_of_positions(made):
    x_um, y_um = np.arange(4) * 1.5, np.arange(3) * 2.5

    def edit(file):
        frames = file[f"{E}/instrument_1/detector_1/data"][()].reshape(3, 4, 16, 16)
        put(file, f"{E}/instrument_1/detector_1/data", frames)
        del file[PLACES], file[f"{E}/data_1/translation"]
        put(file, f"{E}/sample_1/transformations/x", x_um, "um")
        put(file, f"{E}/sample_1/transformations/y", y_um, "um")

    path = made(nxcxi_ptycho, edit)
    found = open_scan(path)
    np.testing.assert_array_equal(found.diffraction[:], example_scan().diffraction)
    np.testing.assert_array_equal(found.diffraction[[7, 2, 3]], example_scan().diffraction[[7, 2, 3]])
    pixel = [found.metadata[f"object_pixel_{name}_m"] for name in ("height", "width")]
    y_m, x_m = (axis.ravel() * 1e-6 for axis in np.meshgrid(y_um, x_um, indexing="ij"))
    np.testing.assert_allclose(shift(found), np.stack([y_m, x_m], axis=1) / pixel, atol=1e-6)
    assert read_scan_header(path).n_frames == 12


def test_a_nexus_file_without_a_probe_begins_with_one_from_its_frames(made):
    path = made(nxcxi_ptycho, lambda file: file.__delitem__(f"{E}/instrument_1/source_1/illumination"))
    with pytest.warns(ScanWarning, match="no probe"):
        found = open_scan(path)
    far = np.abs(np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(found.probe[0]), norm="ortho"))) ** 2
    np.testing.assert_allclose(far, np.mean(example_scan().diffraction[:], axis=0), rtol=1e-3, atol=1e-2)
    assert read_scan_header(path).probe_size == 16


def test_a_written_nexus_file_is_of_the_definition(tmp_path):

    write_scan(tmp_path / "a.nxs", example_scan())
    with h5py.File(tmp_path / "a.nxs") as file:
        assert file[f"{E}/definition"][()] == b"NXcxi_ptycho"
        assert file[E].attrs["NX_class"] == "NXentry"
        assert file[f"{E}/instrument_1/beam_1/energy"].attrs["units"] == "J"
        assert file[f"{E}/data/{file[f'{E}/data'].attrs['signal']}"].shape == (12, 16, 16)
        assert file["cxi_version"][()] == 160
    convert(tmp_path / "a.nxs", tmp_path / "b.cxi")
    np.testing.assert_array_equal(open_scan(tmp_path / "b.cxi").positions, example_scan().positions)


@pytest.mark.parametrize("stated", ["per frame", "common"])
def test_weights_of_ptypy_are_the_mask(made, stated):
    weight = np.ones((16, 16))
    weight[3, 4] = 0

    def edit(file):
        if stated == "common":
            put(file, "common/weight2d", weight)
        else:
            for number, n in ((0, 7), (1, 5)):
                put(file, f"chunks/{number}/weights", np.tile(weight, (n, 1, 1)))

    assert np.argwhere(open_scan(made(ptypy_ptyd, edit)).bad_pixels).tolist() == [[3, 4]]


def test_chunks_of_ptypy_are_one_stack_that_is_read_in_parts(made):
    scan = open_scan(made(ptypy_ptyd))
    frames = example_scan().diffraction[:]
    for index in (8, slice(5, 9), [9, 0, 9, 6], np.arange(12) % 2 == 0):
        np.testing.assert_array_equal(scan.diffraction[index], frames[index])
    np.testing.assert_array_equal(scan.diffraction.take([11, 3])[:], frames[[11, 3]])


def test_a_number_of_ptypy_without_a_unit_is_kiloelectronvolt_and_one_size_is_both(made):
    def edit(file):
        for group in ("meta", "info"):
            put(file, f"{group}/psize", 75e-6)
            put(file, f"{group}/energy", 8.0e3, "eV")

    metadata = open_scan(made(ptypy_ptyd, edit)).metadata
    assert metadata["photon_energy_eV"] == pytest.approx(8000.0)
    assert metadata["detector_pixel_height_m"] == metadata["detector_pixel_width_m"] == 75e-6


def test_the_probe_of_a_ptylab_file_is_its_pupil(made):
    found = open_scan(made(ptylab))
    amplitude = np.abs(found.probe[0])
    assert (amplitude > 0.5 * amplitude.max()).sum() == pytest.approx(np.pi * 9, rel=0.15)
    assert amplitude[8, 8] > 0
    assert (amplitude**2).sum() == pytest.approx(example_scan().diffraction[:].sum() / 12, rel=1e-3)


REFUSED = {
    "positions of another length": (ptylab, "encoder", np.zeros((5, 2)), "encoder"),
    "no distance": (ptylab, "zo", None, "detector_object_distance_m"),
    "a wavelength of a metre": (ptylab, "wavelength", 1.0, "wavelength"),
    "positions of another shape": (ptypy_ptyd, "chunks/1/positions", np.zeros((5, 3)), "chunks/1/positions"),
    "chunks of other frames": (ptypy_ptyd, "chunks/1/data", np.ones((5, 8, 8)), "chunks"),
    "a chunk without positions": (ptypy_ptyd, "chunks/1/positions", None, "chunks/1/positions"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused_by_name(made, case):
    module, name, value, named = REFUSED[case]
    path = made(module, lambda file: file.__delitem__(name) if value is None else put(file, name, value))
    assert named in refusal(path)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("object", "probe", "error", "wavelength", "zo"), "a reconstruction of PtyLab, not a scan"),
        (("content/obj/S00/data", "content/probe/S00/data"), "a reconstruction of ptypy, not a scan"),
    ],
)
def test_results_of_other_programs_are_named(tmp_path, names, words):
    with h5py.File(tmp_path / "result.h5", "w") as file:
        for name in names:
            file[name] = np.ones((4, 4))
    with pytest.raises(DataError) as caught:
        recognised(tmp_path / "result.h5")[1]
    assert any(words in problem for problem in caught.value.problems)


def test_joined_stacks_must_be_of_one_size(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["a"], file["b"] = np.ones((2, 4, 4)), np.ones((2, 6, 6))
    with pytest.raises(ValueError, match="one size"):
        JoinedFrames([HDF5Frames(tmp_path / "x.h5", name) for name in "ab"])


def renamed(file):
    """The entry under names of its own, which only the classes of NeXus tell."""
    file.move(E, "scan_7")
    for old, new in (
        ("instrument_1/detector_1", "instrument_1/eiger"),
        ("instrument_1/source_1", "instrument_1/ring"),
        ("instrument_1/beam_1", "instrument_1/xray"),
        ("instrument_1", "beamline"),
        ("sample_1", "chip"),
    ):
        file.move(f"scan_7/{old}", f"scan_7/{new}")
    del file["scan_7/data_1"]
    file["scan_7/beamline/eiger/counts"] = file["scan_7/beamline/eiger/data"][()]
    del file["scan_7/beamline/eiger/data"]
    plot = file.create_group("scan_7/plot")
    plot.attrs["NX_class"], plot.attrs["signal"] = "NXdata", "counts"
    plot["counts"] = h5py.SoftLink("/scan_7/beamline/eiger/counts")


def test_groups_of_a_nexus_file_are_known_by_their_classes(made):
    path = made(nxcxi_ptycho, renamed)
    found, plain = open_scan(path), open_scan(made(nxcxi_ptycho))
    np.testing.assert_array_equal(found.diffraction[:], plain.diffraction[:])
    np.testing.assert_allclose(shift(found), shift(plain), atol=1e-9)
    assert found.metadata["photon_energy_eV"] == plain.metadata["photon_energy_eV"]
    assert read_scan_header(path).n_frames == 12


@pytest.mark.parametrize("definition", ["NXptycho", b"NXcxi_ptycho"])
def test_both_names_of_the_definition_are_known(made, definition):
    path = made(nxcxi_ptycho, lambda file: put(file, f"{E}/definition", definition))
    assert recognised(path)[0].name == "nxcxi-ptycho"


def test_motors_move_along_their_vectors(made):
    def edit(file):
        x, y, _ = file[PLACES][()].T * 1e3
        del file[PLACES], file[f"{E}/data_1/translation"]
        group = file.create_group(f"{E}/sample_1/stage")
        group.attrs["NX_class"] = "NXtransformations"
        for name, values, vector in (
            ("coarse", 7.0, (1, 0, 0)),
            ("motor_a", -x, (-1, 0, 0)),
            ("motor_b", y[:, None, None], (0, 1, 0)),
            ("lift", y * 0 + 3, (0, 0, 1)),
            ("theta", x * 5, (0, 1, 0)),
        ):
            put(file, f"{E}/sample_1/stage/{name}", values, "um")
            file[f"{E}/sample_1/stage/{name}"].attrs["vector"] = vector
            kind = "rotation" if name == "theta" else "translation"
            file[f"{E}/sample_1/stage/{name}"].attrs["transformation_type"] = kind

    np.testing.assert_allclose(shift(open_scan(made(nxcxi_ptycho, edit))), shift(example_scan()), atol=1e-6)


@pytest.mark.parametrize("how", ["indices", "axes", "nothing"])
def test_a_square_raster_says_which_axis_runs_first(made, how, caplog):
    def edit(file):
        frames = file[f"{E}/instrument_1/detector_1/data"][:9].reshape(3, 3, 16, 16)
        put(file, f"{E}/instrument_1/detector_1/data", frames)
        del file[PLACES], file[f"{E}/data_1/translation"]
        for axis in "xy":
            put(file, f"{E}/sample_1/transformations/{axis}", np.arange(3) * 2.0, "um")
        plot = file.create_group(f"{E}/plot")
        plot.attrs["NX_class"] = "NXdata"
        if how == "indices":
            plot.attrs["x_indices"], plot.attrs["y_indices"] = 0, 1
        elif how == "axes":
            plot.attrs["axes"] = ["x", "y", ".", "."]

    found = open_scan(made(nxcxi_ptycho, edit))
    # The second frame lies along the second axis.
    moved = np.flatnonzero(np.abs(shift(found)[1]) > 0.5)
    assert moved.tolist() == [1 if how == "nothing" else 0]
    assert ("which axis runs first" in caplog.text) == (how == "nothing")


@pytest.mark.parametrize("number", range(8))
def test_frames_of_ptylab_are_turned_as_the_file_says(made, number):
    frames = example_scan().diffraction[:]

    def edit(file):
        stored = frames
        # The inverse of what a reader does: flips first, the transposition last.
        for bit, axis in ((2, -2), (1, -1)):
            if number & bit:
                stored = np.roll(np.flip(stored, axis), 1, axis)
        if number & 4:
            stored = stored.swapaxes(-2, -1)
        put(file, "ptychogram", stored)
        file["orientation"] = number
        encoder = file["encoder"][()]
        put(file, "encoder", encoder.T)
        for name in ("wavelength", "zo", "dxd"):
            put(file, name, np.full((1, 1), file[name][()]))

    path = made(ptylab, edit)
    found = open_scan(path)
    np.testing.assert_array_equal(found.diffraction[:], frames)
    np.testing.assert_array_equal(found.diffraction.take([3, 1])[:], frames[[3, 1]])
    np.testing.assert_allclose(shift(found), shift(open_scan(made(ptylab))), atol=1e-9)
    with pytest.warns(UserWarning, match="cropped"):
        assert open_scan(path, N=8).diffraction.shape == (12, 8, 8)


def test_data_of_ptylab_that_are_no_scan_or_tilted_are_named(made):
    with pytest.raises(DataError) as caught:
        open_scan(made(ptylab, lambda file: put(file, "zled", 0.1)))
    assert any("Fourier ptychography" in problem for problem in caught.value.problems)
    with pytest.raises(DataError) as caught:
        open_scan(made(ptylab, lambda file: put(file, "theta", 45.0)))
    assert "theta" in caught.value.names


def test_weights_that_differ_by_frame_mask_in_all(made, caplog):
    def edit(file):
        for number, n in ((0, 7), (1, 5)):
            weight = np.ones((n, 16, 16))
            weight[n // 2, 3, 4 + number] = 0
            put(file, f"chunks/{number}/weights", weight)

    assert np.argwhere(open_scan(made(ptypy_ptyd, edit)).bad_pixels).tolist() == [[3, 4], [3, 5]]
    assert "in some frames only" in caplog.text


@pytest.mark.parametrize(("centre", "size"), [((8.0, 8.0), 16), ((7.5, 7.5), 16), ((7.0, 8.0), 14)])
def test_frames_of_ptypy_are_cut_about_their_centre(made, centre, size):
    path = made(ptypy_ptyd, lambda file: put(file, "meta/center", np.array(centre)))
    found, frames = open_scan(path), example_scan().diffraction[:]
    top, left = (0, 1) if size == 14 else (0, 0)
    np.testing.assert_array_equal(found.diffraction[:], frames[:, top : top + size, left : left + size])
