"""Arrays that are large in vain: refused by their headers, before memory is taken for them."""

from __future__ import annotations

import tracemalloc

import h5py
import numpy as np
import pytest

from ptycho_config import PartsConfig
from ptycho_torch.data.opening import open_scan
from ptycho_torch.data.scan import misfits as limits
from ptycho_torch.data.scan.misfits import MOST_NUMBERS, too_many
from ptycho_torch.data.summary import inspect_scan
from ptycho_torch.errors import DataError
from ptycho_torch.results import load_object

LARGE = 3000
MUCH = 8e6  # bytes, less than any of the arrays here takes


@pytest.fixture
def spied(monkeypatch):
    """Memory that a call takes at most, and the names of what was wrong."""

    def refused(call, *given, **asked):
        tracemalloc.start()
        try:
            with pytest.raises(DataError) as error:
                call(*given, **asked)
            return error.value.names, tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    return refused


SHAPES = {
    "bad_pixels": np.zeros((LARGE, LARGE), bool),
    "ceiling": np.ones((LARGE, LARGE // 3), np.float32),
    "probeGuess": np.ones((LARGE // 2, LARGE // 2), np.complex64),
    "Y": np.ones((1, LARGE, LARGE // 4), np.complex64),
    "_metadata": np.array(b"{" + b" " * (1 << 24)),
}


@pytest.mark.rule("DATA-121", "DATA-122")
@pytest.mark.parametrize("name", SHAPES)
def test_arrays_of_an_archive_are_looked_at_before_they_are_loaded(spied, write, arrays, name):
    path = write({**arrays, name: SHAPES[name]})
    names, peak = spied(open_scan, path)
    assert names == (name,)
    assert peak < MUCH
    assert [problem.name for problem in inspect_scan(path).problems] == [name]


@pytest.mark.rule("DATA-121")
def test_more_places_than_any_scan_has_are_not_loaded(spied, monkeypatch, write, arrays):
    monkeypatch.setattr(limits, "MOST_NUMBERS", 100)
    names, peak = spied(open_scan, write({**arrays, "scan_index": np.zeros(LARGE**2, np.int8)}))
    assert names == ("scan_index",)
    assert peak < MUCH


@pytest.mark.rule("DATA-121")
def test_the_longest_scans_there_are_have_fewer_places():
    assert too_many(MOST_NUMBERS) is None
    assert too_many(MOST_NUMBERS + 1).kind == "too large"


@pytest.mark.rule("DATA-121")
def test_what_is_stated_beside_an_archive_makes_up_for_what_does_not_fit(spied, write, arrays, tmp_path):
    path = write({**arrays, "bad_pixels": SHAPES["bad_pixels"]})
    np.save(tmp_path / "mask.npy", np.eye(16))
    scan = open_scan(path, parts=PartsConfig(mask=tmp_path / "mask.npy"))
    assert scan.bad_pixels is not None
    assert scan.bad_pixels.sum() == 16
    np.save(tmp_path / "mask.npy", SHAPES["bad_pixels"])
    names, peak = spied(open_scan, path, parts=PartsConfig(mask=tmp_path / "mask.npy"))
    assert names == ("mask",)
    assert peak < MUCH


@pytest.mark.rule("DATA-121", "DATA-122")
@pytest.mark.parametrize("size", [LARGE, 8])
def test_a_mask_in_hdf5_is_looked_at_before_it_is_loaded(spied, pair, size):
    def other(diffraction, _):
        del diffraction["bad_pixels"]
        diffraction.create_dataset("bad_pixels", data=np.zeros((size, size), bool), compression="gzip")

    path = pair(other)
    names, peak = spied(open_scan, path)
    assert names == ("bad_pixels",)
    assert peak < MUCH
    assert len(inspect_scan(path).problems) == 1


@pytest.mark.rule("DATA-121")
def test_a_number_that_is_an_array_is_not_loaded(spied, monkeypatch, pair):
    monkeypatch.setattr(limits, "MOST_NUMBERS", 100)

    def other(_, product):
        del product["probe_position_indexes"]
        product["probe_position_indexes"] = np.zeros(LARGE**2, np.int8)

    names, peak = spied(open_scan, pair(other))
    assert "probe_position_indexes" in names
    assert peak < MUCH


@pytest.mark.rule("DATA-121")
def test_a_weight_of_another_shape_than_its_object_is_not_loaded(spied, tmp_path):
    path = tmp_path / "object.npz"
    np.savez_compressed(
        path, object=np.ones((9, 9), complex), weight=np.ones((LARGE, LARGE)), origin=np.zeros(LARGE**2)
    )
    names, peak = spied(load_object, path)
    assert names == ("weight", "origin")
    assert peak < MUCH


def test_names_in_a_damaged_file_that_are_no_text_are_a_problem_of_it(pair):
    path = pair()
    file = path / "product.h5"
    file.write_bytes(file.read_bytes().replace(b"probe_position_indexes", b"probe_position_ind\xe9xes"))
    with pytest.raises(DataError):
        open_scan(path)
    assert h5py.is_hdf5(file)
