"""A reconstruction from a bundle, and its comparison with the truth."""

from __future__ import annotations

import json
import shutil
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch

from ptycho_config import ConfigError
from ptycho_torch.data.formats.npz import save_scan
from ptycho_torch.data.simulation.simulate import simulate_scene
from ptycho_torch.errors import BundleError, DataError, ShapeError
from ptycho_torch.workflows import ResultsIncomplete, evaluate, infer, reconstruct
from ptycho_torch.workflows.jobs import evaluation
from ptycho_torch.workflows.runs.record import read_record


@pytest.fixture(scope="module")
def outcome(tmp_path_factory, trained, tiny_scan_file):
    from ptycho_config import PyTorchExecutionConfig
    from ptycho_torch.config_factory import create_inference_payload

    made = create_inference_payload(
        trained.output_dir,
        tiny_scan_file,
        tmp_path_factory.mktemp("inference") / "result",
        execution_config=PyTorchExecutionConfig(accelerator="cpu"),
    )
    return infer(made, command=["infer", "tiny"])


def test_arrays_are_saved_and_not_only_pictures(outcome, tiny_scan):
    with np.load(outcome.output_dir / "reconstruction.npz", allow_pickle=False) as arrays:
        saved = dict(arrays)
    assert set(saved) == {"object", "weight", "origin", "positions", "probe", "configuration", "phase"} | {
        "patch_spread"
    }
    assert saved["object"].dtype == np.complex64
    np.testing.assert_array_equal(saved["object"], outcome.reconstruction.object)
    np.testing.assert_array_equal(saved["positions"], tiny_scan.positions)
    assert json.loads(str(saved["configuration"]))["values"]["model"]["N"] == 32


@pytest.mark.rule("RUN-049")
def test_a_bundle_of_a_training_that_was_taken_up_again_is_used_with_a_warning(
    tmp_path, inference, trained, caplog
):
    copied = tmp_path / "copied"
    shutil.copytree(trained.output_dir, copied)
    infer(inference("whole", model=copied), pictures=False)
    assert not [record for record in caplog.records if "taken up again" in record.msg]
    record = read_record(copied, "train")
    replace(record, complete=False).write(copied)
    infer(inference("unfinished", model=copied), pictures=False)
    [said] = [record for record in caplog.records if "taken up again" in record.msg]
    assert said.args == (copied,)


def test_every_file_is_listed(outcome):
    expected = {"reconstruction.npz", "amplitude.png", "phase.png", "comparison.png", "metrics.json"}
    expected |= {"resolved_config.json", "report.html", "amplitude.tif", "phase.tif", "patch_spread.png"}
    assert {path.name for path in outcome.files} == expected
    assert {path.name for path in outcome.output_dir.iterdir()} == {*expected, ".run-infer.json"}
    written = json.loads((outcome.output_dir / "resolved_config.json").read_text())
    assert written["command"] == ["infer", "tiny"]
    for name in ("amplitude.png", "phase.png"):
        assert (outcome.output_dir / name).read_bytes().startswith(b"\x89PNG")
    assert len(repr(outcome)) < 5000


@pytest.mark.rule("STI-011")
def test_the_default_reconstructs_every_frame(tmp_path, inference, trained):
    # More frames than any number of groups that a default could name in passing.
    scan = simulate_scene("lines", N=32, grid=(6, 8), step_px=3.0, photons=1e5)
    save_scan(tmp_path / "scan.npz", scan)
    outcome = infer(inference(scan=tmp_path / "scan.npz"))
    with np.load(outcome.output_dir / "reconstruction.npz") as arrays:
        assert len(arrays["positions"]) == 48
    np.testing.assert_allclose(
        outcome.reconstruction.object, reconstruct(trained.model, scan).object, rtol=1e-4, atol=1e-5
    )


def test_the_bundle_gives_the_object_of_the_trained_model(outcome, trained, tiny_scan):
    direct = reconstruct(trained.model, tiny_scan, batch_size=8)
    np.testing.assert_array_equal(outcome.reconstruction.object, direct.object)


def test_the_report_is_what_is_written(outcome):
    written = json.loads((outcome.output_dir / "metrics.json").read_text())
    assert written["scores"] == json.loads(json.dumps(outcome.report.scores.to_dict()))
    assert written["flat"]["complex_nrmse"] == pytest.approx(outcome.report.flat.complex_nrmse)
    assert written["forward_residual"] == outcome.forward_residual
    assert 0 < outcome.forward_residual < 1
    assert outcome.patterns_per_second > 0


def test_without_a_truth_there_are_no_scores_but_a_verdict(tmp_path, inference, tiny_scan):
    save_scan(tmp_path / "scan.npz", replace(tiny_scan, object_truth=None))
    outcome = infer(inference(scan=tmp_path / "scan.npz"))
    assert outcome.report is None
    written = json.loads((outcome.output_dir / "metrics.json").read_text())
    assert set(written) == {"forward_residual", "verdict", "phase"}
    assert written["verdict"] == outcome.verdict.to_dict()


def test_too_little_to_score_is_still_reconstructed(inference, caplog):
    outcome = infer(inference(n_groups=1))
    assert outcome.report is None
    assert "not compared with the known object" in caplog.text
    names = {path.name for path in outcome.files}
    assert "reconstruction.npz" in names
    written = json.loads((outcome.output_dir / "metrics.json").read_text())
    assert set(written) == {"forward_residual", "verdict", "phase"}
    assert not written["verdict"]["is_told"]


@pytest.mark.rule("STI-011")
def test_groups_and_subsample_choose_frames(inference, tiny_scan):
    outcome = infer(inference(n_groups=5, n_subsample=12, subsample_seed=1))
    with np.load(outcome.output_dir / "reconstruction.npz") as arrays:
        used = arrays["positions"]
    assert len(used) == 5
    assert {tuple(row) for row in used} <= {tuple(row) for row in tiny_scan.positions}


def test_inference_settings_have_an_effect(inference, outcome):
    trimmed = infer(inference(execution={"middle_trim": 10, "inference_batch_size": 5}))
    assert (trimmed.reconstruction.weight > 0).sum() < (outcome.reconstruction.weight > 0).sum()
    reported = []
    infer(
        inference("batches", execution={"inference_batch_size": 5}),
        progress=lambda done, of: reported.append((done, of)),
    )
    assert reported == [(done, 30) for done in range(5, 31, 5)]


@pytest.mark.rule("CLI-032")
def test_every_stage_is_reported_to_its_end(inference):
    ends = {}

    class Stages:
        def __call__(self, done, total):
            ends["predicting"] = (done, total)

        def stage(self, name, unit):
            return lambda done, total: ends.update({f"{name} {unit}": (done, total)})

    infer(inference("stages"), progress=Stages())
    assert list(ends) == ["reading frame", "predicting", "stitching pass", "comparing frame"]
    assert all(done == total for done, total in ends.values())
    assert ends["comparing frame"] == (30, 30)


def test_padding_extends_the_canvas(inference, outcome):
    small = infer(inference("small", execution={"middle_trim": 10})).reconstruction.object.shape
    large = infer(inference("large", execution={"middle_trim": 10, "pad_eval": True}))
    assert large.reconstruction.object.shape == outcome.reconstruction.object.shape
    assert small == tuple(side - 22 for side in large.reconstruction.object.shape)


def test_debugging_keeps_what_the_network_drew_and_says_more(inference, outcome, tiny_scan, caplog):
    plain = infer(inference("plain"))
    assert not [record for record in caplog.records if record.levelname == "DEBUG"]
    assert not (plain.output_dir / "intermediate.npz").exists()
    debugged = infer(inference("debugged", debug=True))
    assert "on a canvas of" in caplog.text
    assert debugged.output_dir / "intermediate.npz" in debugged.files
    with np.load(debugged.output_dir / "intermediate.npz") as arrays:
        assert arrays["patches"].shape == (30, 32, 32)
        assert arrays["weight"].shape == (32, 32)
        np.testing.assert_array_equal(arrays["frames"][:, 0], np.arange(30))
        np.testing.assert_array_equal(arrays["positions"], tiny_scan.positions)
    np.testing.assert_array_equal(debugged.reconstruction.object, outcome.reconstruction.object)
    infer(inference("after"))
    assert len([record for record in caplog.records if "on a canvas of" in record.message]) == 1


def test_larger_frames_are_cropped_to_the_model(tmp_path, inference):
    save_scan(tmp_path / "wide.npz", simulate_scene("lines", N=48, grid=(4, 4), step_px=6.0, photons=1e5))
    with (
        pytest.warns(UserWarning, match="frames of 48 x 48 px were cropped to the central 32 x 32"),
        # A probe made for 48 px is another one after the crop.
        pytest.warns(UserWarning, match="the probe of this scan is not among those of the training"),
    ):
        outcome = infer(inference(scan=tmp_path / "wide.npz"))
    assert outcome.reconstruction.object.shape[0] < 60


def test_smaller_frames_are_refused_and_nothing_is_written(tmp_path, inference, trained):
    path = tmp_path / "small.npz"
    save_scan(path, simulate_scene("lines", N=16, grid=(3, 3), step_px=3.0, photons=1e5))
    with pytest.raises(DataError, check=lambda error: error.names == ("N",)):
        infer(inference(scan=path))
    assert list(tmp_path.iterdir()) == [path]


def test_a_damaged_bundle_writes_nothing(tmp_path, inference, trained):
    content = trained.bundle.read_bytes()
    (tmp_path / "model").mkdir()
    bundle = tmp_path / "model" / "wts.h5.zip"
    bundle.write_bytes(content)
    made = inference(model=bundle)
    bundle.write_bytes(content[: len(content) // 2])
    with pytest.raises(BundleError):
        infer(made)
    assert not (tmp_path / "result").exists()


def test_too_many_groups_are_refused_with_the_number(tmp_path, inference):
    with pytest.raises(
        ConfigError, check=lambda error: error.fields == ("n_groups",) and "30" in error.problems[0].expected
    ):
        infer(inference(n_groups=31))
    assert not (tmp_path / "result").exists()


def test_results_are_replaced_only_when_asked(inference):
    first = infer(inference())
    before = (first.output_dir / "reconstruction.npz").read_bytes()
    with pytest.raises(ConfigError, check=lambda error: error.fields == ("output_dir",)):
        infer(inference())
    assert (first.output_dir / "reconstruction.npz").read_bytes() == before
    second = infer(inference(n_groups=9), overwrite=True)
    names = {path.name for path in second.files}
    assert {path.name for path in second.output_dir.iterdir()} == {*names, ".run-infer.json"}
    assert (first.output_dir / "reconstruction.npz").read_bytes() != before


def test_nothing_is_left_in_the_working_directory(inference, tmp_path, monkeypatch):
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        infer(inference())
    assert list((tmp_path / "cwd").iterdir()) == []


def test_the_random_state_of_the_process_is_left_alone(inference):
    before = torch.get_rng_state()
    infer(inference())
    assert torch.equal(torch.get_rng_state(), before)


def test_evaluate_gives_the_scores_of_files(outcome, tiny_scan_file, tmp_path):
    result = outcome.output_dir / "reconstruction.npz"
    quiet = evaluate(result, tiny_scan_file)
    assert quiet.files == ()
    assert outcome.report is not None
    assert quiet.report.inset_px == outcome.report.inset_px > 0
    assert quiet.report.scores.complex_nrmse == pytest.approx(outcome.report.scores.complex_nrmse)
    full = evaluate(result, tiny_scan_file, output_dir=tmp_path / "scores")
    assert [path.name for path in full.files] == ["metrics.json", "comparison.png", "frc.png"]
    written = json.loads(full.files[0].read_text())
    assert written["scores"]["complex_nrmse"] == pytest.approx(quiet.report.scores.complex_nrmse)
    with pytest.raises(ConfigError, check=lambda error: error.fields == ("output_dir",)):
        evaluate(result, tiny_scan_file, output_dir=tmp_path / "scores")
    evaluate(result, tiny_scan_file, output_dir=tmp_path / "scores", overwrite=True)
    assert len(repr(full)) < 5000


def test_the_truth_against_itself_is_perfect(tiny_scan_file):
    report = evaluate(tiny_scan_file, tiny_scan_file).report
    assert report.scores.complex_nrmse < 1e-6
    assert report.flat.complex_nrmse > 0.05


def test_objects_that_do_not_overlap_are_refused(tmp_path, tiny_scan_file, tiny_scan):
    np.savez(tmp_path / "far.npz", object=tiny_scan.object_truth, origin=np.array([-1e4, 0.0]))
    with pytest.raises(ShapeError):
        evaluate(tmp_path / "far.npz", tiny_scan_file, output_dir=tmp_path / "scores")
    assert not (tmp_path / "scores").exists()


def test_a_trim_larger_than_a_patch_is_refused(trained, tiny_scan):
    with pytest.raises(
        ConfigError, check=lambda error: error.fields == ("middle_trim",) and error.problems[0].value == 64
    ):
        reconstruct(trained.model, tiny_scan, middle_trim=64)


GEOMETRY = {
    "photon_energy_eV": 8000.0,
    "detector_object_distance_m": 2.0,
    "detector_pixel_height_m": 75e-6,
    "detector_pixel_width_m": 75e-6,
}


@pytest.fixture
def said(tmp_path, tiny_scan):
    """A scan file whose metadata say the geometry, and what else is given."""

    def make(**entries):
        path = tmp_path / "said.npz"
        save_scan(path, replace(tiny_scan, metadata={**tiny_scan.metadata, **GEOMETRY, **entries}))
        return path

    return make


@pytest.mark.rule("RUN-007")
@pytest.mark.parametrize("entry", ["tomography_angle_deg", "probe_photon_count", "focus_object_distance_m"])
def test_a_number_that_is_null_counts_as_left_out(inference, said, entry):
    outcome = infer(inference(scan=said(**{entry: None})), pictures=False)
    assert (outcome.output_dir / "reconstruction.h5").is_file()


@pytest.mark.rule("RUN-007")
@pytest.mark.parametrize(
    ("entry", "value"),
    [
        ("tomography_angle_deg", "steep"),
        ("exposure_time_s", [1.0]),
        ("nphotons", {"mean": 1}),
        ("coordinate_zero_x_m", "left"),
        ("tilt_angle_deg", 10**400),
        ("photon_energy_eV", "8 keV"),
    ],
)
def test_a_number_that_is_none_is_told_before_the_work_and_costs_the_product_only(
    inference, said, caplog, entry, value
):
    told = []
    outcome = infer(
        inference(scan=said(**{entry: value})),
        progress=lambda *_: told.append(any(entry in text for text in caplog.messages)),
        pictures=False,
    )
    assert told[0]
    assert not (outcome.output_dir / "reconstruction.h5").exists()
    assert (outcome.output_dir / "reconstruction.npz").is_file()


@pytest.mark.rule("RUN-008")
def test_a_file_that_cannot_be_written_loses_no_other(inference, tmp_path):
    payload = inference()
    folder = payload.inference_config.output_dir

    def in_the_way(done, total):
        [work] = [path for path in folder.iterdir() if path.is_dir()]
        if done == total:
            (work / "comparison.png").symlink_to(folder / "absent" / "comparison.png")

    with pytest.raises(ResultsIncomplete) as caught:
        infer(payload, progress=in_the_way)
    assert list(caught.value.failures) == ["comparison.png"]
    assert all(path.is_file() for path in caught.value.files)
    assert {path.name for path in caught.value.files} == {
        "reconstruction.npz",
        "amplitude.png",
        "phase.png",
        "amplitude.tif",
        "phase.tif",
        "patch_spread.png",
        "metrics.json",
        "resolved_config.json",
        "report.html",
    }


def test_a_known_object_that_is_empty_is_not_compared_and_loses_nothing(inference, tmp_path, tiny_scan):
    path = tmp_path / "empty.npz"
    save_scan(path, replace(tiny_scan, object_truth=np.zeros_like(tiny_scan.object_truth)))
    outcome = infer(inference(scan=path), pictures=False)
    assert outcome.report is None
    names = {path.name for path in outcome.files}
    assert names == {"reconstruction.npz", "resolved_config.json", "metrics.json"}


@pytest.mark.rule("RUN-008")
def test_of_an_evaluation_the_other_files_are_written(outcome, tiny_scan_file, tmp_path, monkeypatch):
    def fails(path, report):
        raise TypeError("no such colour")

    monkeypatch.setattr(evaluation, "save_comparison_figure", fails)
    with pytest.raises(ResultsIncomplete) as caught:
        evaluate(outcome.output_dir / "reconstruction.npz", tiny_scan_file, output_dir=tmp_path / "scores")
    assert list(caught.value.failures) == ["comparison.png"]
    assert {path.name for path in caught.value.files} == {"metrics.json", "frc.png"}
    assert all(path.is_file() for path in caught.value.files)


@pytest.mark.rule("RUN-008")
def test_without_its_arrays_a_reconstruction_replaces_nothing(inference):
    older = infer(inference(), pictures=False)
    before = {path.name: path.read_bytes() for path in older.output_dir.iterdir()}

    def in_the_way(done, total):
        arrays = older.output_dir / "incomplete-infer" / "reconstruction.npz"
        if not arrays.is_symlink():
            arrays.symlink_to(arrays.parent / "absent" / arrays.name)

    with pytest.raises(ResultsIncomplete) as caught:
        infer(inference(), overwrite=True, progress=in_the_way, pictures=False)
    assert list(caught.value.failures) == ["reconstruction.npz"]
    assert {path.name for path in caught.value.files} == {"metrics.json", "resolved_config.json"}
    assert all(path.is_file() for path in caught.value.files)
    after = {path.name: path.read_bytes() for path in older.output_dir.iterdir() if path.is_file()}
    assert after == before


@pytest.mark.rule("RUN-008")
def test_without_its_scores_an_evaluation_replaces_nothing(outcome, tiny_scan_file, tmp_path, monkeypatch):
    pair = outcome.output_dir / "reconstruction.npz", tiny_scan_file
    older = evaluate(*pair, output_dir=tmp_path / "scores")
    before = {path.name: path.read_bytes() for path in older.files}

    def fails(path, report):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(evaluation, "write_metrics", fails)
    with pytest.raises(ResultsIncomplete) as caught:
        evaluate(*pair, output_dir=tmp_path / "scores", overwrite=True)
    assert list(caught.value.failures) == ["metrics.json"]
    assert {path.name: path.read_bytes() for path in older.files} == before
    assert caught.value.folder == tmp_path / "scores" / "incomplete-evaluate"
