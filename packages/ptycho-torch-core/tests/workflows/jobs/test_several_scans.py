"""Several files of one object as one run."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from ptycho_config import ConfigError, PyTorchExecutionConfig, RefineConfig
from ptycho_torch.config_factory.refinement import create_refinement_payload
from ptycho_torch.data.formats.npz import save_scan
from ptycho_torch.data.simulation.simulate import simulate_scan, simulate_scene
from ptycho_torch.diagnosis.doubts import untold, worst_of
from ptycho_torch.diagnosis.verdict import Verdict
from ptycho_torch.refine import refine
from ptycho_torch.results import load_object
from ptycho_torch.workflows import refine_scan
from ptycho_torch.workflows.jobs.refinement import refine_in_processes

OFFSET = np.array([3.25, -2.5])


@pytest.fixture(scope="module")
def scans():
    """Two scans of one object, the second one three times as bright and stated elsewhere."""
    first = simulate_scene("lines", N=32, grid=(7, 7), step_px=4.0, jitter_px=1.0, photons=1e5, seed=3)
    second = simulate_scan(
        first.object_truth, first.probe, first.positions, photons=3e5, seed=4,
        object_origin=first.object_truth_origin.tolist(),
    )  # fmt: skip
    return first, replace(second, positions=first.positions - OFFSET, object_truth=None)


@pytest.fixture
def files(scans, tmp_path):
    paths = tmp_path / "monday.npz", tmp_path / "tuesday.npz"
    for scan, path in zip(scans, paths, strict=True):
        save_scan(path, scan)
    return paths


@pytest.mark.rule("REF-050")
def test_two_files_become_one_object(files, tmp_path, cpu):
    payload = create_refinement_payload(
        [str(path) for path in files], tmp_path / "both", {"refine_epochs": 15}, execution_config=cpu()
    )
    assert payload.scan_files == files
    outcome = refine_scan(payload)
    parts = outcome.result.scans
    np.testing.assert_allclose(parts[1].offset_px, OFFSET, atol=0.1)
    with np.load(outcome.output_dir / "reconstruction.npz", allow_pickle=False) as arrays:
        assert arrays["probes"].shape == (2, 1, 32, 32)
        assert arrays["positions"].shape == (98, 2)
        np.testing.assert_array_equal(arrays["scan_index"], np.repeat([0, 1], 49))
        np.testing.assert_allclose(arrays["scan_offset_px"][1], parts[1].offset_px)
        np.testing.assert_allclose(arrays["scan_residual"], [part.forward_residual for part in parts])
    metrics = json.loads((outcome.output_dir / "metrics.json").read_text())
    for number in (1, 2):
        assert metrics["fitted"][f"scan {number}"]
        assert "explains" in metrics["fitted"][f"scan {number} verdict"]
    assert not outcome.verdict.is_bad
    assert outcome.report.scores.complex_nrmse < 0.1
    low, high = sorted(part.forward_residual for part in parts)
    assert low < outcome.forward_residual < high
    assert (
        load_object(outcome.output_dir / "reconstruction.npz").object.shape
        == outcome.result.object.object.shape
    )
    record = outcome.output_dir / "resolved_config.json"
    repeated = create_refinement_payload(None, tmp_path / "again", config_file=record)
    assert repeated.scan_files == files


@pytest.mark.rule("REF-050")
def test_the_verdict_is_that_of_the_worst_scan():
    good, worse = (
        Verdict(is_bad=False, misfit=misfit, misfit_of_empty_object=10.0, sentence="explains")
        for misfit in (1.0, 2.0)
    )
    bad = Verdict(is_bad=True, misfit=9.0, misfit_of_empty_object=10.0, sentence="does not")
    assert worst_of([worse, good]) is worse
    assert worst_of([good, untold("few frames"), worse]).is_told is False
    assert worst_of([good, bad, untold("few frames")]) is bad


@pytest.mark.rule("REF-050")
def test_two_processes_find_the_same(scans):
    config = RefineConfig(refine_epochs=4, refine_probe=True, error_bars="none")
    one = refine(list(scans), config=config)
    two = refine_in_processes(list(scans), None, config, PyTorchExecutionConfig(devices=2), "cpu", None)
    np.testing.assert_allclose(two.object.object, one.object.object, atol=2e-3)
    np.testing.assert_allclose(two.scans[1].offset_px, one.scans[1].offset_px, atol=1e-3)
    np.testing.assert_allclose(two.others["scan_dose"], one.others["scan_dose"], atol=1e-3)


@pytest.mark.rule("REF-051")
def test_a_file_named_twice_and_positions_for_two_are_refused(files, tmp_path):
    with pytest.raises(ConfigError) as caught:
        create_refinement_payload([files[0], files[0]], tmp_path / "both")
    assert caught.value.fields == ("scan_file",)
    with pytest.raises(ConfigError) as caught:
        create_refinement_payload(files, tmp_path / "both", {"positions": files[0]})
    assert caught.value.fields == ("positions",)
