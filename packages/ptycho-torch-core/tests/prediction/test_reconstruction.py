"""Patches to one object, in memory."""

from __future__ import annotations

import gc
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch

from ptycho_config import ConfigError
from ptycho_torch.control import RunCancelled
from ptycho_torch.data.groups.grouping import make_groups
from ptycho_torch.data.scan.memory import contract_arrays
from ptycho_torch.data.simulation.simulate import simulate_scene
from ptycho_torch.errors import DataError
from ptycho_torch.prediction import reconstruction
from ptycho_torch.reassembly import StitchedObject, centred_canvas
from ptycho_torch.workflows import forward_residual_of, reconstruct
from ptycho_torch.workflows.runs.saving import compare_with_truth


def _same(first, second, rtol=1e-4):
    np.testing.assert_allclose(first.object, second.object, rtol=rtol, atol=1e-5)
    np.testing.assert_allclose(first.weight, second.weight, rtol=rtol, atol=1e-4)
    np.testing.assert_array_equal(first.origin, second.origin)


@pytest.fixture(scope="module")
def whole(trained, tiny_scan):
    return reconstruct(trained.model, tiny_scan)


def test_the_object_covers_every_frame(whole, tiny_scan):
    low = np.floor(tiny_scan.positions.min(axis=0)) - 16
    high = np.ceil(tiny_scan.positions.max(axis=0)) + 16
    assert whole.object.shape == tuple((high - low).astype(int))
    np.testing.assert_array_equal(whole.origin, -low)
    assert whole.object.dtype == np.complex64
    # The corner of the first patch and of the last carry light.
    for position in tiny_scan.positions[[0, -1]]:
        y, x = np.rint(position + whole.origin).astype(int)
        assert whole.weight[y, x] > 0


@pytest.mark.parametrize("batch_size", [1, 7, 30, 64])
def test_the_result_does_not_depend_on_the_batch_size(trained, tiny_scan, whole, batch_size):
    _same(reconstruct(trained.model, tiny_scan, batch_size=batch_size), whole)


@pytest.mark.rule("STI-009")
@pytest.mark.parametrize("n_kept", [0, 20])
def test_patches_that_do_not_fit_in_memory_are_predicted_again(
    trained, tiny_scan, whole, monkeypatch, n_kept
):
    calls = []
    predict = reconstruction.PatchStream._predict

    def counted(self, skip):
        calls.append(skip)
        return predict(self, skip)

    monkeypatch.setattr(reconstruction.PatchStream, "_predict", counted)
    reconstruct(trained.model, tiny_scan)
    assert calls == [0]
    calls.clear()
    monkeypatch.setattr(reconstruction, "_KEPT_BYTES", n_kept * 8 * 33**2)
    monkeypatch.setattr(reconstruction, "_STREAMED_PASSES", reconstruction._KEPT_PASSES)
    reported = []
    result = reconstruct(trained.model, tiny_scan, progress=lambda done, of: reported.append((done, of)))
    assert len(calls) > 1
    # One batch of sixteen fits into the room for twenty.
    assert set(calls[1:]) == {n_kept // 16}
    assert reported == [(16, 30), (30, 30)]
    np.testing.assert_array_equal(result.object, whole.object)


def _repeated(scan, times):
    """The same frames again and again."""
    return scan.take(np.tile(np.arange(scan.n_frames), times))


@pytest.mark.rule("STI-009")
def test_tensors_in_memory_do_not_grow_with_the_frames(trained, tiny_scan, monkeypatch):
    monkeypatch.setattr(reconstruction, "_KEPT_BYTES", 20 * 8 * 33**2)

    def held(scan):
        """Tensors alive, and bytes in them, with the last batch of the second pass."""
        calls, seen = [], []

        def look():
            calls.append(None)
            if len(calls) == 2 * scan.n_frames // 10:
                gc.collect()
                # Compilers keep tensors of their own kinds, and sparse ones of other tests have no storage.
                kinds = (torch.Tensor, torch.nn.Parameter)
                found = [item for item in gc.get_objects() if type(item) in kinds]
                alive = [item for item in found if item.layout is torch.strided]
                storages = [item.untyped_storage() for item in alive]
                seen.append((len(alive), sum({part.data_ptr(): part.nbytes() for part in storages}.values())))
            return False

        reconstruct(trained.model, scan, batch_size=10, should_stop=look)
        return seen[0]

    few, many = (held(_repeated(tiny_scan, times)) for times in (1, 4))
    # Lists of one small tensor per batch would add a dozen.
    assert many[0] <= few[0] + 4
    # Two phases of four bytes for each frame, and the batch before, where that is not a kept one.
    assert many[1] - few[1] <= 16 * 3 * tiny_scan.n_frames + 10 * 8 * 33**2


def test_groups_choose_what_is_used(trained, tiny_scan):
    groups = make_groups(tiny_scan.positions, gridsize=1, n_groups=4, neighbor_count=1, seed=0)
    direct = reconstruct(trained.model, tiny_scan, groups=groups)
    _same(direct, reconstruct(trained.model, tiny_scan.take(groups.frames[:, 0])))


@pytest.mark.rule("STI-010")
def test_trimming_uses_the_middle_of_each_patch(trained, tiny_scan, whole):
    trimmed = reconstruct(trained.model, tiny_scan, middle_trim=12)
    assert (trimmed.weight > 0).sum() < (whole.weight > 0).sum()
    assert not np.array_equal(trimmed.object, whole.object)
    y, x = np.nonzero(trimmed.weight)
    low, high = tiny_scan.positions.min(axis=0), tiny_scan.positions.max(axis=0)
    assert y.min() == pytest.approx(low[0] + trimmed.origin[0] - 6, abs=1)
    assert x.max() == pytest.approx(high[1] + trimmed.origin[1] + 6, abs=1)
    _same(reconstruct(trained.model, tiny_scan, middle_trim=32), whole)


@pytest.mark.parametrize("trim", [12, 11])
def test_a_trimmed_canvas_ends_where_the_middles_do(trained, tiny_scan, trim):
    trimmed = reconstruct(trained.model, tiny_scan, middle_trim=trim)
    low, high = tiny_scan.positions.min(axis=0), tiny_scan.positions.max(axis=0)
    expected = np.ceil(high).astype(int) - np.floor(low).astype(int) + trim
    np.testing.assert_array_equal(trimmed.object.shape, expected)
    np.testing.assert_array_equal(trimmed.origin, trim // 2 - np.floor(low))


@pytest.mark.rule("STI-014")
@pytest.mark.parametrize("trim", [12, 11])
def test_padding_keeps_border_patches_whole_and_the_inside_as_it_is(trained, tiny_scan, whole, trim):
    trimmed = reconstruct(trained.model, tiny_scan, middle_trim=trim)
    padded = reconstruct(trained.model, tiny_scan, middle_trim=trim, pad_eval=True)
    assert padded.object.shape == whole.object.shape
    np.testing.assert_array_equal(padded.origin, whole.origin)
    y, x = (padded.origin - trimmed.origin).astype(int)
    height, width = trimmed.object.shape
    inside = (slice(y, y + height), slice(x, x + width))
    covered = trimmed.weight > 1e-3 * trimmed.weight.max()
    np.testing.assert_allclose(padded.object[inside][covered], trimmed.object[covered], rtol=1e-2, atol=1e-2)
    # The margin shows what the rims say, at next to no weight.
    margin = whole.weight > 0.05 * whole.weight.max()
    margin[inside] = False
    assert margin.any()
    assert np.abs(padded.object[margin] - 1).max() > 0.05
    turned = whole.object * np.exp(1j * np.angle(np.vdot(whole.object[margin], padded.object[margin])))
    np.testing.assert_allclose(padded.object[margin], turned[margin], atol=0.1)
    assert padded.weight[margin].max() < 1e-4 * padded.weight.max()


def test_a_trimmed_object_can_be_compared_with_the_frames(trained, tiny_scan, whole):
    trimmed, padded, best = (
        forward_residual_of(result, trained.model, tiny_scan)
        for result in (
            reconstruct(trained.model, tiny_scan, middle_trim=12),
            reconstruct(trained.model, tiny_scan, middle_trim=12, pad_eval=True),
            whole,
        )
    )
    # Beyond the middles of the outermost patches nothing is known, or what their rims say.
    assert best < trimmed < 1
    assert padded < trimmed


def test_workers_load_frames_and_the_object_is_the_same(trained, tiny_scan, whole, monkeypatch):
    def refuse(self, indices):
        raise AssertionError("a batch was loaded in the main process")

    # Workers import the class anew and do not see this.
    monkeypatch.setattr(reconstruction.GroupDataset, "__getitems__", refuse)
    result = reconstruct(trained.model, tiny_scan, num_workers=1)
    np.testing.assert_array_equal(result.object, whole.object)
    with pytest.raises(AssertionError, match="main process"):
        reconstruct(trained.model, tiny_scan)


@pytest.mark.rule("STI-015")
def test_patches_can_be_observed_as_they_are_drawn(trained, tiny_scan):
    seen = []
    reconstruct(
        trained.model, tiny_scan, batch_size=8, middle_trim=12, observe=lambda *batch: seen.append(batch)
    )
    assert [len(patches) for patches, _ in seen] == [8, 8, 8, 6]
    with torch.no_grad():
        counts = torch.from_numpy(tiny_scan.diffraction[:8].astype(np.float32))[:, None]
        drawn = trained.model(counts)[:, 0].numpy()
    np.testing.assert_allclose(seen[0][0], drawn, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(np.concatenate([positions for _, positions in seen]), tiny_scan.positions)


def test_another_dose_warns_and_gives_the_same_object(trained, tiny_scan, whole):
    bright = replace(tiny_scan, diffraction=tiny_scan.diffraction.astype(np.float32) * 10)
    before = trained.model.intensity_scale.clone()
    with pytest.warns(UserWarning, match=r"1e\+06 counts per frame.*intensity scale is taken from this scan"):
        result = reconstruct(trained.model, bright)
    assert torch.equal(trained.model.intensity_scale, before)
    # The mean of all frames differs from that of the training frames by a share of a percent.
    _same(result, whole, rtol=0.02)


def test_the_dose_of_the_training_is_no_reason_to_warn(trained, tiny_scan):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        reconstruct(trained.model, tiny_scan)


def test_frames_of_another_size_are_refused(trained):
    scan = simulate_scene("lines", N=48, grid=(2, 2), photons=1e5)
    with pytest.raises(DataError, check=lambda error: error.names == ("frames",)):
        reconstruct(trained.model, scan)


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_left_as_it_was(trained, tiny_scan, training):
    trained.model.train(training)
    reconstruct(trained.model, tiny_scan)
    assert trained.model.training == training


def _truth(scan):
    return StitchedObject(
        object=scan.object_truth,
        weight=np.ones(scan.object_truth.shape, np.float32),
        origin=scan.object_truth_origin,
    )


@pytest.mark.rule("MET-032")
def test_the_truth_leaves_a_small_residual(trained, tiny_scan, whole):
    clean = simulate_scene(
        "lines", N=32, grid=(5, 6), step_px=4.0, jitter_px=1.0, photons=1e5, seed=3, noise=False
    )
    assert forward_residual_of(_truth(clean), trained.model, clean) < 1e-3
    noisy = forward_residual_of(_truth(tiny_scan), trained.model, tiny_scan)
    assert noisy < forward_residual_of(whole, trained.model, tiny_scan)
    flat = replace(_truth(tiny_scan), object=np.ones_like(tiny_scan.object_truth))
    assert noisy < 0.5 * forward_residual_of(flat, trained.model, tiny_scan)


@pytest.mark.rule("MET-032")
def test_the_residual_depends_on_neither_dose_nor_batch_size(trained, tiny_scan, whole):
    first = forward_residual_of(whole, trained.model, tiny_scan)
    assert forward_residual_of(whole, trained.model, tiny_scan, batch_size=7) == pytest.approx(
        first, rel=1e-5
    )
    bright = replace(tiny_scan, diffraction=tiny_scan.diffraction.astype(np.float32) * 10)
    assert forward_residual_of(whole, trained.model, bright) == pytest.approx(first, rel=1e-5)


def test_arrays_are_reconstructed_like_the_scan_they_make(trained, tiny_scan, whole):
    _same(reconstruct(trained.model, contract_arrays(tiny_scan)), whole)


@pytest.mark.rule("EMB-008")
def test_amplitudes_of_unknown_dose_get_that_of_the_training(trained, tiny_scan, whole):
    arrays = contract_arrays(tiny_scan)
    amplitude = np.sqrt(arrays["diff3d"].astype(np.float64))
    given = {**arrays, "diff3d": (amplitude / amplitude.max()).astype(np.float32), "_metadata": None}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = reconstruct(trained.model, given)
    np.testing.assert_allclose(found.object, whole.object, atol=2e-2)


@pytest.mark.rule("EMB-010")
@pytest.mark.parametrize("kept", [True, False])
def test_a_reconstruction_ends_after_the_batch_in_which_it_was_asked_to(
    trained, tiny_scan, monkeypatch, kept
):
    if not kept:
        monkeypatch.setattr(reconstruction, "_KEPT_BYTES", 1000)
    asked = []

    def should_stop():
        asked.append(None)
        return len(asked) == 6

    scale = trained.model.intensity_scale.clone()
    # Three batches per pass: the second pass, with patches in memory or not, is asked too.
    with pytest.raises(RunCancelled, match="reconstruction"):
        reconstruct(trained.model, tiny_scan, batch_size=10, should_stop=should_stop)
    assert len(asked) == 6
    assert torch.equal(trained.model.intensity_scale, scale)


@pytest.mark.rule("STI-015")
def test_steps_after_the_network_bring_the_object_nearer_to_frames_and_truth(trained, tiny_scan):
    found = {}
    for steps in (0, 4, None):
        result = reconstruct(trained.model, tiny_scan, physics_steps=steps)
        found[steps] = (
            forward_residual_of(result, trained.model, tiny_scan),
            compare_with_truth(result, tiny_scan, trained.model.probe.detach().numpy()).scores.complex_nrmse,
        )
    assert found[None] == found[4]
    for after, before in zip(found[4], found[0], strict=True):
        assert after < 0.9 * before


def test_a_large_batch_is_split_by_memory_and_the_object_is_the_same(trained, tiny_scan, whole, monkeypatch):
    sizes = []
    monkeypatch.setattr(reconstruction, "_LARGEST_BATCH_PX", 5 * 32**2)
    found = reconstruct(
        trained.model, tiny_scan, batch_size=1000, observe=lambda drawn, _: sizes.append(len(drawn))
    )
    assert max(sizes) == 5
    assert sum(sizes) == tiny_scan.n_frames
    _same(found, whole)


def test_uniform_weights_count_every_pixel_of_a_patch_alike(trained, tiny_scan, whole):
    found = reconstruct(trained.model, tiny_scan, patch_weighting="uniform")
    # The corner of the canvas belongs to one patch, whose corner carries next to no light.
    assert found.weight.max() == pytest.approx(_most_patches(tiny_scan), abs=1)
    assert whole.weight.max() < found.weight.max()
    with pytest.raises(ConfigError, check=lambda error: error.fields == ("patch_weighting",)):
        reconstruct(trained.model, tiny_scan, patch_weighting="loud")


def _most_patches(scan):
    """How many patches overlap where most do."""
    count = np.zeros((200, 200))
    low = np.rint(scan.positions - scan.positions.min(axis=0)).astype(int)
    for y, x in low:
        count[y : y + scan.N, x : x + scan.N] += 1
    return count.max()


@pytest.mark.parametrize("centre", [(16.0, 16.0), (20.3, 11.75)])
def test_any_point_can_be_the_middle_of_the_array(trained, tiny_scan, whole, centre):
    found = reconstruct(trained.model, tiny_scan, centre=centre)
    middle = (np.array(found.object.shape) - 1) / 2
    np.testing.assert_allclose(np.array(centre) + found.origin, middle, atol=1e-9)
    # Every patch fits in, and the light that is placed is the same.
    assert found.weight.sum() == pytest.approx(whole.weight.sum(), rel=1e-4)


@pytest.mark.parametrize("n_pixels", [7, 32])
def test_no_canvas_about_a_point_is_larger_than_it_needs_to_be(n_pixels):
    rng = np.random.default_rng(3)
    for _ in range(50):
        positions = rng.uniform(-30, 30, size=(9, 2))
        centre = tuple(rng.uniform(-40, 40, size=2))
        geometry, shift = centred_canvas(positions, n_pixels, centre)
        half = n_pixels // 2
        for axis, length in enumerate(geometry.shape):
            index = positions[:, axis] + shift[axis] + geometry.origin[axis]
            assert np.floor(index.min()) - half >= 0
            assert np.ceil(index.max()) - half + n_pixels <= length
            assert centre[axis] + shift[axis] + geometry.origin[axis] == pytest.approx((length - 1) / 2)
            shorter = index - 0.5
            assert np.floor(shorter.min()) < half or np.ceil(shorter.max()) - half + n_pixels > length - 1
