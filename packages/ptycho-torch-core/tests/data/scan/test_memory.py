"""Scans in memory are taken like files: under the same names, with the same checks."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from ptycho_torch.data.formats.npz import load_scan, save_scan
from ptycho_torch.data.opening import open_scan, read_scan_header
from ptycho_torch.data.scan.memory import (
    contract_arrays,
    in_memory,
    is_in_memory,
    name_of,
    not_in_memory,
    scan_of,
)
from ptycho_torch.data.simulation.simulate import simulate_scene
from ptycho_torch.errors import DataError

ARRAYS = ("diffraction", "positions", "positions_nominal", "probe", "object_truth", "scan_index")


@pytest.fixture(scope="module")
def scan():
    return simulate_scene("lines", N=32, grid=(4, 3), photons=1e4, seed=2)


def _same(first, second):
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name), err_msg=name)


def test_arrays_of_a_scan_make_it_again(scan):
    _same(scan_of(contract_arrays(scan)), scan)


def test_a_scan_passes_through_unchanged(scan):
    _same(open_scan(scan), scan)


@pytest.mark.rule("EMB-003")
def test_arrays_are_read_like_the_file_that_holds_them(scan, tmp_path):
    save_scan(tmp_path / "scan.npz", scan)
    with np.load(tmp_path / "scan.npz") as archive:
        _same(open_scan(archive), load_scan(tmp_path / "scan.npz"))
        ours, theirs = read_scan_header(archive), read_scan_header(tmp_path / "scan.npz")
    assert (ours.n_frames, ours.N, ours.probe_size) == (theirs.n_frames, theirs.N, theirs.probe_size)
    assert ours.metadata == theirs.metadata


def test_amplitudes_become_counts_and_metadata_may_be_a_dictionary(scan):
    arrays = contract_arrays(scan)
    arrays["diff3d"] = np.sqrt(arrays["diff3d"].astype(np.float32))
    arrays["_metadata"] = {"measurement_domain": "amplitude", "nphotons": 7.0}
    taken = open_scan(arrays)
    np.testing.assert_allclose(taken.diffraction, scan.diffraction, rtol=1e-6)
    assert taken.domain.domain == "amplitude"
    assert taken.metadata == {"nphotons": 7.0}


def test_none_is_absent_and_foreign_names_are_left_alone(scan):
    given = {**contract_arrays(scan), "objectGuess": None, "Y": None, "holiday": object()}
    assert scan_of(given).object_truth is None


def test_a_smaller_size_crops_a_scan_like_its_file(tmp_path):
    scan = simulate_scene("lines", N=64, grid=(4, 3), photons=1e4, seed=2)
    save_scan(tmp_path / "scan.npz", scan)
    with pytest.warns(UserWarning, match="cropp"):
        ours = open_scan(scan, N=32)
    with pytest.warns(UserWarning, match="cropp"):
        theirs = open_scan(tmp_path / "scan.npz", N=32)
    _same(ours, theirs)


def test_everything_wrong_with_arrays_is_said_at_once(scan):
    arrays = contract_arrays(scan)
    arrays["xcoords"] = arrays["xcoords"][:-1]
    arrays["probeGuess"] = np.array([None, object()])
    del arrays["ycoords"]
    with pytest.raises(DataError, check=lambda error: {"probeGuess", "ycoords"} <= set(error.names)):
        scan_of(arrays)


@pytest.mark.rule("EMB-003")
@pytest.mark.parametrize("name", ["diffraction", "positions", "probe"])
def test_a_scan_built_by_hand_is_checked(scan, name):
    broken = getattr(scan, name).astype(np.complex64 if name == "probe" else np.float64)
    broken[1:] = np.nan
    if name == "probe":
        broken[:] = 0
    with pytest.raises(DataError):
        open_scan(replace(scan, **{name: broken}))


def test_a_statement_about_the_frames_of_a_scan_must_be_true(scan):
    assert open_scan(scan, measurement_domain="counts").domain == scan.domain
    with pytest.raises(DataError, check=lambda error: error.names == ("measurement_domain",)):
        open_scan(scan, measurement_domain="amplitude")


def test_paths_are_not_in_memory(scan, tmp_path):
    assert is_in_memory(scan)
    assert is_in_memory({})
    assert not is_in_memory(str(tmp_path))
    assert name_of(tmp_path / "a.npz") == "a.npz"
    assert name_of(replace(scan, source=tmp_path / "a.npz")) == "the scan in memory (a.npz)"


class _Frames:
    """What another program holds a scan in: attributes of these names, and others."""

    def __init__(self, arrays, **rest):
        vars(self).update(arrays, norm_Y_I=None, sample_indices=[1], **rest)

    @property
    def diff3d(self):
        return self.frames


@pytest.mark.rule("EMB-003")
def test_an_object_with_the_attributes_of_a_scan_is_one(scan):
    arrays = {name: value for name, value in contract_arrays(scan).items() if name != "_metadata"}
    given = _Frames({}, frames=arrays.pop("diff3d"), metadata={"frame_axis": "first", "a": 1}, **arrays)
    _same(open_scan(given), scan)
    assert open_scan(given).metadata == {"a": 1}
    header = read_scan_header(given)
    assert (header.n_frames, header.N, header.probe_size) == (scan.n_frames, scan.N, scan.N)


@pytest.mark.parametrize("given", [object(), 3, np.ones(3)], ids=["object", "number", "array"])
def test_any_other_object_is_refused_in_words(given):
    for read in (open_scan, read_scan_header):
        with pytest.raises(DataError, check=lambda error: error.names == (type(given).__name__,)):
            read(given)


def test_what_an_object_lacks_is_named():
    given = SimpleNamespace(diffraction=np.ones((1, 2, 2)), xcoords=np.ones(1), ycoords=None)
    assert not_in_memory(given) == ("ycoords", "probeGuess")
    assert in_memory(given) is None
