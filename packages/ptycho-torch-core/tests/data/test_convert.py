"""Converting a scan and back must give the same scan; nothing is written when it cannot be."""

from __future__ import annotations

import json
from dataclasses import replace

import h5py
import numpy as np
import pytest

from ptycho_torch.data.convert import convert
from ptycho_torch.data.format_registry import format_for_target, writable_formats
from ptycho_torch.data.formats.npz import load_scan, save_scan
from ptycho_torch.data.hdf5.product import save_product
from ptycho_torch.data.opening import open_scan, read_scan_header
from ptycho_torch.data.recognition import recognised
from ptycho_torch.data.summary import inspect_scan
from ptycho_torch.diagnosis import statistics
from ptycho_torch.errors import ConfigError, DataError, MissingMetadata, ShapeError
from ptycho_torch.reassembly import StitchedObject

FORMATS = tuple(format.name for format in writable_formats())
NAMES = {
    "npz": "back.npz",
    "cxi": "scan.cxi",
    "nxcxi-ptycho": "scan.nxs",
    "ptychodus-training": "scan.h5",
    "ptychodus": "pair",
}
FIELDS = (
    "positions",
    "positions_nominal",
    "probe",
    "object_truth",
    "object_truth_origin",
    "scan_index",
    "frame_index",
    "bad_pixels",
    "labels",
)


def _assert_same(found, expected):
    assert found.diffraction.dtype == expected.diffraction.dtype
    np.testing.assert_array_equal(found.diffraction[:], expected.diffraction)
    for name in FIELDS:
        ours, theirs = getattr(found, name), getattr(expected, name)
        assert (ours is None) == (theirs is None), name
        if ours is not None:
            assert ours.dtype == theirs.dtype, name
            np.testing.assert_array_equal(ours, theirs, err_msg=name)
    assert found.metadata == expected.metadata


@pytest.fixture
def plain(write, arrays, optics):
    """Sound scan with nothing beyond what is required."""
    return write(arrays, {**optics, "sample": "none"})


@pytest.fixture
def full(tmp_path, plain):
    """Scan with everything a scan can have."""
    rng = np.random.default_rng(3)
    scan = load_scan(plain)
    bad = np.zeros((16, 16), dtype=bool)
    bad[2, 3] = True
    patches = rng.normal(size=(6, 16, 16)) + 1j * rng.normal(size=(6, 16, 16))
    counts = scan.diffraction.copy()
    counts[:, 2, 3] = 0
    scan = replace(
        scan,
        diffraction=counts,
        bad_pixels=bad,
        labels=patches.astype(np.complex64),
        object_truth=(rng.normal(size=(70, 80)) + 1j).astype(np.complex64),
        object_truth_origin=np.array([1.5, -2.25]),
        positions_nominal=scan.positions + rng.normal(size=(6, 2)),
        scan_index=np.array([0, 0, 1, 1, 2, 2]),
        frame_index=np.array([4, 2, 9, 11, 0, 7]),
        probe=np.stack([scan.probe[0], 0.1 * scan.probe[0]]),
        metadata={**scan.metadata, "nested": {"a": [1, 2.5, None]}},
    )
    path = tmp_path / "full.npz"
    save_scan(path, scan)
    return path


@pytest.mark.rule("DATA-017")
@pytest.mark.parametrize("source", ["plain", "full"])
@pytest.mark.parametrize("format", FORMATS)
def test_there_and_back(tmp_path, request, source, format):
    original = request.getfixturevalue(source)
    middle = convert(original, tmp_path / NAMES[format])
    assert recognised(middle)[1].format == format
    _assert_same(open_scan(middle), load_scan(original))
    convert(middle, tmp_path / "again.npz")
    _assert_same(load_scan(tmp_path / "again.npz"), load_scan(original))


@pytest.mark.rule("DATA-017")
@pytest.mark.parametrize("source", ["plain", "full"])
def test_through_every_format(tmp_path, request, source):
    here = original = request.getfixturevalue(source)
    for format in ("ptychodus", "cxi", "ptychodus-training", "npz"):
        here = convert(here, tmp_path / NAMES[format], format)
    _assert_same(open_scan(here), load_scan(original))


def test_a_foreign_pair_keeps_its_positions(tmp_path, pair):
    original = open_scan(pair())
    convert(tmp_path, tmp_path / "a.npz")
    convert(tmp_path / "a.npz", tmp_path / "b.cxi")
    found = open_scan(tmp_path / "b.cxi")
    for name in ("positions", "probe", "object_truth", "frame_index"):
        np.testing.assert_array_equal(getattr(found, name), getattr(original, name))
    with h5py.File(tmp_path / "b.cxi") as file, h5py.File(tmp_path / "product.h5") as theirs:
        places = file["entry_1/sample_1/geometry_1/translation"][()]
        np.testing.assert_allclose(places[:, 0], theirs["probe_position_x_m"][()], rtol=0, atol=1e-16)
        np.testing.assert_allclose(places[:, 1], theirs["probe_position_y_m"][()], rtol=0, atol=1e-16)


def test_changed_metres_win_over_stored_pixels(tmp_path, plain, caplog):
    convert(plain, tmp_path / "pair")
    with h5py.File(tmp_path / "pair" / "product.h5", "a") as file:
        file["probe_position_x_m"][0] += 3 * file["object"].attrs["pixel_width_m"]
    moved = open_scan(tmp_path / "pair").positions - open_scan(plain).positions
    np.testing.assert_allclose(moved[1:], moved[1:2].repeat(5, axis=0), atol=1e-9)
    np.testing.assert_allclose(moved[0] - moved[1], [0, 3], atol=1e-9)
    assert "the positions were changed since the file was written" in caplog.text


def test_the_names_that_stand_for_formats():
    assert {format_for_target(name).name for name in NAMES.values()} == set(FORMATS)
    with pytest.raises(DataError, match=r"the suffix '.tif' stands for no format"):
        format_for_target("scan.tif")


@pytest.mark.parametrize("format", ["ptychodus", "ptychodus-training", "cxi"])
def test_metres_need_a_geometry(tmp_path, write, arrays, format, optics):
    source, target = write(arrays), tmp_path / NAMES[format]
    with pytest.raises(MissingMetadata, check=lambda error: set(error.entries) == set(optics)):
        convert(source, target, format)
    assert not target.exists()
    convert(source, target, format, metadata=optics)
    assert open_scan(target).metadata == optics


def test_an_existing_target_stays_unless_asked_for(tmp_path, plain):
    target = tmp_path / "back.npz"
    target.write_bytes(b"precious")
    with pytest.raises(FileExistsError, match="ask to overwrite"):
        convert(plain, target)
    assert target.read_bytes() == b"precious"
    convert(plain, target, overwrite=True)
    assert load_scan(target).n_frames == 6


def test_a_scan_is_not_converted_onto_itself(plain):
    with pytest.raises(ConfigError, check=lambda error: error.fields == ("target",)):
        convert(plain, plain, overwrite=True)
    assert load_scan(plain).n_frames == 6


def test_an_unknown_format_is_refused(tmp_path, plain):
    with pytest.raises(ConfigError) as caught:
        convert(plain, tmp_path / "x.npz", "tiff")
    assert [problem.field for problem in caught.value.problems] == ["format"]
    assert not (tmp_path / "x.npz").exists()


def test_progress_reaches_the_end(tmp_path, plain):
    seen = []
    for name in NAMES.values():
        convert(plain, tmp_path / name, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(6, 6)] * len(NAMES)


class _Stages:
    def __init__(self):
        self.seen = []

    def __call__(self, done, total):
        self.seen.append(("writing", done, total))

    def stage(self, name, unit):
        return lambda done, total: self.seen.append((name, done, total))


@pytest.mark.rule("CLI-032")
@pytest.mark.parametrize("format", FORMATS)
def test_reading_is_a_stage_of_its_own(format, tmp_path, full, monkeypatch):
    source = convert(full, tmp_path / NAMES[format])
    monkeypatch.setattr(statistics, "_READ_VALUES", 4 * 16**2)
    listener = _Stages()
    target = tmp_path / ("copy.npz" if format != "npz" else "copy.cxi")
    n = load_scan(full).n_frames
    convert(source, target, progress=listener)
    assert [news for news in listener.seen if news[0] == "reading"] == [
        ("reading", 4, n),
        ("reading", min(8, n), n),
    ]
    assert listener.seen[-1] == ("writing", n, n)


def test_headers_and_summary_of_each_format(tmp_path, full):
    for format in FORMATS:
        path = convert(full, tmp_path / NAMES[format])
        header = read_scan_header(path)
        assert (header.n_frames, header.N, header.probe_size) == (6, 16, 16)
        summary = inspect_scan(path)
        assert summary.is_sound
        assert (summary.n_frames, summary.n_modes, summary.n_bad_pixels) == (6, 2, 1)
        assert summary.headers


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "the file is empty"), (b"hello", "the content is neither NPZ nor HDF5")],
)
def test_other_files_are_refused(tmp_path, content, words):
    path = tmp_path / "scan.h5"
    path.write_bytes(content)
    with pytest.raises(DataError, match=words):
        open_scan(path)


@pytest.mark.rule("DATA-037")
def test_foreign_hdf5_names_what_it_holds(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["measurement/frames"] = np.zeros(3)
    with pytest.raises(DataError, match="datasets found: measurement/frames"):
        open_scan(tmp_path / "x.h5")


def test_half_a_pair_says_what_is_missing(tmp_path, pair):
    pair()
    (tmp_path / "product.h5").unlink()
    with pytest.raises(DataError, match=r"diffraction.h5 is there without product.h5"):
        open_scan(tmp_path)
    with pytest.raises(DataError, match=r"this file holds the frames only; put product.h5 beside it"):
        open_scan(tmp_path / "diffraction.h5")


def test_a_directory_without_a_scan_lists_its_content(tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(DataError, match=r"no scan in this directory.*found: notes.txt"):
        open_scan(tmp_path)
    with pytest.raises(FileNotFoundError, match="no such file or directory"):
        open_scan(tmp_path / "nothing")


@pytest.fixture
def result():
    image = np.exp(1j * np.arange(20 * 30).reshape(20, 30) / 100).astype(np.complex64)
    weight = np.ones((20, 30), dtype=np.float32)
    return StitchedObject(object=image, weight=weight, origin=np.array([4.0, -2.0]))


def test_product_holds_the_object_where_it_belongs(tmp_path, result, optics):
    positions = np.array([[3.0, 10.0], [5.5, 14.25]])
    zero = {"coordinate_zero_x_m": 1e-3, "coordinate_zero_y_m": -2e-3}
    pixels = {"object_pixel_width_m": 2e-8, "object_pixel_height_m": 3e-8}
    save_product(
        tmp_path / "reconstruction.h5",
        result,
        probe=np.ones((2, 16, 16), dtype=np.complex64),
        positions=positions,
        metadata={**optics, **zero, **pixels, "name": "star"},
        frame_index=np.array([7, 5]),
        losses=[3.0, 1.5],
    )
    with h5py.File(tmp_path / "reconstruction.h5") as file:
        attributes = file["object"].attrs
        x_px = (file["probe_position_x_m"][()] - attributes["center_x_m"]) / attributes[
            "pixel_width_m"
        ] + 29 / 2
        y_px = (file["probe_position_y_m"][()] - attributes["center_y_m"]) / attributes[
            "pixel_height_m"
        ] + 19 / 2
        np.testing.assert_allclose(np.stack([y_px, x_px], axis=1), positions + result.origin - 0.5, atol=1e-9)
        np.testing.assert_allclose(file["probe_position_x_m"][()], 1e-3 + (positions[:, 1] - 0.5) * 2e-8)
        np.testing.assert_array_equal(file["object"][0], result.object)
        assert file["probe"].shape == (1, 2, 16, 16)
        assert file["probe_position_indexes"][()].tolist() == [7, 5]
        assert file["loss_values"][()].tolist() == [3.0, 1.5]
        assert file.attrs["name"] == "star"
        assert file.attrs["detector_object_distance_m"] == optics["detector_object_distance_m"]


def test_product_without_geometry_damages_nothing(tmp_path, result):
    target = tmp_path / "reconstruction.h5"
    target.write_bytes(b"before")
    probe = np.ones((1, 16, 16), dtype=np.complex64)
    with pytest.raises(DataError, check=lambda error: "detector_pixel_width_m" in error.names):
        save_product(target, result, probe=probe, positions=np.zeros((2, 2)), metadata={})
    with pytest.raises(ShapeError, check=lambda error: error.name == "probe"):
        save_product(target, result, probe=probe[0], positions=np.zeros((2, 2)), metadata={})
    assert [path.name for path in tmp_path.iterdir()] == ["reconstruction.h5"]
    assert target.read_bytes() == b"before"


@pytest.mark.parametrize(
    ("entry", "value"), [("tilt_angle_deg", "steep"), ("nphotons", [1.0]), ("exposure_time_s", float("nan"))]
)
def test_product_with_a_number_that_is_none_is_refused(tmp_path, result, optics, entry, value):
    probe = np.ones((1, 16, 16), dtype=np.complex64)
    metadata = {**optics, entry: value}
    with pytest.raises(MissingMetadata, check=lambda error: error.entries == (entry,)):
        save_product(tmp_path / "p.h5", result, probe=probe, positions=np.zeros((2, 2)), metadata=metadata)
    assert list(tmp_path.iterdir()) == []


def test_product_takes_null_for_left_out_and_any_text(tmp_path, result, optics):
    probe = np.ones((1, 16, 16), dtype=np.complex64)
    metadata = {
        **optics,
        "tilt_angle_deg": None,
        "nphotons": np.float32(3e5),
        "name": "a\0b",
        "comments": None,
    }
    save_product(tmp_path / "p.h5", result, probe=probe, positions=np.zeros((2, 2)), metadata=metadata)
    with h5py.File(tmp_path / "p.h5") as file:
        assert file.attrs["tilt_angle_deg"] == 0.0
        assert file.attrs["probe_photon_count"] == pytest.approx(3e5)
        assert (file.attrs["name"], file.attrs["comments"]) == ("a b", "")


@pytest.fixture
def of_ptychopinn(arrays, tmp_path):
    """Write an archive as PtychoPINN does: JSON as one pickled object, an unknown object as ``None``."""

    def write_objects(metadata, **changed):
        path = tmp_path / "theirs.npz"
        objects = {"_metadata": np.array(metadata, dtype=object), "objectGuess": np.array(None, dtype=object)}
        np.savez_compressed(path, **{**arrays, **objects, **changed}, allow_pickle=True)
        return path

    return write_objects


STATED = {"schema_version": "1.0.0", "physics_parameters": {"nphotons": 2e5}, "data_transformations": []}


@pytest.mark.rule("DATA-003")
@pytest.mark.parametrize("metadata", [json.dumps(STATED, indent=2), STATED], ids=["text", "dict"])
def test_pickled_metadata_are_refused_and_can_be_converted(of_ptychopinn, metadata, tmp_path, arrays):
    theirs, ours = of_ptychopinn(metadata), tmp_path / "ours.npz"
    with pytest.raises(DataError, check=lambda error: "_metadata" in error.names):
        open_scan(theirs)
    convert(theirs, ours)
    scan = open_scan(ours)
    assert scan.metadata == {**STATED, "nphotons": 2e5}
    assert scan.object_truth is None
    np.testing.assert_array_equal(scan.diffraction, arrays["diff3d"])


class _Bomb:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was run",))


@pytest.mark.rule("DATA-003")
@pytest.mark.parametrize("key", ["_metadata", "probeGuess", "anything"])
def test_a_conversion_runs_nothing_either(of_ptychopinn, tmp_path, key):
    bomb = np.array(None, dtype=object)
    bomb[()] = _Bomb()
    theirs, ours = of_ptychopinn("{}", **{key: bomb}), tmp_path / "ours.npz"
    with pytest.raises(DataError) as caught:
        convert(theirs, ours)
    assert caught.value.names == (key,)
    assert not ours.exists()
