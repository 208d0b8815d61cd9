"""A refinement as a run: files, several processes, interruption, refusals."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ptycho_config import ConfigError, PyTorchExecutionConfig, RefineConfig
from ptycho_torch.config_factory.refinement import create_refinement_payload
from ptycho_torch.data.formats.npz import save_scan
from ptycho_torch.errors import DataError, ResultWarning, ShapeError
from ptycho_torch.refine import RefinementInterrupted, forward_residual
from ptycho_torch.refine.iteration import Iteration
from ptycho_torch.testing import tiny_scene
from ptycho_torch.workflows import ResultsIncomplete, evaluate, infer, refine_scan
from ptycho_torch.workflows.jobs.refinement import refine_in_processes, refined_record
from ptycho_torch.workflows.runs.leaving import Leaving
from ptycho_torch.workflows.runs.saving import write_results

LIMITED = Path(__file__).with_name("limited_refinement.py")
FILES = {
    "report.html", "comparison.png", "error_bars.png",
    "amplitude.tif", "phase.tif", "sigma.tif",
    "reconstruction.npz", "amplitude.png", "phase.png", "refinement.png", "metrics.json",
    "resolved_config.json",
}  # fmt: skip


@pytest.fixture
def refinement(tmp_path, tiny_scan_file, cpu):
    """Refinement payload: ``refinement("name", {execution}, **overrides)``."""

    def make(name="refined", execution=None, *, scan=tiny_scan_file, start=None, **overrides):
        overrides = {"refine_epochs": 8, **overrides}
        return create_refinement_payload(
            scan, tmp_path / name, overrides, execution_config=cpu(**(execution or {})), start_file=start
        )

    return make


def stop_after(epochs):
    def progress(done, total, residual):
        if done == epochs:
            raise KeyboardInterrupt

    return progress


@pytest.mark.rule("REF-009")
def test_a_scan_is_refined_and_everything_is_saved(refinement, tiny_scan):
    seen = []
    outcome = refine_scan(refinement(), progress=lambda *step: seen.append(step), command=["refine", "tiny"])
    assert {path.name for path in outcome.files} == FILES
    assert [step[:2] for step in seen] == [(done, 8) for done in range(1, 9)]
    assert seen[-1][2] == outcome.result.residuals[-1]
    with np.load(outcome.output_dir / "reconstruction.npz", allow_pickle=False) as arrays:
        np.testing.assert_array_equal(arrays["object"], outcome.result.object.object)
        np.testing.assert_array_equal(arrays["positions"], tiny_scan.positions)
        assert arrays["probe"].shape == tiny_scan.probe.shape
    written = json.loads((outcome.output_dir / "metrics.json").read_text())
    assert written["forward_residual"] == outcome.forward_residual
    assert written["scores"]["complex_nrmse"] < 0.5 * written["flat"]["complex_nrmse"]
    resolved = json.loads((outcome.output_dir / "resolved_config.json").read_text())
    assert resolved["values"]["refine"]["refine_epochs"] == 8
    assert resolved["command"] == ["refine", "tiny"]


@pytest.mark.rule("REF-009")
def test_refined_probe_and_positions_are_saved(refinement, tiny_scan):
    outcome = refine_scan(refinement(refine_probe=True, refine_positions=True, refine_warm_up=2))
    with np.load(outcome.output_dir / "reconstruction.npz") as arrays:
        np.testing.assert_array_equal(arrays["positions"], outcome.result.positions)
        np.testing.assert_array_equal(arrays["probe"], outcome.result.probe)
        assert not np.array_equal(arrays["positions"], tiny_scan.positions)


@pytest.mark.rule("REF-017")
def test_error_bars_are_saved_as_asked_for(refinement, tiny_scan_file):
    outcome = refine_scan(refinement())
    bars, folder = outcome.result.error_bars, outcome.output_dir
    with np.load(folder / "reconstruction.npz") as arrays:
        np.testing.assert_array_equal(arrays["sigma"], bars.sigma)
        np.testing.assert_array_equal(arrays["null_space"], bars.null_space)
    written = json.loads((folder / "metrics.json").read_text())
    assert written["error_bars"] == bars.summary(outcome.result.object.object)
    assert [name for name, _ in outcome.sure] == ["shot noise"]
    assert "errors within one sigma" in (folder / "report.html").read_text()
    again = evaluate(folder / "reconstruction.npz", tiny_scan_file).report
    assert again.coverage["sigma"].within_one == pytest.approx(written["coverage"]["sigma"]["within_one"])

    bare = refine_scan(refinement("bare", error_bars="none"))
    assert "error_bars.png" not in {path.name for path in bare.files}
    with np.load(bare.output_dir / "reconstruction.npz") as arrays:
        assert "sigma" not in arrays
    assert not evaluate(bare.output_dir / "reconstruction.npz", tiny_scan_file).report.coverage


@pytest.mark.rule("REF-020")
def test_the_resolution_is_left_with_its_curve(refinement, tiny_scan_file):
    config = RefineConfig(refine_epochs=6, error_bars="thinning")
    scan = tiny_scene(grid=(10, 10), step_px=5.0, photons=1e5, noise=True)
    one, two = (
        refine_in_processes(
            scan, None, config, PyTorchExecutionConfig(accelerator="cpu", devices=count), "cpu", None
        )
        for count in (1, 2)
    )
    seen = ~one.error_bars.null_space
    np.testing.assert_allclose(
        two.error_bars.measured[seen], one.error_bars.measured[seen], rtol=0.1, atol=0.01
    )
    payload = refinement("thinned", error_bars="thinning")
    made = refined_record(one, scan, payload.resolution, config=config, device="cpu")
    leaving = Leaving(payload.data_config.output_dir.parent)
    write_results(leaving, made)
    assert not leaving.failures
    assert (leaving.folder / "resolution.png").is_file()
    told = json.loads((leaving.folder / "metrics.json").read_text())["error_bars"]["resolution"]
    assert told["criteria"]["half_bit"]["half_period_px"] >= 1
    assert len(told["curve"]["correlation"]) == len(one.error_bars.resolution.curve.frequency)
    with np.load(leaving.folder / "reconstruction.npz") as arrays:
        np.testing.assert_array_equal(arrays["sigma_thinning"], one.error_bars.measured)


@pytest.mark.rule("REF-023")
def test_a_dark_frame_is_a_file(refinement, tmp_path, tiny_scan):
    dark = np.full((3, tiny_scan.N, tiny_scan.N), 0.5)
    np.save(tmp_path / "dark.npy", dark)
    outcome = refine_scan(refinement(refine_dose=True, dark_file=tmp_path / "dark.npy"))
    with np.load(outcome.output_dir / "reconstruction.npz") as arrays:
        np.testing.assert_allclose(arrays["background"], dark[0], rtol=1e-5)
        assert arrays["dose"].shape == (tiny_scan.n_frames,)
    said = json.loads((outcome.output_dir / "metrics.json").read_text())["fitted"]
    assert said["background"] == "0.5 counts per pixel, at most 0.5"
    assert said["dose"] in (outcome.output_dir / "report.html").read_text()
    np.savez(tmp_path / "two.npz", dark=dark[0, :-1], other=dark)
    with pytest.raises(DataError):
        refine_scan(refinement("other", dark_file=tmp_path / "two.npz"))


@pytest.mark.rule("REF-030")
def test_what_a_probe_varies_by_is_saved_and_shown(refinement, tiny_scan):
    outcome = refine_scan(refinement(refine_probe=True, probe_variation=2, refine_warm_up=0))
    found = outcome.result.variation
    with np.load(outcome.output_dir / "reconstruction.npz") as arrays:
        np.testing.assert_array_equal(arrays["probe_variation"], found.modes)
        np.testing.assert_array_equal(arrays["probe_variation_weights"], found.weights)
    assert found.weights.shape == (tiny_scan.n_frames, 2)
    assert (outcome.output_dir / "probe_variation.png").stat().st_size > 0
    assert "probe_variation.png" in (outcome.output_dir / "report.html").read_text()
    assert outcome.forward_residual == pytest.approx(outcome.result.residuals[-1], rel=0.2)


@pytest.mark.rule("REF-053")
def test_a_refinement_that_leads_away_is_warned_of_and_reported(refinement, monkeypatch):
    start = refine_scan(refinement("begun", refine_epochs=20)).output_dir / "reconstruction.npz"
    monkeypatch.setattr(Iteration, "_share_of_step", lambda _: 3.0)
    with pytest.warns(ResultWarning, match="led away from the frames"):
        outcome = refine_scan(refinement(start=start, refine_epochs=6))
    assert outcome.verdict.is_bad
    written = json.loads((outcome.output_dir / "metrics.json").read_text())
    assert written["verdict"]["sentence"].startswith(outcome.result.worse)
    assert "led away from the frames" in (outcome.output_dir / "report.html").read_text()


@pytest.mark.parametrize(("warm_up", "moves"), [(8, False), (7, True)])
def test_probe_and_positions_wait_for_the_warm_up(refinement, tiny_scan, warm_up, moves):
    found = refine_scan(
        refinement(refine_probe=True, refine_positions=True, refine_warm_up=warm_up, refine_epochs=8)
    ).result
    assert np.array_equal(found.positions, tiny_scan.positions) is not moves
    relative = np.vdot(tiny_scan.probe, found.probe) / np.vdot(tiny_scan.probe, tiny_scan.probe)
    assert np.allclose(found.probe, relative * tiny_scan.probe, rtol=1e-4, atol=1e-5) is not moves


def test_settings_reach_the_iteration(refinement):
    plain = refine_scan(refinement("plain")).result
    for name, value in {
        "likelihood": "amplitude", "sub_pixel": "probe", "refine_batch_size": 3, "refine_seed": 4,
        "refine_probe": True, "refine_positions": True,
    }.items():  # fmt: skip
        other = refine_scan(refinement(f"with_{name}", **{name: value})).result
        assert not np.array_equal(other.object.object, plain.object.object), name
    assert refine_scan(refinement("more", refine_epochs=60, refine_tolerance=0.9)).result.stopped_early


def test_it_goes_on_from_an_earlier_result(refinement):
    first = refine_scan(refinement("first"))
    again = refine_scan(refinement("again", start=first.output_dir / "reconstruction.npz", refine_epochs=2))
    assert again.result.residuals[0] < first.result.residuals[0]


def test_a_result_can_be_evaluated(refinement, tiny_scan_file):
    outcome = refine_scan(refinement())
    report = evaluate(outcome.output_dir / "reconstruction.npz", tiny_scan_file).report
    assert report.scores.complex_nrmse == pytest.approx(outcome.report.scores.complex_nrmse)


@pytest.mark.rule("REF-008")
@pytest.mark.parametrize("sub_pixel", ["object", "probe"])
def test_two_processes_reach_what_one_reaches(tiny_scan, sub_pixel):
    config = RefineConfig(
        refine_epochs=6,
        refine_probe=True,
        probe_variation=1,
        refine_positions=True,
        refine_warm_up=1,
        sub_pixel=sub_pixel,
    )
    results = [
        refine_in_processes(
            tiny_scan, None, config, PyTorchExecutionConfig(accelerator="cpu", devices=count), "cpu", None
        )
        for count in (1, 2)
    ]
    one, two = results
    np.testing.assert_allclose(two.residuals, one.residuals, rtol=2e-3)
    np.testing.assert_allclose(two.object.object, one.object.object, atol=0.02)
    np.testing.assert_allclose(two.positions, one.positions, atol=0.05)
    np.testing.assert_allclose(two.variation.weights, one.variation.weights, atol=0.05)


def test_more_processes_than_gpus_are_refused(monkeypatch, tiny_scan):
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(
        ConfigError, check=lambda error: error.fields == ("devices",) and error.problems[0].value == 2
    ):
        refine_in_processes(tiny_scan, None, RefineConfig(), PyTorchExecutionConfig(devices=2), "cuda", None)


@pytest.mark.rule("REF-007")
def test_an_interrupted_run_keeps_what_it_reached(refinement):
    payload = refinement()
    with pytest.raises(RefinementInterrupted) as stop:
        refine_scan(payload, progress=stop_after(3))
    assert stop.value.checkpoint == payload.data_config.output_dir / "reconstruction.npz"
    with np.load(stop.value.checkpoint) as arrays:
        np.testing.assert_array_equal(arrays["object"], stop.value.result.object.object)


def test_older_results_stay_unless_told(refinement):
    first = refine_scan(refinement())
    before = (first.output_dir / "reconstruction.npz").read_bytes()
    with pytest.raises(ConfigError, check=lambda error: error.fields == ("output_dir",)):
        refine_scan(refinement(refine_epochs=2))
    assert (first.output_dir / "reconstruction.npz").read_bytes() == before
    refine_scan(refinement(refine_epochs=2), overwrite=True)
    assert (first.output_dir / "reconstruction.npz").read_bytes() != before


@pytest.mark.rule("REF-005")
def test_a_start_elsewhere_is_refused_and_nothing_is_written(refinement, tmp_path):
    np.savez(tmp_path / "far.npz", object=np.ones((30, 30), np.complex64), origin=np.array([9e3, 9e3]))
    with pytest.raises(ShapeError, check=lambda error: error.name == "start"):
        refine_scan(refinement(start=tmp_path / "far.npz"))
    assert not (tmp_path / "refined").exists()


def test_batches_larger_than_the_scan_are_refused(refinement, tmp_path):
    with pytest.raises(
        ConfigError,
        check=lambda error: error.fields == ("refine_batch_size",) and error.problems[0].value == 31,
    ):
        refine_scan(refinement(refine_batch_size=31))
    assert not (tmp_path / "refined").exists()


def test_modes_are_added_and_saved(refinement, tmp_path):
    outcome = refine_scan(refinement(refine_probe=True, probe_modes=3, refine_epochs=3))
    with np.load(outcome.output_dir / "reconstruction.npz") as arrays:
        assert arrays["probe"].shape == (3, 32, 32)
    with pytest.raises(
        ConfigError, check=lambda error: error.fields == ("probe_modes",) and error.problems[0].value == 3
    ):
        refinement(probe_modes=3)


def test_fewer_modes_than_there_are_are_refused(tmp_path, tiny_scan, refinement):
    two = np.concatenate([tiny_scan.probe, tiny_scan.probe * np.complex64(0.3j)])
    save_scan(tmp_path / "two.npz", replace(tiny_scan, probe=two))
    with pytest.raises(
        ConfigError, check=lambda error: error.fields == ("probe_modes",) and error.problems[0].value == 1
    ):
        refine_scan(refinement(scan=tmp_path / "two.npz", refine_probe=True, probe_modes=1))
    assert not (tmp_path / "refined").exists()


@pytest.mark.rule("REF-013")
def test_what_auto_means(refinement, inference):
    seen = []
    payload = refinement(refine_epochs="auto", refine_tolerance=0)
    refine_scan(payload, progress=lambda done, total, _: seen.append(total))
    assert seen == [60] * 60
    outcome = infer(inference())
    assert outcome.refinement is None
    assert outcome.network is outcome.reconstruction


def test_missing_files_are_named(refinement, tmp_path):
    with pytest.raises(FileNotFoundError, match="scan_file"):
        refinement(scan=tmp_path / "none.npz")
    with pytest.raises(FileNotFoundError, match="start_file"):
        refinement(start=tmp_path / "none.npz")


def test_the_residual_is_computed_where_the_object_was_refined(inference, monkeypatch):
    module = sys.modules[refine_scan.__module__]
    seen = []

    def spy(*arguments, device="where nobody asked for it", **settings):
        seen.append(device)
        return forward_residual(*arguments, device=device, **settings)

    monkeypatch.setattr(module, "forward_residual", spy)
    infer(inference(refine_epochs=1))
    assert seen == ["cpu"]


@pytest.mark.rule("REF-010")
def test_inference_refines_what_the_network_made(inference, tiny_scan, trained):
    outcome = infer(inference(refine_epochs=8))
    assert {path.name for path in outcome.files} == FILES | {"network.npz"}
    assert outcome.refinement.n_epochs == 8
    assert outcome.forward_residual < 0.9 * outcome.network_residual
    assert outcome.report.scores.complex_nrmse < 0.7 * outcome.network_report.scores.complex_nrmse
    written = json.loads((outcome.output_dir / "metrics.json").read_text())
    assert written["network"]["forward_residual"] == outcome.network_residual
    assert written["network"]["scores"]["complex_nrmse"] == outcome.network_report.scores.complex_nrmse
    with np.load(outcome.output_dir / "network.npz") as arrays:
        np.testing.assert_array_equal(arrays["object"], outcome.network.object)
    with np.load(outcome.output_dir / "reconstruction.npz") as arrays:
        np.testing.assert_array_equal(arrays["object"], outcome.reconstruction.object)


@pytest.mark.rule("REF-010")
def test_inference_uses_the_probe_of_the_bundle(inference, tiny_scan, tmp_path):
    save_scan(tmp_path / "dark.npz", replace(tiny_scan, probe=tiny_scan.probe * np.complex64(2j)))
    plain, other = (
        infer(inference("a", refine_epochs=2)),
        infer(inference("b", scan=tmp_path / "dark.npz", refine_epochs=2)),
    )
    np.testing.assert_allclose(other.reconstruction.object, plain.reconstruction.object, atol=1e-5)


@pytest.mark.rule("REF-007")
def test_interrupted_inference_keeps_what_it_reached(inference):
    payload = inference(refine_epochs=8)
    with pytest.raises(RefinementInterrupted) as stop:
        infer(payload, refine_progress=stop_after(2))
    assert stop.value.checkpoint.exists()
    assert (payload.inference_config.output_dir / "network.npz").exists()


@pytest.mark.rule("REF-011")
def test_settings_of_a_refinement_need_a_refinement(inference):
    with pytest.raises(
        ConfigError, check=lambda error: error.fields == ("refine_probe", "likelihood")
    ) as error:
        inference(refine_probe=True, likelihood="amplitude")
    assert "--refine N" in str(error.value)
    assert "likelihood" in str(error.value)


@pytest.mark.rule("RUN-007")
@pytest.mark.parametrize(("angle", "has_product"), [(None, True), ("steep", False)])
def test_a_number_that_is_none_does_not_end_a_refinement(refinement, tmp_path, tiny_scan, angle, has_product):
    geometry = {
        "photon_energy_eV": 8000.0,
        "detector_object_distance_m": 2.0,
        "detector_pixel_height_m": 75e-6,
        "detector_pixel_width_m": 75e-6,
    }
    path = tmp_path / "said.npz"
    save_scan(path, replace(tiny_scan, metadata={**geometry, "tomography_angle_deg": angle}))
    outcome = refine_scan(refinement(scan=path, refine_epochs=1), pictures=False)
    assert (outcome.output_dir / "reconstruction.h5").exists() is has_product
    assert (outcome.output_dir / "reconstruction.npz").is_file()


@pytest.mark.rule("RUN-008")
def test_a_file_that_cannot_be_written_loses_no_other(refinement):
    payload = refinement(refine_epochs=1)
    folder = payload.data_config.output_dir

    def in_the_way(*_):
        [work] = [path for path in folder.iterdir() if path.is_dir()]
        (work / "refinement.png").symlink_to(folder / "absent" / "refinement.png")

    with pytest.raises(ResultsIncomplete) as caught:
        refine_scan(payload, progress=in_the_way)
    assert list(caught.value.failures) == ["refinement.png"]
    assert {path.name for path in caught.value.files} == FILES - {"refinement.png"}
    assert all(path.is_file() for path in caught.value.files)


@pytest.mark.rule("RUN-008")
def test_without_its_arrays_a_refinement_replaces_nothing(refinement, tiny_scan_file, tmp_path):
    older = refine_scan(refinement(refine_epochs=1), pictures=False)
    before = contents(older.output_dir)
    # An array takes more than the largest file that the process may write, its scores do not.
    place = [str(tiny_scan_file), str(older.output_dir)]
    told = subprocess.run(
        [sys.executable, str(LIMITED), "20000", *place], capture_output=True, text=True, check=True
    )
    error = json.loads(told.stdout)
    assert "reconstruction.npz" in error["failures"]
    assert error["folder"] == str(older.output_dir / "incomplete-refine")
    assert sorted(error["files"]) == ["metrics.json", "resolved_config.json"]
    after = contents(older.output_dir)
    assert {name: after[name] for name in before} == before
    assert {name for name in after if "incomplete-refine" in name} >= {
        f"incomplete-refine/{name}" for name in error["files"]
    }
    again = refine_scan(refinement(refine_epochs=1), overwrite=True, pictures=False)
    assert not (again.output_dir / "incomplete-refine").exists()


@pytest.mark.rule("RUN-008")
def test_without_its_arrays_an_interrupted_refinement_names_no_arrays(refinement):
    payload = refinement(refine_epochs=3)
    folder = payload.data_config.output_dir

    def interrupted(done, total, residual):
        [work] = [path for path in folder.iterdir() if path.is_dir()]
        (work / "reconstruction.npz").symlink_to(folder / "absent" / "reconstruction.npz")
        raise KeyboardInterrupt

    with pytest.raises(ResultsIncomplete) as caught:
        refine_scan(payload, progress=interrupted, pictures=False)
    assert list(caught.value.failures) == ["reconstruction.npz"]


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
