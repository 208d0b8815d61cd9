"""Images of a reconstruction as numbers that other programs open."""

from __future__ import annotations

import json
from dataclasses import replace

import h5py
import numpy as np
import pytest
import tifffile

from ptycho_torch.config_factory.refinement import create_refinement_payload
from ptycho_torch.data.scan.geometry import ScanGeometry
from ptycho_torch.refine import refine
from ptycho_torch.workflows.jobs.refinement import refined_record
from ptycho_torch.workflows.runs.leaving import Leaving
from ptycho_torch.workflows.runs.saving import write_results


@pytest.mark.rule("RUN-091")
def test_images_are_numbers_with_the_size_of_a_pixel(tmp_path, tiny_scan_file, tiny_scan, cpu):
    optics = {
        "photon_energy_eV": 8000.0,
        "detector_object_distance_m": 2.0,
        "detector_pixel_height_m": 75e-6,
        "detector_pixel_width_m": 55e-6,
    }
    scan = replace(tiny_scan, metadata={**tiny_scan.metadata, **optics})
    payload = create_refinement_payload(tiny_scan_file, tmp_path / "run", execution_config=cpu())
    result = refine(scan, epochs=2)
    made = refined_record(result, scan, payload.resolution, config=payload.refine_config, device="cpu")
    leaving = Leaving(tmp_path)
    write_results(leaving, made)
    assert not leaving.failures
    height, width = ScanGeometry.from_entries(scan.metadata, scan.N).object_pixel_m
    for name, values in (
        ("amplitude", np.abs(result.object.object)),
        ("phase", made.phase.phase),
        ("sigma", result.error_bars.sigma),
    ):
        with tifffile.TiffFile(leaving.folder / f"{name}.tif") as file:
            [page] = file.pages
            np.testing.assert_array_equal(page.asarray(), values)
            assert page.dtype == np.float32
            down, across = (page.tags[f"{axis}Resolution"].value for axis in "YX")
            told = json.loads(page.description)
        assert down[0] / down[1] * height == pytest.approx(0.01, rel=1e-6)
        assert across[0] / across[1] * width == pytest.approx(0.01, rel=1e-6)
        assert told["pixel_m"] == [height, width]
        assert told["corner_px"] == (-result.object.origin).tolist()
    with h5py.File(leaving.folder / "reconstruction.h5") as product:
        np.testing.assert_array_equal(product["ptycho_torch/phase"], made.phase.phase)
        np.testing.assert_array_equal(product["ptycho_torch/sigma"], result.error_bars.sigma)
        np.testing.assert_array_equal(product["ptycho_torch/null_space"], result.error_bars.null_space)
    written = json.loads((leaving.folder / "metrics.json").read_text())
    assert written["phase"] == made.phase.summary()
