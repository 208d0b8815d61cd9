"""The phase as it is published: one rule for constant and ramp, and no jumps."""

from __future__ import annotations

import json

import numpy as np
import pytest

from ptycho_torch.metrics import levelled_phase

SHAPE = (70, 90)
Y, X = np.mgrid[: SHAPE[0], : SHAPE[1]]
HILL = 9 * np.exp(-((Y - 35) ** 2 + (X - 40) ** 2) / 250)
EVERYWHERE = np.ones(SHAPE, bool)


def wave(phase):
    return (1 - 0.02 * HILL) * np.exp(1j * phase)


@pytest.mark.rule("MET-041")
def test_a_phase_of_more_than_a_turn_comes_back_but_for_a_plane():
    found = levelled_phase(wave(HILL), EVERYWHERE).phase
    rest = (found - HILL).ravel()
    plane = np.stack([np.ones(rest.size), Y.ravel(), X.ravel()], axis=1)
    fitted = np.linalg.lstsq(plane, rest, rcond=None)[0]
    np.testing.assert_allclose(rest, plane @ fitted, atol=1e-4)
    assert abs(np.median(found)) <= np.pi


@pytest.mark.rule("MET-041")
def test_constant_and_ramp_of_an_object_make_no_difference():
    bare = levelled_phase(wave(HILL), EVERYWHERE)
    moved = levelled_phase(wave(HILL + 0.2 * Y - 0.1 * X + 1), EVERYWHERE)
    np.testing.assert_allclose(moved.phase, bare.phase, atol=1e-3)
    np.testing.assert_allclose(
        np.subtract(moved.ramp_rad_per_px, bare.ramp_rad_per_px), [0.2, -0.1], atol=1e-5
    )
    change = np.exp(1j * (moved.constant_rad - bare.constant_rad))
    assert np.angle(change * np.exp(-1j)) == pytest.approx(0, abs=1e-3)


@pytest.mark.rule("MET-041")
def test_the_plane_and_the_phase_make_the_object():
    image = wave(HILL + 0.2 * Y - 0.1 * X + 1)
    found = levelled_phase(image, EVERYWHERE)
    plane = found.constant_rad + found.ramp_rad_per_px[0] * Y + found.ramp_rad_per_px[1] * X
    np.testing.assert_allclose(np.abs(image) * np.exp(1j * (found.phase + plane)), image, atol=1e-4)


def test_what_is_not_lit_is_no_number_and_has_no_say():
    covered = np.hypot(Y - 35, X - 40) < 28
    rng = np.random.default_rng(0)
    noise = np.where(covered, 0, rng.uniform(-3, 3, SHAPE))
    found = levelled_phase(wave(HILL + noise), covered)
    np.testing.assert_array_equal(np.isfinite(found.phase), covered)
    calm = levelled_phase(wave(HILL), covered)
    np.testing.assert_array_equal(found.phase, calm.phase)
    low, high = json.loads(json.dumps(found.summary()))["range_rad"]
    assert high - low == pytest.approx(np.ptp(found.phase[covered]))


def test_pixels_that_are_no_numbers_take_no_other_with_them():
    broken = wave(HILL)
    broken[10, 20] = np.nan
    found = levelled_phase(broken, EVERYWHERE).phase
    assert np.isnan(found[10, 20])
    assert np.isfinite(found).sum() == found.size - 1


def test_nothing_lit_and_nothing_there_have_no_phase():
    nothing = levelled_phase(wave(HILL), ~EVERYWHERE)
    assert np.isnan(nothing.phase).all()
    assert nothing.summary()["range_rad"] is None
    assert not levelled_phase(np.zeros(SHAPE, complex), EVERYWHERE).phase.any()
