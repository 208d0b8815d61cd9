"""Reconstructions on disk come back as they were."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from ptycho_torch.data.convert import convert
from ptycho_torch.data.formats.npz import save_scan
from ptycho_torch.errors import DataError
from ptycho_torch.reassembly import StitchedObject
from ptycho_torch.results import load_object, load_object_and_probe, save_reconstruction


@pytest.fixture
def stitched():
    rng = np.random.default_rng(0)
    image = (rng.normal(size=(12, 15)) + 1j * rng.normal(size=(12, 15))).astype(np.complex64)
    return StitchedObject(
        object=image, weight=rng.random((12, 15), dtype=np.float32), origin=np.array([3.0, -2.0])
    )


@pytest.mark.rule("RUN-002")
def test_a_round_trip_is_exact(tmp_path, stitched):
    positions = np.arange(8.0).reshape(4, 2)
    probe = np.full((2, 4, 4), 1 + 2j, dtype=np.complex64)
    configuration = {"model": {"N": 32}}
    save_reconstruction(
        tmp_path / "r.npz", stitched, positions=positions, probe=probe, configuration=configuration
    )
    np.testing.assert_array_equal(load_object_and_probe(tmp_path / "r.npz")[1], probe)
    back = load_object(tmp_path / "r.npz")
    for name in ("object", "weight", "origin"):
        value, expected = getattr(back, name), getattr(stitched, name)
        assert value.dtype == expected.dtype
        np.testing.assert_array_equal(value, expected)
    with np.load(tmp_path / "r.npz", allow_pickle=False) as arrays:
        np.testing.assert_array_equal(arrays["positions"], positions)
        assert json.loads(str(arrays["configuration"])) == {"model": {"N": 32}}


def test_a_scan_gives_its_truth(tmp_path, tiny_scan):
    save_scan(tmp_path / "scan.npz", tiny_scan)
    found = load_object(tmp_path / "scan.npz")
    np.testing.assert_array_equal(found.object, tiny_scan.object_truth)
    assert (found.weight == 1).all()
    assert not found.origin.any()


@pytest.mark.parametrize("target", ["pair", "training.h5", "scan.cxi"])
def test_scans_of_other_formats_give_it_too(tmp_path, tiny_scan, target):
    optics = {
        "photon_energy_eV": 8000.0, "detector_object_distance_m": 2.0,
        "detector_pixel_width_m": 75e-6, "detector_pixel_height_m": 75e-6,
    }  # fmt: skip
    save_scan(tmp_path / "scan.npz", tiny_scan)
    convert(tmp_path / "scan.npz", tmp_path / target, metadata=optics)
    found, expected = load_object(tmp_path / target), load_object(tmp_path / "scan.npz")
    np.testing.assert_array_equal(found.object, expected.object)
    np.testing.assert_allclose(found.origin, expected.origin, atol=1e-9)


def test_a_scan_in_hdf5_without_an_object_is_refused(tmp_path, tiny_scan):
    save_scan(tmp_path / "scan.npz", replace(tiny_scan, object_truth=None, object_truth_origin=None))
    convert(tmp_path / "scan.npz", tmp_path / "scan.cxi", metadata={
        "photon_energy_eV": 8000.0, "detector_object_distance_m": 2.0,
        "detector_pixel_width_m": 75e-6, "detector_pixel_height_m": 75e-6,
    })  # fmt: skip
    with pytest.raises(DataError, check=lambda error: error.names == ("object",)):
        load_object(tmp_path / "scan.cxi")


def test_a_scan_gives_its_probe_and_a_bare_object_has_none(tmp_path, tiny_scan):
    save_scan(tmp_path / "scan.npz", tiny_scan)
    np.testing.assert_array_equal(load_object_and_probe(tmp_path / "scan.npz")[1], tiny_scan.probe)
    np.savez(tmp_path / "bare.npz", object=np.ones((4, 4), complex))
    assert load_object_and_probe(tmp_path / "bare.npz")[1] is None
    np.savez(tmp_path / "wrong.npz", object=np.ones((4, 4), complex), probe=np.ones((4, 5), complex))
    with pytest.raises(DataError, check=lambda error: error.names == ("probe",)):
        load_object_and_probe(tmp_path / "wrong.npz")


@pytest.mark.parametrize(
    ("arrays", "name"),
    [
        ({"probe": np.ones((4, 4), complex)}, "object or objectGuess"),
        ({"object": np.ones((4, 4))}, "object"),
        ({"object": np.ones((2, 4, 4), complex)}, "object"),
        ({"object": np.full((4, 4), np.nan, complex)}, "object"),
        ({"object": np.ones((4, 4), complex), "weight": np.ones((3, 4))}, "weight"),
        ({"object": np.ones((4, 4), complex), "origin": np.ones(3)}, "origin"),
        ({"object": np.ones((4, 4), complex), "origin": np.array(["", "x"])}, "origin"),
        ({"object": np.ones((4, 4), complex), "weight": np.full((4, 4), np.nan)}, "weight"),
    ],
)
def test_what_is_no_object_is_refused(tmp_path, arrays, name):
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(DataError, check=lambda error: error.names == (name,)):
        load_object(tmp_path / "x.npz")


def test_a_missing_or_foreign_file_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_object(tmp_path / "absent.npz")
    (tmp_path / "text.npz").write_text("no archive")
    with pytest.raises(DataError):
        load_object(tmp_path / "text.npz")


def test_the_repr_of_a_result_is_short(stitched):
    assert len(repr(stitched)) < 200
