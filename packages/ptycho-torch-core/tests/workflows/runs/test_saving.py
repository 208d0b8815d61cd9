"""Files that every reconstruction leaves: what they say about the scan."""

from dataclasses import replace

import h5py
import numpy as np
import pytest

from ptycho_config import SECTIONS, RefineConfig, resolve
from ptycho_torch.reassembly import StitchedObject
from ptycho_torch.refine import refine
from ptycho_torch.results import load_object_and_probe
from ptycho_torch.workflows.jobs.refinement import refined_record
from ptycho_torch.workflows.runs.leaving import Leaving
from ptycho_torch.workflows.runs.saving import ARRAYS, Reconstructed, _write_pictures, write_results

GEOMETRY = {
    "photon_energy_eV": 8000.0,
    "detector_object_distance_m": 2.0,
    "detector_pixel_height_m": 75e-6,
    "detector_pixel_width_m": 75e-6,
}


@pytest.mark.parametrize(
    ("metadata", "unit"),
    [
        (GEOMETRY, "µm"),
        ({}, "px"),
        (GEOMETRY | {"detector_pixel_width_m": 55e-6}, "px"),
    ],
)
def test_pictures_of_an_object_are_in_metres_where_the_scan_says_its_square_pixels(
    tmp_path, monkeypatch, tiny_scan, metadata, unit
):
    figures = []
    monkeypatch.setattr(
        "ptycho_torch.plotting.style.write_figure", lambda figure, path: figures.append(figure)
    )
    image = np.ones((60, 60), np.complex64)
    made = Reconstructed(
        object=StitchedObject(object=image, weight=np.ones((60, 60), np.float32), origin=np.zeros(2)),
        probe=tiny_scan.probe,
        frames=replace(tiny_scan, metadata=metadata),
        residual=0.1,
        report=None,
        settings=None,
    )
    leaving = Leaving(tmp_path)
    _write_pictures(leaving, made)
    assert not leaving.failures
    assert {figure.axes[0].get_xlabel() for figure in figures} == {f"x ({unit})"}


def test_what_else_a_refinement_fitted_is_written_under_its_name(tmp_path, tiny_scan):
    scan = replace(tiny_scan, metadata=GEOMETRY)
    others = {"dose": np.linspace(0.5, 1.5, scan.n_frames), "defocus": 1.5e-6}
    result = replace(refine(scan, epochs=1), others=others)
    made = refined_record(result, scan, resolve(SECTIONS), config=RefineConfig(), device="cpu")
    leaving = Leaving(tmp_path)
    write_results(leaving, made, pictures=False)
    leaving.require(ARRAYS)
    with np.load(tmp_path / ARRAYS) as arrays, h5py.File(tmp_path / "reconstruction.h5") as product:
        for name, value in others.items():
            np.testing.assert_array_equal(arrays[name], value)
            np.testing.assert_array_equal(product[f"ptycho_torch/{name}"][()], value)
    stored, probe = load_object_and_probe(tmp_path / ARRAYS)
    np.testing.assert_array_equal(stored.object, result.object.object)
    np.testing.assert_array_equal(probe, result.probe)
