"""Groups of several frames, from a scan on disk to an object, in training and in reconstruction."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from ptycho_config import ConfigError, PyTorchExecutionConfig
from ptycho_torch.config_factory import create_inference_payload, create_training_payload
from ptycho_torch.data.formats.npz import save_scan
from ptycho_torch.data.groups.grouping import covering_groups
from ptycho_torch.physics import Bilinear
from ptycho_torch.physics.overlap import merge_groups
from ptycho_torch.prediction import reconstruction
from ptycho_torch.testing import tiny_scene
from ptycho_torch.workflows import infer, reconstruct, train
from ptycho_torch.workflows.jobs.preparation import prepare_training


@pytest.fixture(scope="module")
def grouped(tmp_path_factory, tiny_scan_file):
    """A model of four frames, trained for some epochs."""
    made = create_training_payload(
        tiny_scan_file,
        tmp_path_factory.mktemp("grouped") / "run",
        overrides={"nepochs": 6, "batch_size": 4, "n_filters_scale": 1, "gridsize": 2},
        execution_config=PyTorchExecutionConfig(accelerator="cpu", val_fraction=0.2, learning_rate=3e-3),
    )
    return train(made)


def test_training_on_groups_lowers_the_loss(grouped):
    losses = [row["train_loss"] for row in grouped.history]
    assert losses[-1] < 0.8 * losses[0]
    assert grouped.model.n_channels == 4


@pytest.mark.rule("DATA-070")
def test_a_group_is_four_neighbouring_frames_and_not_one_repeated(payload, tiny_scan):
    data = prepare_training(payload(gridsize=2).task).train
    assert data.groups.shape[1] == 4
    assert all(len(set(group)) == 4 for group in data.groups.tolist())
    batch = data.__getitems__(range(len(data)))
    counts = batch["counts"].flatten(2)
    for first in range(4):
        for second in range(first):
            assert (counts[:, first] - counts[:, second]).abs().sum(dim=1).min() > 0
    np.testing.assert_array_equal(batch["counts"].numpy(), tiny_scan.diffraction[data.groups])
    centres = tiny_scan.positions[data.groups].mean(axis=1, keepdims=True)
    np.testing.assert_allclose(batch["offsets"], tiny_scan.positions[data.groups] - centres, atol=1e-5)
    # Neighbours: no member lies farther from the centre than two steps of the raster.
    assert np.abs(batch["offsets"].numpy()).max() < 2 * 4 + 2


def test_the_default_makes_as_many_groups_as_differ(payload):
    made = payload(gridsize=2)
    assert made.training_config.n_groups is None
    assert made.provenance["n_groups"].layer == "data"
    prepared = prepare_training(made.task)
    assert len(prepared.train) + len(prepared.validation) == 30
    assert payload(gridsize=2, n_groups=7).training_config.n_groups == 7


def test_four_frames_are_one_group(tmp_path, payload, tiny_scan):
    save_scan(tmp_path / "four.npz", tiny_scan.take(np.arange(4)))
    prepared = prepare_training(payload(scan=tmp_path / "four.npz", gridsize=2).task)
    assert (len(prepared.train), len(prepared.validation)) == (1, 0)
    assert sorted(prepared.train.groups[0].tolist()) == [0, 1, 2, 3]


def test_three_frames_are_no_group(tmp_path, payload, tiny_scan):
    save_scan(tmp_path / "three.npz", tiny_scan.take(np.arange(3)))
    with pytest.raises(ConfigError, check=lambda error: error.fields == ("gridsize",)):
        prepare_training(payload(scan=tmp_path / "three.npz", gridsize=2).task)


@pytest.mark.rule("DATA-062")
def test_validation_groups_are_none_of_those_trained_on(payload):
    made = prepare_training(payload(gridsize=2, execution={"val_fraction": 0.3}).task)
    train_groups, others = (set(map(tuple, part.groups.tolist())) for part in (made.train, made.validation))
    assert (len(train_groups), len(others)) == (21, 9)
    assert not train_groups & others


def test_a_test_file_is_validated_on_in_groups_that_use_every_frame(tmp_path, payload, tiny_scan):
    save_scan(tmp_path / "other.npz", tiny_scan.take(np.arange(9)))
    made = prepare_training(payload(gridsize=2, test_data_file=str(tmp_path / "other.npz")).task)
    assert set(made.validation.groups.ravel()) == set(range(9))
    np.testing.assert_array_equal(made.validation.frames, tiny_scan.diffraction[:9])


@pytest.mark.rule("DATA-073")
def test_oversampling_makes_several_groups_per_frame(payload):
    with pytest.raises(
        ConfigError, check=lambda error: error.fields == ("n_groups",) and error.problems[0].value == 50
    ):
        prepare_training(payload(gridsize=2, n_groups=50).task)
    made = prepare_training(
        payload(gridsize=2, n_groups=50, enable_oversampling=True, execution={"val_fraction": 0.0}).task
    )
    assert len(set(map(tuple, made.train.groups.tolist()))) == 50


def test_a_larger_pool_reaches_farther(payload):
    reach = {}
    for pool in (3, 16):
        made = prepare_training(payload(gridsize=2, neighbor_pool_size=pool).task)
        reach[pool] = float(np.linalg.norm(made.train.offsets, axis=-1).mean())
    assert reach[16] > 1.3 * reach[3]
    counted = prepare_training(payload(gridsize=2, neighbor_count=16).task)
    assert float(np.linalg.norm(counted.train.offsets, axis=-1).mean()) == pytest.approx(reach[16])


def test_a_pool_smaller_than_a_group_is_refused(payload):
    with pytest.raises(ConfigError, check=lambda error: error.fields == ("neighbor_count",)):
        payload(gridsize=3)


@pytest.mark.rule("DATA-074")
def test_inference_solves_real_groups_and_uses_every_frame(tmp_path, grouped, tiny_scan_file, tiny_scan):
    made = create_inference_payload(
        grouped.output_dir,
        tiny_scan_file,
        tmp_path / "result",
        execution_config=PyTorchExecutionConfig(accelerator="cpu"),
    )
    outcome = infer(made)
    with np.load(outcome.output_dir / "reconstruction.npz") as arrays:
        np.testing.assert_array_equal(arrays["positions"], tiny_scan.positions)
    assert outcome.report is not None
    assert outcome.report.scores.complex_nrmse < outcome.report.flat.complex_nrmse
    assert outcome.forward_residual < 0.5


@pytest.mark.rule("DATA-074")
@pytest.mark.parametrize("channels", [1, 4, 9])
def test_covering_groups_leave_no_frame_out(channels, tiny_scan):
    groups = covering_groups(tiny_scan.positions, channels)
    assert set(groups.frames.ravel()) == set(range(30))


def test_the_frames_of_a_group_all_count(grouped, tiny_scan):
    groups = covering_groups(tiny_scan.positions, 4)
    counts = torch.from_numpy(tiny_scan.diffraction[groups.frames[:1]].astype(np.float32))
    offsets = torch.from_numpy(groups.offsets[:1].astype(np.float32))
    with torch.no_grad():
        before = grouped.model(counts, offsets)
        for channel in range(4):
            changed = counts.clone()
            changed[0, channel] = changed[0, channel].flip(0)
            assert (grouped.model(changed, offsets) - before)[0, channel].abs().max() > 1e-3


@pytest.mark.rule("PHY-041")
def test_predicted_patches_of_a_group_agree_where_they_overlap(grouped):
    # Whole-pixel positions: no interpolation stands between the patches.
    scan = tiny_scene("lines", grid=(5, 6), jitter_px=0, seed=3, photons=1e5)
    groups = covering_groups(scan.positions, 4)
    counts = torch.from_numpy(scan.diffraction[groups.frames[:3]].astype(np.float32))
    whole = np.round(groups.offsets[:3] - groups.offsets[:3, :1])
    offsets = torch.from_numpy(whole.astype(np.float32))
    with torch.no_grad():
        patches = grouped.model(counts, offsets)
        light = grouped.model.patch_weight() > 0.2 * grouped.model.patch_weight().max()
    for group, places in zip(patches, whole.astype(int), strict=True):
        for other in range(1, 4):
            dy, dx = places[other] - places[0]
            rows, columns = slice(max(dy, 0), 32 + min(dy, 0)), slice(max(dx, 0), 32 + min(dx, 0))
            mine = group[0][rows, columns]
            theirs = group[other].roll((int(dy), int(dx)), dims=(0, 1))[rows, columns]
            lit = (light & light.roll((int(dy), int(dx)), dims=(0, 1)))[rows, columns]
            assert lit.sum() > 20
            torch.testing.assert_close(mine[lit], theirs[lit], rtol=0, atol=2e-3)


@pytest.mark.rule("PHY-042")
def test_without_object_big_the_patches_of_a_group_stay_apart(payload):
    models = {
        big: prepare_training(payload(gridsize=2, object_big=big).task).model.merges for big in (True, False)
    }
    assert models == {True: True, False: False}


@pytest.mark.rule("PHY-040")
def test_cut_patches_pass_through_the_merging_unchanged(tiny_scan):
    groups = covering_groups(tiny_scan.positions, 4)
    truth = torch.from_numpy(tiny_scan.object_truth)
    positions = torch.from_numpy(np.round(tiny_scan.positions)[groups.frames[:4]])
    patches = Bilinear(positions.reshape(-1, 2), 32, truth.shape).cut(truth).reshape(4, 4, 32, 32)
    offsets = positions - positions.mean(dim=1, keepdim=True).round()
    weight = torch.from_numpy(np.abs(tiny_scan.probe[0]) ** 2)
    torch.testing.assert_close(merge_groups(patches, offsets, weight), patches, rtol=0, atol=1e-4)


@pytest.mark.rule("STI-009")
def test_a_stream_of_groups_equals_groups_kept_in_memory(grouped, tiny_scan, monkeypatch):
    kept = reconstruct(grouped.model, tiny_scan, batch_size=30)
    monkeypatch.setattr(reconstruction, "_KEPT_BYTES", 1)
    monkeypatch.setattr(reconstruction, "_STREAMED_PASSES", reconstruction._KEPT_PASSES)
    streamed = reconstruct(grouped.model, tiny_scan, batch_size=7)
    np.testing.assert_allclose(streamed.weight, kept.weight, rtol=1e-4, atol=1e-4)
    covered = kept.weight > 1e-2 * kept.weight.max()
    np.testing.assert_allclose(streamed.object[covered], kept.object[covered], atol=3e-3)


@pytest.mark.rule("STI-013")
def test_a_stream_makes_few_passes_and_stays_close(trained, tiny_scan, monkeypatch):
    kept = reconstruct(trained.model, tiny_scan)
    monkeypatch.setattr(reconstruction, "_KEPT_BYTES", 1)
    reported = []
    streamed = reconstruct(trained.model, tiny_scan, progress=lambda *done: reported.append(done))
    assert reported[-1] == (30, 30)
    assert len(reported) == 2
    well = kept.weight > 0.1 * kept.weight.max()
    assert np.abs(streamed.object - kept.object)[well].mean() < 0.05


def test_groups_of_different_scans_do_not_mix(payload, tmp_path, tiny_scan):
    both = replace(tiny_scan, scan_index=(np.arange(30) >= 15).astype(np.int64))
    save_scan(tmp_path / "both.npz", both)
    data = prepare_training(payload(scan=tmp_path / "both.npz", gridsize=2).task).train
    assert all(len(set(both.scan_index[group])) == 1 for group in data.groups)
