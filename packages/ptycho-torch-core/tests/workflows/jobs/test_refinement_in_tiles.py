"""A refinement in tiles as a run: its files, its residual, and what is said of it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from ptycho_torch.config_factory.refinement import create_refinement_payload
from ptycho_torch.data.formats.npz import save_scan
from ptycho_torch.refine import forward_residual
from ptycho_torch.testing import tiny_scene
from ptycho_torch.workflows import refine_scan


@pytest.mark.rule("REF-055")
def test_a_scan_in_tiles_leaves_what_a_scan_leaves(tmp_path, cpu):
    scan = tiny_scene(grid=(5, 12), step_px=5.0, photons=1e5, noise=True)
    save_scan(tmp_path / "wide.npz", scan)
    settings = {"refine_epochs": 8, "tile_px": 33, "refine_probe": True}
    outcome = refine_scan(
        create_refinement_payload(tmp_path / "wide.npz", tmp_path / "tiled", settings, execution_config=cpu())
    )
    written = {path.name for path in outcome.files}
    assert {"reconstruction.npz", "sigma.tif", "error_bars.png", "comparison.png", "report.html"} <= written
    result = outcome.result
    assert len(result.tile_residuals) == 2
    whole = forward_residual(scan, result.object, result.probe)
    assert outcome.forward_residual == pytest.approx(whole, rel=1e-3)
    written = json.loads((outcome.output_dir / "metrics.json").read_text())
    assert written["fitted"]["tiles"] == result.said["tiles"]
    assert result.said["tiles"] in (outcome.output_dir / "report.html").read_text()
    with np.load(outcome.output_dir / "reconstruction.npz") as arrays:
        np.testing.assert_array_equal(arrays["tile_index"], result.others["tile_index"])
        np.testing.assert_array_equal(arrays["tile_residual"], result.tile_residuals)
