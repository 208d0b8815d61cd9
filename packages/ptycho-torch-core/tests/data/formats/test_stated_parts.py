"""Positions, probe, mask and optics stated beside a scan of any format; lengths taken for pixels."""

from __future__ import annotations

import shutil

import h5py
import numpy as np
import pytest

from ptycho_config import ConfigError, OrientationConfig, PartsConfig
from ptycho_torch.data.convert import convert
from ptycho_torch.data.format_registry import built_in_formats
from ptycho_torch.data.opening import open_scan, read_scan_header
from ptycho_torch.data.recognition import recognised
from ptycho_torch.data.scan.example import example_scan
from ptycho_torch.data.scan.geometry import NEEDED_ENTRIES, ScanGeometry
from ptycho_torch.errors import DataError

SCAN = example_scan()
GEOMETRY = ScanGeometry.from_entries(SCAN.metadata, SCAN.N)
PLACES_M = GEOMETRY.middles_m(SCAN.positions, SCAN.N)
FORMATS = {format.name: format for format in built_in_formats() if format.takes_parts}
IN_METRES = ("cxi", "nxcxi-ptycho", "ptychodus", "ptylab", "ptypy")

pytestmark = pytest.mark.filterwarnings("ignore:.*holds no probe:ptycho_torch.errors.ScanWarning")
every_format = pytest.mark.parametrize("name", FORMATS)


@pytest.fixture(scope="module")
def examples(tmp_path_factory):
    made = {}
    for name, format in FORMATS.items():
        ending = (*format.targets, *format.suffixes)[0]
        made[name] = tmp_path_factory.mktemp(name) / f"example{ending}"
        format.load().make_example(made[name])
    return made


@pytest.fixture
def files(tmp_path):
    """Twice the positions, in micrometres; another probe; a mask."""
    np.savetxt(tmp_path / "places.txt", 2e6 * PLACES_M[:, ::-1])
    np.save(tmp_path / "probe.npy", np.roll(SCAN.probe, 1, axis=2))
    mask = np.zeros((16, 16))
    mask[2, 3] = 1
    np.save(tmp_path / "mask.npy", mask)
    return tmp_path


def shift(scan):
    return scan.positions - scan.positions[0]


@pytest.mark.rule("DATA-104")
@every_format
def test_parts_may_be_stated_beside_any_format(name, examples, files):
    pixel = 3e-8
    stated = PartsConfig(
        positions=files / "places.txt",
        position_unit="um",
        pixel_size=pixel,
        probe=files / "probe.npy",
        mask=files / "mask.npy",
    )
    found = open_scan(examples[name], parts=stated)
    expected = 2 * (PLACES_M - PLACES_M[0]) / pixel
    np.testing.assert_allclose(shift(found), expected, atol=1e-6)
    np.testing.assert_array_equal(found.probe, np.roll(SCAN.probe, 1, axis=2))
    assert np.argwhere(found.bad_pixels).tolist() == [[2, 3]]
    np.testing.assert_array_equal(found.diffraction[:], np.where(found.bad_pixels, 0, SCAN.diffraction[:]))
    header = read_scan_header(examples[name], parts=stated)
    assert (header.n_frames, header.N, header.probe_size) == (12, 16, 16)
    assert found.metadata["parts"]["position_unit"] == header.metadata["parts"]["position_unit"] == "um"
    assert recognised(examples[name], parts=stated)[0].name == name


@every_format
def test_a_model_may_take_the_place_of_the_probe(name, examples):
    size = 5 * GEOMETRY.object_pixel_m[1]
    stated = PartsConfig(probe_model="disk", probe_diameter=size, pixel_size=GEOMETRY.object_pixel_m[1])
    found = open_scan(examples[name], parts=stated)
    amplitude = np.abs(found.probe)
    assert found.probe.shape == (1, 16, 16)
    assert (amplitude > 0.5 * amplitude.max()).sum() == pytest.approx(np.pi * 2.5**2, rel=0.2)


@pytest.mark.parametrize("name", ["ptylab", "ptypy", "cxi", "npz"])
def test_stated_optics_outrank_those_of_the_file(name, examples):
    plain = open_scan(examples[name])
    stated = PartsConfig(energy=4000.0, distance=2.4, detector_pixel=30e-6)
    metadata = open_scan(examples[name], parts=stated).metadata
    assert [metadata[entry] for entry in NEEDED_ENTRIES] == [4000.0, 2.4, 30e-6, 30e-6]
    if name != "npz":
        # Twice the wavelength, twice the distance, and half the pixel: an object pixel is eight times larger.
        half = open_scan(examples[name], parts=PartsConfig(energy=4000.0, distance=2.4))
        np.testing.assert_allclose(4 * shift(half), shift(plain), atol=1e-6)


@pytest.mark.rule("DATA-105")
@pytest.mark.parametrize("name", IN_METRES)
@pytest.mark.parametrize("how", ["unit", "scale"])
def test_the_unit_of_the_positions_in_the_file_may_be_stated(name, how, examples, tmp_path):
    # A file that holds micrometres and does not say so is refused as it is.
    places = {
        "cxi": "entry_1/sample_1/geometry_1/translation",
        "nxcxi-ptycho": "entry_1/sample_1/geometry_1/translation",
        "ptychodus": "probe_position_{}_m",
        "ptylab": "encoder",
        "ptypy": "chunks/{}/positions",
    }[name]
    located = recognised(copied(examples[name], tmp_path))[1]
    factor = 1e3 if name == "nxcxi-ptycho" else 1e6
    with h5py.File(located.files[-1], "a") as file:
        for part in ("x", "y") if name == "ptychodus" else ("0", "1") if name == "ptypy" else ("",):
            data = file[places.format(part)]
            data[...] = data[()] * factor
            data.attrs.pop("units", None)
    path = located.files[0]
    with pytest.raises(DataError) as caught:
        open_scan(path)
    assert any("another unit" in problem for problem in caught.value.problems)
    if how == "unit":
        found = open_scan(path, parts=PartsConfig(position_unit="um"))
        assert found.metadata["parts"] == {"position_unit": "um"}
    else:
        found = open_scan(path, orientation=OrientationConfig(position_scale=1e-6))
        assert found.metadata["orientation"] == [{"position_scale": 1e-6}]
    np.testing.assert_allclose(shift(found), shift(open_scan(examples[name])), atol=1e-6)


def copied(example, folder):
    return shutil.copytree(example.parent, folder / "copy") / example.name


@pytest.mark.parametrize("how", ["unit", "unit and pixel", "scale", "in memory"])
def test_lengths_in_an_npz_file_become_pixels(how, examples, tmp_path):
    with np.load(examples["npz"]) as archive:
        arrays = dict(archive)
    y, x = (SCAN.positions * np.asarray(GEOMETRY.object_pixel_m)).T
    arrays |= {"ycoords": y * 1e6, "xcoords": x * 1e6}
    if how == "scale":
        arrays |= {"ycoords": SCAN.positions[:, 0] * 1e-8, "xcoords": SCAN.positions[:, 1] * 1e-8}
    np.savez(tmp_path / "um.npz", **arrays)
    source = arrays if how == "in memory" else tmp_path / "um.npz"
    if how in ("scale", "in memory"):
        with pytest.raises(DataError):
            open_scan({**arrays, "xcoords": arrays["xcoords"] * 1e-9, "ycoords": arrays["ycoords"] * 1e-9})
        factor = 1e8 if how == "scale" else 1e-6 / GEOMETRY.object_pixel_m[1]
        found = open_scan(source, orientation=OrientationConfig(position_scale=factor))
        expected = SCAN.positions if how == "scale" else np.stack([y, x], 1) / GEOMETRY.object_pixel_m[1]
    else:
        pixel = 2e-8 if how == "unit and pixel" else None
        found = open_scan(source, parts=PartsConfig(position_unit="um", pixel_size=pixel))
        expected = SCAN.positions if pixel is None else np.stack([y, x], axis=1) / pixel
    np.testing.assert_allclose(found.positions, expected, atol=1e-6)


def test_a_scan_in_memory_and_a_reader_of_ones_own_take_no_parts(examples, tmp_path):
    stated = PartsConfig(pixel_size=1e-8)
    with pytest.raises(ConfigError) as caught:
        open_scan(SCAN, parts=stated)
    assert caught.value.problems[0].field == "pixel_size"
    (tmp_path / "own.py").write_text(READER)
    with pytest.raises(ConfigError) as caught:
        recognised(examples["npz"], tmp_path / "own.py", parts=stated)
    assert caught.value.problems[0].field == "pixel_size"


READER = """
NAME = "own"
HELP = "own"
SUFFIXES = (".npz",)

from ptycho_torch.data.scan import Located

def recognise(candidate):
    return Located(NAME, (candidate.path,))

def header(located): ...

def read(located, **asked): ...
"""


def test_a_conversion_holds_what_was_stated(examples, files):
    stated = PartsConfig(positions=files / "places.txt", position_unit="um", probe=files / "probe.npy")
    convert(examples["ptypy"], files / "whole.cxi", parts=stated)
    found = open_scan(files / "whole.cxi")
    np.testing.assert_allclose(shift(found), 2 * shift(SCAN), atol=1e-6)
    np.testing.assert_array_equal(found.probe, np.roll(SCAN.probe, 1, axis=2))
    with pytest.raises(ConfigError):
        convert(examples["ptypy"], files / "places.txt", "npz", parts=stated, overwrite=True)
