"""The forward residual against NumPy, and what must not change it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ptycho_torch.errors import ShapeError
from ptycho_torch.physics import residual_of_pairs, residual_sums


@pytest.fixture
def frames():
    """Predicted and measured counts of 7 frames in double precision, with steady flux."""
    rng = np.random.default_rng(0)
    predicted = rng.uniform(5, 40, (7, 8, 8))
    return torch.from_numpy(predicted), torch.from_numpy(rng.poisson(predicted).astype(float))


def _ratio(predicted, counts, **keywords):
    misfit, amplitude = residual_sums(predicted, counts, **keywords).sum(dim=1)
    return float(misfit / amplitude)


def _in_batches(predicted, counts, size=3):
    return lambda: zip(predicted.split(size), counts.split(size), strict=True)


@pytest.mark.rule("MET-030")
def test_sums_are_those_of_the_definition(frames):
    predicted, counts = frames
    loop = [[0.0] * 7, [0.0] * 7]
    for j, (expected, seen) in enumerate(zip(predicted.numpy(), counts.numpy(), strict=True)):
        for one, other in zip(expected.flat, seen.flat, strict=True):
            loop[0][j] += abs(one**0.5 - other**0.5)
            loop[1][j] += other**0.5
    np.testing.assert_allclose(residual_sums(predicted, counts).numpy(), loop, rtol=1e-12)


def test_bounds_have_a_meaning(frames):
    predicted, counts = frames
    assert _ratio(counts, counts) == 0
    assert _ratio(0 * predicted, counts) == 1
    # Amplitudes twice as large everywhere.
    assert _ratio(counts, counts, dose=4.0) == pytest.approx(1)


@pytest.mark.rule("MET-030")
def test_what_bad_pixels_hold_does_not_count(frames):
    predicted, counts = frames
    measured = torch.ones(8, 8, dtype=torch.bool)
    measured[2, 3] = False
    spoiled = counts.clone()
    spoiled[:, 2, 3] = float("nan")
    expected = residual_sums(predicted[:, measured][..., None], counts[:, measured][..., None])
    torch.testing.assert_close(residual_sums(predicted, spoiled, measured=measured), expected)
    pairs = _in_batches(predicted, spoiled)
    for per_frame in (False, True):
        assert np.isfinite(residual_of_pairs(pairs, measured=measured, per_frame_dose=per_frame))


@pytest.mark.rule("MET-032")
def test_one_scale_serves_all_frames(frames):
    predicted, counts = frames
    scale = float(counts.sum() / predicted.sum())
    expected = np.abs(np.sqrt(scale * predicted.numpy()) - np.sqrt(counts.numpy())).sum()
    expected /= np.sqrt(counts.numpy()).sum()
    assert residual_of_pairs(_in_batches(predicted, counts)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.rule("MET-032")
@pytest.mark.parametrize("size", [1, 4, 7])
@pytest.mark.parametrize("per_frame", [False, True])
def test_neither_batches_nor_order_nor_the_scale_of_the_object_change_it(frames, size, per_frame):
    predicted, counts = frames
    first = residual_of_pairs(_in_batches(predicted, counts), per_frame_dose=per_frame)
    turned = _in_batches(1e3 * predicted.flip(0), counts.flip(0), size)
    assert residual_of_pairs(turned, per_frame_dose=per_frame) == pytest.approx(first, rel=1e-12)


def test_unsteady_light_shows_unless_every_frame_has_its_dose(frames):
    predicted, _ = frames
    flux = torch.linspace(0.7, 1.3, 7, dtype=torch.float64)[:, None, None]
    pairs = _in_batches(predicted, flux * predicted)
    assert residual_of_pairs(pairs, per_frame_dose=True) < 1e-12
    # One scale leaves the mean deviation of the amplitude.
    deviation = float((flux.sqrt() - flux.mean().sqrt()).abs().mean())
    assert residual_of_pairs(pairs) == pytest.approx(deviation, rel=0.05)


@pytest.mark.rule("MET-032")
def test_processes_share_one_scale_and_one_sum(frames):
    predicted, counts = frames
    light = [[float(p.sum()), float(c.sum())] for p, c in ((predicted[4:], counts[4:]),)]
    scale = float(counts.sum() / predicted.sum())
    others = iter([torch.tensor(light[0]), residual_sums(scale * predicted[4:], counts[4:]).sum(dim=1)])
    found = residual_of_pairs(_in_batches(predicted[:4], counts[:4]), total=lambda sums: sums + next(others))
    assert found == pytest.approx(residual_of_pairs(_in_batches(predicted, counts)), rel=1e-6)


def test_frames_without_light_have_no_residual():
    dark = torch.zeros(2, 8, 8)
    assert np.isnan(residual_of_pairs(_in_batches(dark, dark)))


def test_shapes_must_agree():
    with pytest.raises(ShapeError, check=lambda error: error.name == "predicted"):
        residual_sums(torch.ones(4, 4), torch.ones(2, 4, 4))
