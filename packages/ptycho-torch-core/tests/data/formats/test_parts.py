"""Frames here, positions there: any kind of file for each, their units, and what is refused by name."""

from __future__ import annotations

import importlib.util
import pickle
import shutil

import h5py
import numpy as np
import pytest
import tifffile

from ptycho_config import PartsConfig, evolve
from ptycho_torch.data.convert import write_scan
from ptycho_torch.data.formats import parts
from ptycho_torch.data.opening import open_scan, read_scan_header
from ptycho_torch.data.scan.example import example_scan
from ptycho_torch.data.scan.geometry import NEEDED_ENTRIES, ScanGeometry, wavelength_m
from ptycho_torch.errors import DataError

SCAN = example_scan()
GEOMETRY = ScanGeometry.from_entries(SCAN.metadata, SCAN.N)
PLACES_M = GEOMETRY.middles_m(SCAN.positions, SCAN.N)
DETECTOR = "entry/instrument/detector"
pytestmark = pytest.mark.filterwarnings("ignore:.*holds no probe:ptycho_torch.errors.ScanWarning")


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
    np.save(tmp_path / "px.npy", SCAN.positions[:, ::-1])
    found = open_scan(made(positions="px.npy", position_unit="px", metadata=None))
    np.testing.assert_allclose(found.positions, SCAN.positions, atol=1e-9)
    np.save(tmp_path / "um.npy", SCAN.positions[:, ::-1] * 0.05)
    found = open_scan(made(positions="um.npy", position_unit="um", metadata=None, pixel_size=5e-8))
    np.testing.assert_allclose(shift(found), shift(SCAN), atol=1e-6)
    assert found.metadata["object_pixel_width_m"] == 5e-8


@pytest.mark.parametrize("model", [None, "mean-frame", "gaussian", "disk"])
def test_a_probe_is_modelled_where_there_is_none(made, model):
    width = 5 * GEOMETRY.object_pixel_m[1] if model in ("gaussian", "disk") else None
    found = open_scan(made(probe=None, probe_model=model, probe_diameter=width))
    assert found.probe.shape == (1, 16, 16)
    # Who states a model need not be told.
    assert [item.found for item in found.findings if item.name == "no-probe"] == [model is None]
    light = np.abs(found.probe[0]) ** 2
    assert light.sum() == pytest.approx(SCAN.diffraction[:].sum() / 12, rel=1e-3)
    if model in ("gaussian", "disk"):
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
    assert found.metadata["saturation_counts"] == 60000
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


@pytest.mark.parametrize(
    ("text", "columns", "unit"),
    [
        ("x_um,y_um\n{rows}", None, None),
        ("Y [um] X [um]\n{xy}", None, None),
        ("# pos_x (um), pos_y (um)\n{rows}", None, None),
        ("n;ppX;ppY\n{numbered}", None, "um"),
        ("a,b,c\n{numbered}", "b,c", "um"),
        ("{numbered}", "1,2", "um"),
        (
            "S00123 scan, 12 points\nDataPoint Target_x Average_x_st_fzp Stdev_x_st_fzp Target_y "
            "Average_y_st_fzp Stdev_y_st_fzp\n{stage}",
            None,
            "um",
        ),
    ],
)
def test_columns_are_found_by_name_or_number(made, tmp_path, text, columns, unit):
    yx = PLACES_M * 1e6
    rows = {
        "rows": "\n".join(f"{x!r},{y!r}" for y, x in yx.tolist()),
        "xy": "\n".join(f"{y!r} {x!r}" for y, x in yx.tolist()),
        "numbered": "\n".join(f"{n};{x!r};{y!r}" for n, (y, x) in enumerate(yx.tolist())),
        "stage": "\n".join(f"{n} 0 {x!r} 0.1 0 {y!r} 0.1" for n, (y, x) in enumerate(yx.tolist())),
    }
    (tmp_path / "places.dat").write_text(text.format(**rows))
    found = open_scan(made(positions="places.dat", position_columns=columns, position_unit=unit))
    np.testing.assert_allclose(shift(found), shift(SCAN), atol=1e-6)


@pytest.mark.parametrize("kind", ["rows", "group", "unit beside", "xyz"])
def test_positions_in_an_hdf5_file_have_many_shapes(made, tmp_path, kind):
    y, x = PLACES_M.T
    with h5py.File(tmp_path / "stage.h5", "w") as file:
        if kind == "group":
            file["p/ppY"], file["p/ppX"] = y[None], x[None]
        else:
            values = np.stack([x, y, 0 * x]) if kind == "xyz" else np.stack([x, y])
            file["p"] = values if kind == "rows" else values.T
        if kind == "unit beside":
            file["p"][...] = file["p"][()] * 1e9
            file["p"].attrs["units"] = "nm"
    unit = None if kind == "unit beside" else "m"
    found = open_scan(made(positions="stage.h5:/p", position_unit=unit))
    np.testing.assert_allclose(shift(found), shift(SCAN), atol=1e-6)


def test_a_unit_that_is_contradicted_is_refused(made, tmp_path):
    (tmp_path / "places.csv").write_text("x_nm,y_nm\n" + "1,2\n" * 12)
    for unit, named in (("um", "nm"), (None, "")):
        text = "x,y\n" + "1,2\n" * 12 if unit is None else None
        if text:
            (tmp_path / "places.csv").write_text(text)
        with pytest.raises(DataError) as caught:
            open_scan(made(positions="places.csv", position_unit=unit))
        assert any("position_unit" in problem and named in problem for problem in caught.value.problems)


def test_a_probe_may_be_in_a_file_of_its_own(made, tmp_path):
    np.save(tmp_path / "probe.npy", SCAN.probe)
    np.savez(tmp_path / "result.npz", probe=SCAN.probe, object=np.ones((4, 4), complex))
    for name in ("probe.npy", "result.npz", "probe.h5", "probe.h5:/probe"):
        np.testing.assert_array_equal(open_scan(made(probe=name)).probe, SCAN.probe)


def test_a_lens_lights_the_frequencies_of_its_angle(made):
    # A little more than the zone plate, so that rounding does not decide about the rim.
    angle = 1.001 * wavelength_m(8000.0) / (2 * 4 * GEOMETRY.object_pixel_m[1])
    ours = open_scan(made(probe=None, probe_model="lens", probe_angle=angle * 1e3)).probe
    zone = {"probe_model": "zone-plate", "probe_outer_zone": 3.996 * GEOMETRY.object_pixel_m[1]}
    np.testing.assert_allclose(ours, open_scan(made(probe=None, **zone)).probe, atol=1e-4)


@pytest.mark.parametrize("model", ["mean-frame", "gaussian", "disk", "lens"])
def test_every_model_can_be_out_of_focus(made, model):
    size = {"probe_diameter": 5 * GEOMETRY.object_pixel_m[1]} if model in ("gaussian", "disk") else {}
    size = {"probe_angle": 0.05} if model == "lens" else size
    focus, away = (
        open_scan(made(probe=None, probe_model=model, probe_defocus=z, **size)).probe[0] for z in (None, 1e-3)
    )
    squares = sum(
        np.meshgrid(*(np.fft.fftfreq(16, pixel) ** 2 for pixel in GEOMETRY.object_pixel_m), indexing="ij")
    )
    far, moved = (np.fft.fft2(np.fft.ifftshift(p.astype(np.complex128))) for p in (focus, away))
    expected = far * np.exp(-1j * np.pi * wavelength_m(8000.0) * 1e-3 * squares)
    np.testing.assert_allclose(moved, expected, atol=1e-4 * np.abs(far).max())


def test_a_step_makes_the_positions_of_a_raster(tmp_path):
    cube = SCAN.diffraction[:].reshape(3, 4, 16, 16)
    with h5py.File(tmp_path / "cube.h5", "w") as file:
        file["data"] = cube
    np.save(tmp_path / "cube.npy", cube)
    stated = PartsConfig(raster_step=300.0, position_unit="nm", pixel_size=1e-7)
    for name in ("cube.h5:/data", "cube.npy"):
        found = open_scan(f"{tmp_path}/{name}", parts=stated)
        np.testing.assert_array_equal(found.diffraction[:], SCAN.diffraction[:])
        np.testing.assert_allclose(shift(found), np.indices((3, 4)).reshape(2, -1).T * 3.0)
    np.save(tmp_path / "flat.npy", SCAN.diffraction[:])
    with pytest.raises(DataError) as caught:
        open_scan(tmp_path / "flat.npy", parts=stated)
    assert [problem.name for problem in caught.value.problems] == ["raster_step"]


def test_electrons_have_their_own_wavelength(tmp_path, made):
    found = open_scan(made(metadata=None), parts=PartsConfig(energy=3e5, particle="electron", distance=1.0,
                                                             detector_pixel=5e-5))  # fmt: skip
    assert wavelength_m(found.metadata["photon_energy_eV"]) == pytest.approx(1.9687e-12, rel=1e-4)


def test_what_is_stated_outranks_the_text_of_the_parts(made, tmp_path):
    np.save(tmp_path / "other.npy", PLACES_M[:, ::-1] * 2e3)
    text = made(positions="positions.csv")
    found = open_scan(text, parts=PartsConfig(positions=tmp_path / "other.npy", position_unit="mm"))
    np.testing.assert_allclose(shift(found), 2 * shift(SCAN), atol=1e-6)
    assert found.metadata["parts"]["position_unit"] == "mm"
    modelled = open_scan(text, parts=PartsConfig(probe_model="mean-frame"))
    assert modelled.probe.shape[0] == 1


def test_a_text_may_name_a_scan_of_any_format(made, tmp_path):
    write_scan(tmp_path / "scan.cxi", SCAN)
    for frames in ("scan.cxi", "scan.cxi:/entry_1"):
        found = open_scan(made(frames=frames, metadata=None, probe=None))
        np.testing.assert_allclose(shift(found), shift(SCAN), atol=1e-6)
        np.testing.assert_array_equal(found.probe, SCAN.probe)


def test_a_master_file_and_a_stage_are_a_scan_without_a_text(master, tmp_path):
    y, x = PLACES_M.T * 1e6
    (tmp_path / "stage.csv").write_text("\n".join(f"{a},{b}" for a, b in zip(x, y, strict=True)))
    stated = PartsConfig(positions=tmp_path / "stage.csv", position_unit="um")
    path = master()
    found = open_scan(path, parts=stated)
    np.testing.assert_allclose(shift(found), shift(SCAN), atol=1e-6)
    assert read_scan_header(path, parts=stated).n_frames == 12
    # A mask of the whole detector is cut like its frames.
    mask = np.zeros((19, 22))
    mask[3 + 5, 2 + 6] = 1
    np.save(tmp_path / "mask.npy", mask)
    masked = open_scan(path, parts=evolve(stated, mask=tmp_path / "mask.npy"))
    assert np.argwhere(masked.bad_pixels).tolist() == [[5, 6]]


def test_frames_of_an_electron_microscope_name_the_extra_that_reads_them(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    path = tmp_path / "scan.mib"
    path.write_bytes(b"MQ1,000001,00384,01,0256,0256,U16".ljust(600, b"\0"))
    with pytest.raises(DataError) as caught:
        open_scan(path, parts=PartsConfig(raster_step=3.0, position_unit="px", probe_model="mean-frame"))
    assert "[libertem]" in str(caught.value)
