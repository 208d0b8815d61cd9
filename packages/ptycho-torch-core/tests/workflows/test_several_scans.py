"""One network, several scans, each with a probe and an intensity scale of its own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from ptycho_config import ConfigError
from ptycho_torch.bundle import load_bundle, read_manifest
from ptycho_torch.config_factory import create_inference_payload, create_training_payload
from ptycho_torch.data.formats.npz import save_scan
from ptycho_torch.data.simulation.simulate import simulate_scan, simulate_scene
from ptycho_torch.errors import DataError
from ptycho_torch.prediction.scan_match import closest_scan, model_for
from ptycho_torch.workflows import infer, reconstruct, train
from ptycho_torch.workflows.jobs.preparation import prepare_training


def _seen_with(scan, probe, photons):
    return simulate_scan(scan.object_truth, probe, scan.positions, photons=photons, seed=5)


@pytest.fixture(scope="module")
def other_probe(tiny_scan):
    """The probe of the tiny scan after 3 px of tilt and a curved phase: an overlap of about a half."""
    y, x = np.mgrid[-16:16, -16:16]
    return (tiny_scan.probe * np.exp(1j * (0.25 * x + 0.02 * y**2))).astype(np.complex64)


@pytest.fixture(scope="module")
def scans(tiny_scan, other_probe):
    """The tiny scan, and the same object seen with another probe and ten times the photons in 20 frames."""
    return tiny_scan, _seen_with(tiny_scan, other_probe, 1e6).take(np.arange(20))


@pytest.fixture(scope="module")
def folder(tmp_path_factory, scans):
    path = tmp_path_factory.mktemp("scans")
    for name, scan in zip(("a.npz", "b.npz"), scans, strict=True):
        save_scan(path / name, scan)
    (path / "notes.txt").write_text("left alone")
    return path


@pytest.fixture(scope="module")
def trained_on_both(tmp_path_factory, folder):
    payload = create_training_payload(
        folder,
        tmp_path_factory.mktemp("both") / "run",
        overrides={"nepochs": 2, "batch_size": 8, "n_filters_scale": 1, "accelerator": "cpu"},
    )
    return train(payload)


@pytest.mark.rule("DATA-091")
def test_each_scan_has_its_own_gauge_and_groups_never_mix(payload, folder, scans):
    made = prepare_training(payload(scan=[folder / "a.npz", folder / "b.npz"]).task)
    assert [float(made.model.on(i).mean_counts) for i in (0, 1)] == pytest.approx([1e5, 1e6], rel=0.1)
    for number, scan in enumerate(scans):
        alone = prepare_training(payload(scan=folder / f"{'ab'[number]}.npz").task)
        view = made.model.on(number)
        torch.testing.assert_close(view.probe, alone.model.probe)
        torch.testing.assert_close(view.intensity_scale, alone.model.intensity_scale)
        part = made.train.scans[number]
        assert part.scan == number
        np.testing.assert_array_equal(part.frames, scan.diffraction)
    with pytest.raises(ValueError, match="groups of one scan, got some of scans 0 and 1"):
        made.train.__getitems__([0, len(made.train) - 1])


def test_a_batch_is_predicted_with_the_probe_of_its_scan(payload, folder):
    made = prepare_training(payload(scan=folder).task)
    first, last = made.train.__getitems__([0]), made.train.__getitems__([len(made.train) - 1])
    assert (first["scan"], last["scan"]) == (0, 1)
    with torch.no_grad():
        patches = torch.ones(1, 1, 32, 32, dtype=torch.complex64)
        by_scan = [made.model.on(batch["scan"]).predict_counts(patches) for batch in (first, last)]
    assert float(by_scan[1].sum() / by_scan[0].sum()) == pytest.approx(10, rel=0.1)


@pytest.mark.rule("DATA-092")
def test_numbers_of_groups_count_over_all_scans(payload, folder):
    made = prepare_training(payload(scan=folder, n_groups=20, execution={"val_fraction": 0.0}).task)
    assert made.train.parts == (12, 8)


@pytest.mark.rule("DATA-090")
def test_a_folder_a_list_and_scans_in_memory_are_the_same_data(payload, folder, scans):
    made = [
        prepare_training(payload(scan=source).task)
        for source in (folder, [folder / "a.npz", folder / "b.npz"], list(scans))
    ]
    for other in made[1:]:
        assert other.train.parts == made[0].train.parts
        for mine, its in zip(made[0].train.scans, other.train.scans, strict=True):
            np.testing.assert_array_equal(mine.groups, its.groups)
            np.testing.assert_array_equal(mine.frames, its.frames)


def test_the_bundle_holds_every_scan(trained_on_both, scans):
    manifest = read_manifest(trained_on_both.bundle)
    assert [scan["mean_counts"] for scan in manifest.scans] == pytest.approx([1e5, 1e6], rel=0.1)
    model, _ = load_bundle(trained_on_both.bundle)
    for number, scan in enumerate(scans):
        assert closest_scan(model, scan) == (number, pytest.approx(1.0, abs=1e-5))
        torch.testing.assert_close(model.on(number).probe, trained_on_both.model.on(number).probe)


def test_both_scans_are_learned_from(trained_on_both):
    losses = [row["train_loss"] for row in trained_on_both.history]
    assert losses[-1] < losses[0]


@pytest.mark.rule("DATA-093")
def test_a_scan_of_the_training_keeps_the_gauge_of_the_training(trained_on_both, scans):
    view = model_for(trained_on_both.model, scans[1].take(np.arange(5)))
    assert view.physics is trained_on_both.model.scans[1]


@pytest.mark.rule("DATA-093")
def test_a_new_scan_brings_its_own_probe(trained_on_both, tiny_scan, other_probe):
    y, x = np.mgrid[-16:16, -16:16]
    probe = (tiny_scan.probe * np.exp(-1j * (0.4 * y + 0.03 * x**2))).astype(np.complex64)
    scan = _seen_with(tiny_scan, probe, 3e5)
    model = trained_on_both.model
    with pytest.warns(UserWarning, match="not among those of the training .likeness 0"):
        view = model_for(model, scan)
    assert view.physics.overlap(torch.from_numpy(probe)) == pytest.approx(1, abs=1e-5)
    assert float(view.mean_counts) == pytest.approx(scan.counts_per_frame().mean())
    assert view.generator is model.generator
    assert len(model.scans) == 2
    # What was found once is found again, without another word.
    assert model_for(view, scan).physics is view.physics


@pytest.mark.rule("DATA-093")
def test_a_probe_that_was_refined_is_known_by_what_the_file_said(payload, folder, scans):
    model = prepare_training(payload(scan=folder, probe_trainable=True).task).model
    with torch.no_grad():
        model.scans[0].probe_modes.copy_(torch.roll(model.scans[0].probe_modes, 4, dims=-1))
    assert closest_scan(model, scans[0]) == (0, pytest.approx(1, abs=1e-5))


@pytest.mark.rule("DATA-093")
def test_pixels_that_the_new_scan_calls_bad_are_not_used(trained_on_both, scans):
    bad = np.zeros((32, 32), bool)
    bad[3, 4] = True
    frames = scans[0].diffraction.copy()
    frames[:, 3, 4] = 60000
    spoiled = replace(scans[0], diffraction=frames, bad_pixels=bad)
    clean = replace(scans[0], bad_pixels=bad)
    ours, theirs = (reconstruct(trained_on_both.model, scan) for scan in (spoiled, clean))
    np.testing.assert_allclose(ours.object, theirs.object, atol=1e-4)
    assert bool(trained_on_both.model.scans[0].measured.all())


def test_infer_says_which_scan_it_took(trained_on_both, folder, tmp_path, caplog):
    caplog.set_level("INFO")
    payload = create_inference_payload(
        trained_on_both.bundle, folder / "b.npz", tmp_path / "out", overrides={"accelerator": "cpu"}
    )
    outcome = infer(payload)
    assert "those of training scan 2 of 2" in caplog.text
    stored = np.load(outcome.output_dir / "reconstruction.npz")["probe"]
    torch.testing.assert_close(torch.from_numpy(stored), trained_on_both.model.on(1).probe)


def test_validation_on_another_file_uses_the_closest_training_scan(payload, folder):
    made = prepare_training(payload(scan=folder, test_data_file=str(folder / "b.npz")).task)
    assert [part.scan for part in made.validation.scans] == [1]
    assert made.train.parts == (30, 20)


def test_labels_are_cut_for_each_scan(payload, folder, scans):
    made = prepare_training(payload(scan=folder, model_type="supervised").task)
    for number, part in enumerate(made.train.scans):
        batch = part.__getitems__([0])
        with torch.no_grad():
            model = made.model.on(number)
            predicted = model.predict_counts(batch["labels"]).sum()
        assert float(predicted) == pytest.approx(float(batch["counts"].sum()), rel=0.1)


@pytest.mark.rule("DATA-092")
def test_scans_of_different_sizes_are_refused_unless_a_size_is_stated(tmp_path, folder, cpu):
    larger = simulate_scene("lines", N=64, grid=(3, 3), step_px=4.0, photons=1e5, seed=3)
    save_scan(tmp_path / "large.npz", larger)
    sources = [folder / "a.npz", tmp_path / "large.npz"]
    with pytest.raises(ConfigError, check=lambda error: error.fields == ("N",)):
        create_training_payload(sources, tmp_path / "run", execution_config=cpu())


@pytest.mark.rule("DATA-092")
def test_fewer_groups_than_scans_are_refused(payload, folder):
    with pytest.raises(ConfigError, check=lambda error: error.fields == ("n_groups",)):
        prepare_training(payload(scan=folder, n_groups=1).task)


@pytest.mark.rule("DATA-090")
def test_a_missing_file_in_a_list_is_named(payload, folder):
    with pytest.raises(FileNotFoundError, match=r"gone.npz"):
        payload(scan=[folder / "a.npz", folder / "gone.npz"])


@pytest.mark.rule("DATA-090")
def test_a_folder_without_scans_is_refused(tmp_path, payload):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, check=lambda error: error.source == tmp_path / "empty"):
        payload(scan=tmp_path / "empty")


def test_one_scan_in_a_list_is_that_scan(payload, tiny_scan_file):
    listed, plain = (
        prepare_training(payload(scan=source).task) for source in ([tiny_scan_file], tiny_scan_file)
    )
    np.testing.assert_array_equal(listed.train.groups, plain.train.groups)
