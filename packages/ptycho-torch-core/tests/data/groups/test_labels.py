"""Labels show what their frame shows, at the place of their frame."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from ptycho_torch.data.groups.dataset import GroupDataset
from ptycho_torch.data.groups.grouping import make_groups
from ptycho_torch.data.groups.labels import labels_of
from ptycho_torch.data.scan.contract import Scan
from ptycho_torch.errors import DataError
from ptycho_torch.physics import calibrate, predicted_counts
from ptycho_torch.testing import tiny_scene


@pytest.fixture
def scene():
    """Sub-pixel positions without a symmetry, and an object that differs under every one of them."""
    return tiny_scene("random_field", grid=(4, 5), jitter_px=1.3, seed=2)


def _patches(scan, frames):
    return labels_of(scan).patches(np.asarray(frames))


def _misfit(scan, labels):
    """Relative difference between the frames and what the labels predict for them."""
    gauge = calibrate(torch.from_numpy(scan.probe), float(scan.counts_per_frame().mean()))
    predicted = predicted_counts(labels, gauge.probe, 1.0).sqrt()
    measured = torch.from_numpy(scan.diffraction.astype(np.float32)).sqrt()
    predicted = predicted * (measured.norm() / predicted.norm())
    return float((predicted - measured).norm() / measured.norm())


@pytest.mark.rule("DATA-080")
def test_a_label_predicts_its_frame(scene):
    assert _misfit(scene, _patches(scene, np.arange(scene.n_frames))) < 1e-4


@pytest.mark.rule("DATA-080")
@pytest.mark.parametrize("mistake", ["mirrored", "exchanged", "one row"])
def test_labels_cut_elsewhere_do_not(mistake, scene):
    centre = scene.positions.mean(axis=0)
    moved = {
        "mirrored": 2 * centre - scene.positions,
        "exchanged": (scene.positions - centre)[:, ::-1] + centre,
        "one row": scene.positions + np.array([1.0, 0.0]),
    }[mistake]
    roomy = replace(
        scene,
        object_truth=np.pad(scene.object_truth, 10, mode="edge"),
        object_truth_origin=np.array([10.0, 10.0]),
    )
    frames = np.arange(scene.n_frames)
    assert _misfit(scene, _patches(roomy, frames)) < 1e-4
    assert _misfit(scene, _patches(replace(roomy, positions=moved), frames)) > 0.02


def test_at_whole_pixels_a_label_is_a_piece_of_the_object():
    image = (np.arange(40 * 50).reshape(40, 50) + 1j).astype(np.complex64)
    scan = Scan(
        diffraction=np.ones((2, 8, 8), np.uint16),
        positions=np.array([[7.0, 20.0], [-1.0, 9.0]]),
        probe=np.ones((1, 8, 8), np.complex64),
        object_truth=image,
        object_truth_origin=np.array([6.0, 3.0]),
    )
    first, second = _patches(scan, [0, 1]).numpy()
    np.testing.assert_array_equal(first, image[7 + 6 - 4 :, 20 + 3 - 4 :][:8, :8])
    np.testing.assert_array_equal(second, image[-1 + 6 - 4 :, 9 + 3 - 4 :][:8, :8])


def test_labels_of_a_group_follow_its_channels(scene):
    groups = make_groups(scene.positions, gridsize=2, n_groups=6, neighbor_count=5, seed=1)
    data = GroupDataset(scene.diffraction, groups.frames, groups.offsets, labels_of(scene))
    batch = data.__getitems__([4, 0])
    assert batch["labels"].shape == batch["counts"].shape == (2, 4, 32, 32)
    for row, group in enumerate((4, 0)):
        for channel in range(4):
            own = _patches(scene, groups.frames[group, channel])
            torch.testing.assert_close(batch["labels"][row, channel], own)
    # The channels really differ: a repeated patch would pass everything above.
    assert (batch["labels"][:, 1:] - batch["labels"][:, :1]).abs().mean() > 0.01


@pytest.mark.rule("DATA-080")
def test_stored_patches_win_over_the_object(scene):
    stored = np.random.default_rng(0).normal(size=(scene.n_frames, 32, 32)).astype(np.complex64)
    chosen = _patches(replace(scene, labels=stored), [[3, 1], [0, 2]])
    np.testing.assert_array_equal(chosen.numpy(), stored[[[3, 1], [0, 2]]])
    without_object = replace(scene, labels=stored, object_truth=None)
    np.testing.assert_array_equal(_patches(without_object, [5]).numpy(), stored[[5]])


def test_a_scale_multiplies_the_labels(scene):
    scaled = replace(labels_of(scene), scale=3.0).patches(np.array([1]))
    torch.testing.assert_close(scaled, 3 * _patches(scene, [1]))


def test_a_scan_without_labels_is_refused_with_what_to_store(scene):
    with pytest.raises(DataError, check=lambda error: error.names == ("Y or objectGuess",)):
        labels_of(replace(scene, object_truth=None))


@pytest.mark.rule("DATA-080")
@pytest.mark.parametrize("side", ["before", "behind"])
def test_an_object_that_is_too_small_is_refused_with_both_sizes(side, scene):
    if side == "before":
        small = replace(scene, object_truth_origin=np.array([0.0, -25.0]))
    else:
        small = replace(scene, object_truth=scene.object_truth[:-20])
    with pytest.raises(DataError, check=lambda error: error.names == ("objectGuess",)):
        labels_of(small)


def test_the_object_may_end_where_the_patches_end(scene):
    low = np.floor(scene.positions.min(axis=0)).astype(int) - 16
    high = np.ceil(scene.positions.max(axis=0)).astype(int) + 16
    tight = scene.object_truth[low[0] : high[0], low[1] : high[1]]
    exact = replace(scene, object_truth=tight, object_truth_origin=-low.astype(float))
    torch.testing.assert_close(_patches(exact, [0, 7]), _patches(scene, [0, 7]))
