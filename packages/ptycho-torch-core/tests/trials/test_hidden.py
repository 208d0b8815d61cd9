"""Pixels that are hidden tell the solver nothing, and tell how well it predicts them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ptycho_config import RefineConfig
from ptycho_torch.data.simulation import Faults, simulate_scene
from ptycho_torch.reassembly import ALONE
from ptycho_torch.refine import refine
from ptycho_torch.trials.hidden import splits_of

EPOCHS = 12
SIZE = {"N": 32, "grid": (6, 6), "step_px": 4.0, "jitter_px": 1.0, "photons": 1e5, "seed": 1}


@pytest.fixture(scope="module")
def scan():
    return simulate_scene("random_field", **SIZE)


def test_every_frame_is_held_out_once_and_shows_a_quarter(scan):
    splits = list(splits_of(scan, 4))
    assert sorted(np.concatenate([split.held for split in splits])) == list(range(scan.n_frames))
    for split in splits:
        assert split.hidden.mean() == pytest.approx(0.75, abs=0.02)
        seen = split.shown.measured(np.asarray(split.shown.diffraction))
        np.testing.assert_array_equal(~seen[split.held], split.hidden)
        assert seen.sum() == seen.size - split.hidden.sum()


def test_nothing_hidden_is_seen_at_any_dose(scan):
    """Counts of which single precision does not hold every one."""
    for photons in (3.1e7, 1e8, 1.7e9):
        bright = simulate_scene("lines", **{**SIZE, "grid": (3, 3), "photons": photons})
        for split in splits_of(bright, 4):
            seen = split.shown.measured(np.asarray(split.shown.diffraction))
            np.testing.assert_array_equal(~seen[split.held], split.hidden)


def test_light_of_frames_is_told_by_what_they_show(scan):
    split = next(splits_of(scan, 4))
    told, true = split.shown.counts_per_frame(), scan.counts_per_frame()
    # A quarter of a speckled frame holds a quarter of its light only on average.
    np.testing.assert_allclose(told, true, rtol=0.25)
    assert told.mean() == pytest.approx(true.mean(), rel=0.02)


def test_hidden_counts_reach_no_fit(scan):
    split = next(splits_of(scan, 4))
    counts = np.array(scan.diffraction)
    counts[split.held] = np.where(split.hidden, 7, counts[split.held])
    changed = next(splits_of(replace(scan, diffraction=counts), 4))
    one, other = (
        refine(each.shown, epochs=EPOCHS, processes=ALONE, refine_dose=True) for each in (split, changed)
    )
    np.testing.assert_array_equal(one.object.object, other.object.object)
    config = RefineConfig(refine_epochs=EPOCHS)
    assert changed.fit(config).mean() > 2 * split.fit(config).mean()


def test_ceilings_and_bad_pixels_stay_unmeasured(scan):
    bad = np.zeros((scan.N, scan.N), np.bool_)
    bad[3, 4] = True
    ceiling = np.full((scan.N, scan.N), np.inf)
    ceiling[16, 16] = 1.0
    frames = np.where(bad, 0, scan.diffraction)
    split = next(splits_of(replace(scan, diffraction=frames, bad_pixels=bad, ceiling=ceiling), 4))
    assert not split.hidden[:, 3, 4].any()
    assert not split.hidden[:, 16, 16].any()
    assert np.isfinite(split.fit(RefineConfig(refine_epochs=3))).all()


@pytest.mark.parametrize(
    ("faults", "settings"),
    [
        ({"dose_rms": 0.3}, {"refine_dose": True}),
        ({"position_error_px": 1.5}, {"refine_positions": True}),
        ({"background": 2.0}, {"refine_background": "smooth"}),
    ],
)
def test_what_belongs_to_single_frames_is_predicted(scan, faults, settings):
    """A held-out frame has its own dose and place, which no other frame tells."""
    faulty = simulate_scene("random_field", faults=Faults(**faults), **SIZE)
    plain, fitted = (
        next(splits_of(faulty, 4)).fit(RefineConfig(refine_epochs=30, **each)).mean()
        for each in ({}, settings)
    )
    assert fitted < 0.6 * plain
