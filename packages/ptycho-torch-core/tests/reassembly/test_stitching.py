"""Patches of a known object, stitched: the object comes back, in its place."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ptycho_torch.errors import ShapeError
from ptycho_torch.reassembly import Canvas, CanvasGeometry, StitchedObject, canvas_for, stitch, stitching
from ptycho_torch.reassembly.stitching import phases_towards

COORDINATES = st.integers(-60, 60).map(float) | st.integers(-60_000, 60_000).map(lambda px: px / 1000)


@pytest.mark.rule("STI-002")
@pytest.mark.parametrize("uniform", [True, False])
def test_object_comes_back_exactly_at_whole_pixels(uniform, cut):
    scene = cut(uniform=uniform, jitter_px=0)
    assert scene.error(scene.stitched()) < 1e-6


@pytest.mark.rule("STI-002")
@pytest.mark.parametrize("scene", ["random_field", "natural"])
def test_object_comes_back_to_interpolation_error_between_pixels(scene, cut):
    parts = cut(scene, jitter_px=1.0)
    truth = parts.scan.object_truth
    # Bilinear interpolation there and back blurs by at most the second differences over four.
    curvature = [np.linalg.norm(np.diff(truth, 2, axis=axis)) for axis in (0, 1)]
    bound = 0.25 * sum(curvature) / np.linalg.norm(truth)
    assert parts.error(parts.stitched()) < bound


@pytest.mark.rule("STI-002")
@pytest.mark.parametrize(("uniform", "bound"), [(True, 0.035), (False, 0.015)])
def test_fine_detail_between_pixels_is_not_blurred(uniform, bound, cut):
    parts = cut(uniform=uniform, jitter_px=1.0)
    rng = np.random.default_rng(2)
    frequencies = rng.uniform(-0.25, 0.25, size=(40, 2))
    factors = np.exp(2j * np.pi * rng.random(40)) / np.sqrt(40)

    def waves(rows, columns):
        down = np.exp(2j * np.pi * np.multiply.outer(frequencies[:, 0], rows))
        right = np.exp(2j * np.pi * np.multiply.outer(frequencies[:, 1], columns))
        return 1 + np.einsum("k,kr,kc->rc", factors, down, right)

    inside = np.arange(parts.scan.N) - parts.scan.N // 2
    patches = np.stack([waves(y + inside, x + inside) for y, x in parts.scan.positions])
    result = parts.stitched(torch.from_numpy(patches).to(torch.complex64))
    height, width = result.object.shape
    truth = waves(np.arange(height) - result.origin[0], np.arange(width) - result.origin[1])
    well = result.weight > 0.1 * result.weight.max()
    # Bilinear interpolation leaves 0.1 here; a patch of even weight is not known beyond its rim.
    assert np.linalg.norm((result.object - truth)[well]) < bound * np.linalg.norm(truth[well])


@pytest.mark.rule("STI-001")
def test_constant_object_comes_back_at_any_position(cut):
    parts = cut(jitter_px=1.3)
    result = parts.stitched(torch.full_like(parts.patches, 0.4 - 0.7j))
    covered = result.weight > 1e-6 * result.weight.max()
    np.testing.assert_allclose(result.object[covered], 0.4 - 0.7j, rtol=1e-5)


@pytest.mark.parametrize("mistake", ["sign", "order", "one row", "half a pixel"])
def test_wrong_placement_is_noticed(mistake, cut):
    parts = cut(jitter_px=0)
    wrong = {
        "sign": 2 * parts.positions.mean(dim=0) - parts.positions,
        "order": parts.positions.flip(1),
        "one row": parts.positions + torch.tensor([1.0, 0.0], dtype=torch.float64),
        "half a pixel": parts.positions + torch.tensor([0.0, 0.5], dtype=torch.float64),
    }[mistake]
    assert parts.error(parts.stitched(positions=wrong)) > 0.03
    assert parts.error(parts.stitched()) < 1e-6


@pytest.mark.rule("STI-005")
def test_origin_lays_the_object_over_the_truth_wherever_the_scan_lies(cut):
    parts = cut(jitter_px=0)
    moved = parts.stitched(positions=parts.positions + torch.tensor([-1000.0, 77.0], dtype=torch.float64))
    at_home = parts.stitched()
    np.testing.assert_array_equal(moved.origin, at_home.origin + np.array([1000, -77]))
    np.testing.assert_allclose(moved.object, at_home.object, rtol=1e-6)


def test_single_patch_lies_where_its_position_says():
    patch = torch.zeros(1, 8, 8, dtype=torch.complex64)
    patch[0, 4, 4] = 2j
    position = torch.tensor([[-3.0, 12.0]], dtype=torch.float64)
    geometry = canvas_for(position.numpy(), 8)
    result = stitch(lambda _: [(patch, position)], geometry, torch.ones(8, 8), alignment_passes=0)
    assert result.object.shape == (8, 8)
    row, column = (position[0].numpy() + result.origin).astype(int)
    assert result.object[row, column] == pytest.approx(2j)


@pytest.mark.rule("STI-004")
@given(
    st.lists(st.tuples(COORDINATES, COORDINATES), min_size=1, max_size=12).map(np.array), st.integers(8, 17)
)
def test_canvas_holds_every_patch_and_no_more(positions, n):
    geometry = canvas_for(positions, n)
    # The pixels of a patch reach from -(n // 2) to n - 1 - n // 2 about its position.
    first, last = positions - n // 2 + geometry.origin, positions + n - 1 - n // 2 + geometry.origin
    assert (first >= 0).all()
    assert (last <= np.array(geometry.shape) - 1).all()
    assert (first.min(axis=0) < 1).all()
    assert (last.max(axis=0) > np.array(geometry.shape) - 2).all()
    canvas = Canvas(geometry, torch.ones(n, n))
    patches = torch.ones(len(positions), n, n, dtype=torch.complex64)
    canvas.add(canvas.resample(patches, torch.from_numpy(positions)))
    assert float(canvas.denominator.sum()) == pytest.approx(len(positions) * n * n, rel=1e-6)
    for edge in (canvas.denominator[0], canvas.denominator[-1]):
        assert edge.max() > 0
    for edge in (canvas.denominator[:, 0], canvas.denominator[:, -1]):
        assert edge.max() > 0
    assert all(value == round(value) for value in geometry.origin)


def test_canvas_follows_the_real_extent_and_not_the_number_of_frames():
    positions = np.array([[0.0, 0.0], [500.5, -30.0]])
    geometry = canvas_for(positions, 64)
    assert geometry == CanvasGeometry(shape=(565, 94), origin=(32.0, 62.0))


@pytest.mark.parametrize("positions", [np.empty((0, 2)), np.zeros(2), np.zeros((3, 3))])
def test_canvas_needs_positions(positions):
    with pytest.raises(ShapeError, check=lambda error: error.name == "positions"):
        canvas_for(positions, 8)


@pytest.mark.rule("STI-001")
def test_numerator_and_denominator_share_their_support(cut):
    parts = cut(jitter_px=1.0)
    canvas = Canvas(canvas_for(parts.scan.positions, parts.scan.N), parts.weight)
    canvas.add(canvas.resample(torch.ones_like(parts.patches), parts.positions))
    assert torch.equal(canvas.numerator.real > 0, canvas.denominator > 0)
    torch.testing.assert_close(canvas.numerator.real, canvas.denominator)


def test_weight_is_the_sum_of_patch_weights_and_zero_weight_says_nothing(cut):
    parts = cut(jitter_px=0)
    weight = parts.weight.clone()
    weight[:, :10] = 0
    spoiled = parts.patches.clone()
    spoiled[..., :10] = 1e6
    geometry = canvas_for(parts.scan.positions, parts.scan.N)
    result = stitch(lambda _: [(spoiled, parts.positions)], geometry, weight, alignment_passes=2)
    assert result.weight.sum() == pytest.approx(float(weight.sum()) * parts.scan.n_frames, rel=1e-5)
    assert (result.weight[:, :10] == 0).all()
    assert (result.object[:, :10] == 1).all()
    assert parts.error(result, free_phase=True) < 1e-5


def test_heavier_patches_count_for_more():
    positions = torch.tensor([[4.0, 4.0], [4.0, 6.0]], dtype=torch.float64)
    patches = torch.stack([torch.full((8, 8), 1.0), torch.full((8, 8), 4.0)]).to(torch.complex64)
    weight = torch.arange(8.0).expand(8, 8) + 1
    geometry = canvas_for(positions.numpy(), 8)
    result = stitch(lambda _: [(patches, positions)], geometry, weight, alignment_passes=0)
    # In column 5 the first patch has weight 6 and the second, two columns further, weight 4.
    assert result.object[0, 5] == pytest.approx((6 * 1 + 4 * 4) / 10)


@pytest.mark.rule("STI-007")
@pytest.mark.parametrize("passes", [0, 2])
@pytest.mark.parametrize("batch_size", [1, 3, 5])
def test_batch_size_does_not_change_the_object(batch_size, passes, cut):
    parts = cut(jitter_px=1.0)
    whole = parts.stitched(passes=passes)
    streamed = parts.stitched(batch_size=batch_size, passes=passes)
    np.testing.assert_allclose(streamed.weight, whole.weight, rtol=1e-5, atol=1e-6 * whole.weight.max())
    assert _difference(streamed, whole) < 1e-5


@pytest.mark.rule("STI-007")
@pytest.mark.parametrize("passes", [0, 2])
def test_order_of_frames_does_not_change_the_object(passes, cut):
    parts = cut(jitter_px=1.0)
    order = torch.randperm(len(parts.patches), generator=torch.Generator().manual_seed(1))
    shuffled = parts.stitched(parts.patches[order], parts.positions[order], passes=passes, batch_size=5)
    assert _difference(shuffled, parts.stitched(passes=passes)) < 1e-5


@pytest.mark.rule("STI-008")
def test_canvases_of_parts_add_up_to_that_of_the_whole(cut):
    parts = cut(jitter_px=1.0)
    geometry = canvas_for(parts.scan.positions, parts.scan.N)
    one, first, second = (Canvas(geometry, parts.weight) for _ in range(3))
    for canvas, share in ((one, slice(None)), (first, slice(5)), (second, slice(5, None))):
        canvas.add(canvas.resample(parts.patches[share], parts.positions[share]))
    torch.testing.assert_close(first.numerator + second.numerator, one.numerator)
    torch.testing.assert_close(first.denominator + second.denominator, one.denominator)


def _with_random_phases(patches):
    generator = torch.Generator().manual_seed(5)
    turns = 2j * torch.pi * torch.rand(len(patches), 1, 1, dtype=torch.float64, generator=generator)
    return patches * torch.exp(turns).to(patches.dtype)


@pytest.mark.rule("STI-013")
@pytest.mark.parametrize("batch_size", [3, None])
def test_random_phase_of_each_patch_is_removed(batch_size, cut):
    parts = cut("random_field", jitter_px=0, grid=(3, 3))
    turned = _with_random_phases(parts.patches)
    assert parts.error(parts.stitched(turned), free_phase=True) > 0.5
    result = parts.stitched(turned, passes=30, batch_size=batch_size)
    assert parts.error(result, free_phase=True) < 1e-4


def test_patches_that_agree_are_left_alone(cut):
    parts = cut(jitter_px=0)
    assert parts.error(parts.stitched(passes=3)) < 1e-5


@pytest.mark.rule("STI-013")
def test_common_phase_of_all_patches_is_kept(cut):
    parts = cut(jitter_px=0)
    turned = parts.stitched(parts.patches * 1j, passes=2)
    assert parts.error(turned) > 1
    assert parts.error(turned, free_phase=True) < 1e-5


def test_phase_of_a_patch_is_the_least_squares_one(cut):
    parts = cut(jitter_px=0)
    canvas = Canvas(canvas_for(parts.scan.positions, parts.scan.N), parts.weight)
    canvas.add(canvas.resample(parts.patches, parts.positions))

    def phases(patches):
        where, weighted = canvas.weighted(canvas.resample(patches, parts.positions))
        return phases_towards(where.cut(canvas.mean()), weighted)

    turned = _with_random_phases(parts.patches)
    turns = phases(turned)
    factors = torch.polar(torch.ones_like(turns), turns)
    assert torch.linalg.vector_norm(factors[:, None, None] * turned - parts.patches) < 1e-3
    assert torch.equal(phases(torch.zeros_like(turned)), torch.zeros(len(turned)))


@pytest.mark.rule("STI-005")
def test_what_nobody_saw_is_one_with_weight_zero():
    positions = torch.tensor([[4.0, 4.0], [4.0, 40.0]], dtype=torch.float64)
    patches = torch.full((2, 8, 8), 0.5j, dtype=torch.complex64)
    geometry = canvas_for(positions.numpy(), 8)
    result = stitch(lambda _: [(patches, positions)], geometry, torch.ones(8, 8))
    assert (result.weight[:, 10:30] == 0).all()
    assert (result.object[:, 10:30] == 1).all()
    assert result.object.dtype == np.complex64
    assert result.weight.dtype == np.float32
    assert result.origin.dtype == np.float64


def test_shapes_that_would_broadcast_are_refused():
    geometry, positions = canvas_for(np.zeros((3, 2)), 8), torch.zeros(3, 2, dtype=torch.float64)
    for weight in (torch.ones(8), torch.ones(1, 8, 8), torch.ones(1, 8)):
        with pytest.raises(ShapeError, check=lambda error: error.name == "weight"):
            Canvas(geometry, weight)
    canvas = Canvas(geometry, torch.ones(8, 8))
    for shape in ((8, 8), (3, 1, 8, 8), (3, 4, 4), (3, 1, 1), (3, 8, 9)):
        with pytest.raises(ShapeError, check=lambda error: error.name == "patches"):
            canvas.resample(torch.ones(shape, dtype=torch.complex64), positions)
    with pytest.raises(ShapeError, check=lambda error: error.name == "object"):
        canvas.resample(torch.ones(3, 8, 8, dtype=torch.complex64), positions + 1)


def _difference(result, reference):
    covered = reference.weight > 1e-3 * reference.weight.max()
    gap = np.abs(result.object - reference.object)[covered]
    return float(gap.max() / np.abs(reference.object[covered]).max())


@pytest.mark.parametrize("grid", [(3, 3), (7, 7)])
def test_converged_phases_beat_those_as_they_come(grid, cut):
    parts = cut("random_field", jitter_px=0, grid=grid)
    turned = _with_random_phases(parts.patches)
    loose = parts.error(parts.stitched(turned, passes=50, settled_rad=1e-3), free_phase=True)
    assert parts.error(parts.stitched(turned, passes=0), free_phase=True) > 0.5
    assert loose < 5e-3


def test_converged_phases_do_not_depend_on_the_order_of_frames(cut):
    parts = cut("random_field", jitter_px=1.0, grid=(4, 5))
    turned = _with_random_phases(parts.patches)
    order = torch.randperm(len(turned), generator=torch.Generator().manual_seed(1))
    shuffled = parts.stitched(turned[order], parts.positions[order], passes=100, batch_size=3)
    straight = parts.stitched(turned, passes=100)
    phase = np.angle(np.vdot(shuffled.object, straight.object))
    aligned = StitchedObject(
        object=shuffled.object * np.exp(1j * phase), weight=shuffled.weight, origin=shuffled.origin
    )
    assert _difference(aligned, straight) < 2e-3


def _passes_until_done(parts, patches, **settings):
    calls = []

    def batches(skip):
        calls.append(None)
        yield patches, parts.positions

    geometry = canvas_for(parts.positions.numpy(), parts.scan.N)
    stitch(batches, geometry, parts.weight, **settings)
    return len(calls) - 1


@pytest.mark.rule("STI-013")
def test_passes_end_when_no_phase_changes(cut, monkeypatch):
    parts = cut("random_field", jitter_px=0, grid=(3, 3))
    turned = _with_random_phases(parts.patches)
    assert _passes_until_done(parts, parts.patches) == 1
    assert _passes_until_done(parts, turned, alignment_passes=0) == 0
    assert _passes_until_done(parts, turned, alignment_passes=4) == 4
    rough = _passes_until_done(parts, turned, alignment_passes=99)
    monkeypatch.setattr(stitching, "_SETTLED_RAD", 1e-5)
    fine = _passes_until_done(parts, turned, alignment_passes=99)
    assert 3 < rough < fine < 99


@pytest.mark.rule("CLI-032")
def test_progress_of_the_passes_ends_with_all(cut):
    parts = cut("random_field", jitter_px=0, grid=(3, 3))
    seen = []
    listen = {"alignment_passes": 40, "progress": lambda *news: seen.append(news)}
    passes = _passes_until_done(parts, _with_random_phases(parts.patches), **listen)
    assert 3 < passes < 40, "the phases settle before the last pass"
    assert seen == [*((step, 40) for step in range(1, passes)), (40, 40)]
