"""Files that every reconstruction leaves: what they say about the scan."""

from dataclasses import replace

import numpy as np
import pytest

from ptycho_torch.reassembly import StitchedObject
from ptycho_torch.workflows.runs.leaving import Leaving
from ptycho_torch.workflows.runs.saving import Reconstructed, _write_pictures

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
