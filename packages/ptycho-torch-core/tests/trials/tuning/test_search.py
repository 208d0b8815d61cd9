"""Settings are found by frames held out, within a budget, whatever single trials do."""

from __future__ import annotations

import math
import sys
from dataclasses import replace

import numpy as np
import pytest

from ptycho_config import TUNABLE, ConfigError
from ptycho_torch.data.simulation import Faults, simulate_scene
from ptycho_torch.metrics import compare
from ptycho_torch.refine import refine
from ptycho_torch.trials import TuningInterrupted, tune
from ptycho_torch.trials.gains import LEAST, SPLITS
from ptycho_torch.trials.tuning import tuning_problem

SIZE = {"N": 32, "grid": (6, 6), "step_px": 4.0, "jitter_px": 1.0, "photons": 1e5, "seed": 1}


def error_of(scan, **settings):
    """Of a refinement of the whole scan, against the truth."""
    found = refine(scan, **settings).object
    report = compare(
        found.object, scan.object_truth, weight=found.weight, origin=found.origin,
        truth_origin=scan.object_truth_origin, probe_diameter=scan.N / 2, frc=False,
    )  # fmt: skip
    return report.scores.complex_nrmse


def states(tuning):
    return [trial.state for trial in tuning.trials]


@pytest.mark.rule("REF-061", "REF-062")
def test_a_fault_is_answered_and_told_in_words():
    faulty = simulate_scene("random_field", faults=Faults(dose_rms=0.3), **SIZE)
    seen = []
    tuning = tune(
        faulty,
        choose=("dose", "background", "likelihood"),
        trials=4,
        progress=lambda *counts: seen.append(counts[:2]),
    )
    assert tuning.settings == {"refine_dose": True}
    assert tuning.flags == "--refine-dose"
    assert tuning.gain.share > 0.5
    assert tuning.flags in tuning.verdict
    assert f"{tuning.gain.share:.0%}" in tuning.verdict
    assert [dict(trial.settings) for trial in tuning.trials] == [
        {},
        {"likelihood": "amplitude"},
        {"refine_dose": True},
        {"refine_background": "smooth"},
    ]
    assert seen[0][0] == 0
    assert seen[-1] == (4, 4)
    assert tuning.n_frames == faulty.n_frames


@pytest.mark.rule("REF-062")
def test_every_likelihood_is_judged_by_the_same_frames(scan):
    """One number for all: the Poisson deviance of the same hidden pixels."""
    tuning = tune(scan, choose=("likelihood",), trials=2)
    one, other = tuning.trials
    assert [len(each) for each in one.deviances] == [len(each) for each in other.deviances]
    assert sum(map(len, one.deviances)) == scan.n_frames
    # At this dose both are near the noise of the counts: of one scale, and not the same.
    assert one.deviance == pytest.approx(other.deviance, rel=0.2)
    assert one.deviance != other.deviance


@pytest.mark.rule("REF-063")
def test_a_scan_without_a_fault_keeps_the_defaults(scan):
    tuning = tune(scan, choose=("dose", "background", "likelihood", "probe"), trials=5)
    assert tuning.settings == {}
    assert tuning.best is tuning.plain
    assert not tuning.gain.pays
    assert tuning.verdict.startswith("nothing beats the defaults")


def test_a_smoothness_is_found_for_few_counts():
    few = simulate_scene("lines", **{**SIZE, "photons": 300, "grid": (10, 10)})
    tuning = tune(few, choose=("smoothness",), trials=3)
    assert tuning.settings["smoothness"] > 0
    assert error_of(few, **tuning.settings) < 0.85 * error_of(few)


@pytest.mark.rule("REF-063")
def test_of_settings_that_are_as_good_the_simpler_ones_are_kept(scan, fits):
    fits({"refine_dose": 0.5, "refine_positions": 1 - 0.9 * LEAST, "refine_background": 0.8})
    tuning = tune(scan, choose=("dose", "positions", "background"), trials=8)
    assert tuning.settings == {"refine_dose": True, "refine_background": "smooth"}
    least = min(tuning.trials, key=lambda trial: trial.deviance)
    assert least.settings["refine_positions"]
    assert tuning.largest_gain.share > tuning.gain.share


def test_a_gain_in_some_frames_alone_is_not_believed(scan, fits):
    """The mean falls by much, but in one split of four nothing is gained."""
    plain = []

    def sometimes(config):
        if not config.refine_dose:
            return 1.0
        plain.append(config)
        return 0.5 if len(plain) % SPLITS else 1.0

    fits({"refine_dose": sometimes})
    tuning = tune(scan, choose=("dose",), trials=2)
    assert tuning.trials[1].deviance < 0.7 * tuning.trials[0].deviance
    assert tuning.settings == {}
    assert tuning.verdict.startswith(
        "nothing beats the defaults beyond the noise: the best of all takes away 3"
    )


@pytest.mark.rule("REF-065")
def test_a_trial_that_fails_ends_nothing(scan, fits):
    def broken(config):
        if config.refine_dose:
            raise FloatingPointError("objective: expected a finite number, got nan in epoch 3")
        if config.refine_background == "smooth":
            return np.nan
        return 1.0

    fits({"broken": broken, "likelihood": 0.5})
    tuning = tune(scan, choose=("dose", "background", "likelihood"), trials=4)
    assert states(tuning) == ["complete", "complete", "failed", "failed"]
    assert "nan in epoch 3" in tuning.trials[2].reason
    assert "no finite counts" in tuning.trials[3].reason
    assert tuning.settings == {"likelihood": "amplitude"}


@pytest.mark.rule("REF-065")
def test_defaults_that_fail_are_said(scan, fits):
    def broken(config):
        if config.likelihood == "poisson":
            raise RuntimeError("out of memory")
        return 1.0

    fits({"likelihood": broken})
    tuning = tune(scan, choose=("likelihood",), trials=2)
    assert tuning.settings == {"likelihood": "amplitude"}
    assert tuning.gain is None
    assert "the defaults have no result (failed)" in tuning.verdict


@pytest.mark.rule("REF-062")
def test_a_trial_that_is_much_worse_is_not_looked_at_further(scan, fits):
    seen = fits({"refine_dose": 1.5, "refine_background": 1.05})
    tuning = tune(scan, choose=("dose", "background"), trials=3)
    assert states(tuning) == ["complete", "worse", "complete"]
    assert [len(trial.deviances) for trial in tuning.trials] == [SPLITS, 1, SPLITS]
    assert len(seen) == 2 * SPLITS + 1


@pytest.mark.rule("REF-064")
def test_the_budget_ends_a_search(scan, fits, clock):
    fits({"refine_dose": 0.5})
    ticks = clock()
    tuning = tune(scan, budget_s=60, clock=ticks)
    assert tuning.ended == "budget"
    assert set(states(tuning)) <= {"complete", "worse"}
    whole = [trial.seconds for trial in tuning.trials if trial.state == "complete"]
    # What was left was not enough for another one.
    assert ticks.now + np.median(whole) + 3 > 60
    assert ticks.now <= 62


@pytest.mark.rule("REF-064")
def test_a_trial_that_runs_beyond_the_budget_is_stopped_and_said_so(scan, fits, clock):
    fits({"refine_dose": 0.5}, epochs=100)
    tuning = tune(scan, budget_s=600, clock=clock())
    assert states(tuning) == ["complete"]
    tuning = tune(scan, budget_s=250, clock=clock())
    assert states(tuning) == ["out of time"]
    assert len(tuning.trials[0].deviances) == 2
    assert tuning.best is None
    assert "nothing can be said" in tuning.verdict


@pytest.mark.rule("REF-066")
@pytest.mark.parametrize("cut", [1, 4, 11])
def test_a_search_that_was_cut_goes_on_as_one_that_was_not(scan, fits, cut):
    fits({"refine_dose": 0.5, "smoothness": 0.99, "refine_probe": 0.9, "probe_variation": 1.02})
    whole = tune(scan, trials=24)
    part = tune(scan, trials=cut)
    again = tune(scan, trials=24, before=part.trials)
    assert [dict(one.settings) for one in again.trials] == [dict(one.settings) for one in whole.trials]
    assert again.settings == whole.settings
    # Beyond the starts and their neighbours, other settings together are proposed.
    assert len({tuple(sorted(one.settings.items())) for one in whole.trials}) == len(whole.trials)


@pytest.mark.rule("REF-066")
def test_ctrl_c_keeps_what_is_there_and_the_trial_is_tried_again(scan, fits):
    count = []

    def stopped(config):
        count.append(config)
        if len(count) == SPLITS + 2:
            raise KeyboardInterrupt
        return 1.0

    fits({"stopped": stopped})
    kept = []
    with pytest.raises(TuningInterrupted) as stop:
        tune(scan, choose=("dose", "background"), trials=3, on_trial=kept.append)
    tuning = stop.value.tuning
    assert states(tuning) == ["complete", "interrupted"]
    assert states(kept[-1]) == states(tuning)
    again = tune(scan, choose=("dose", "background"), trials=3, before=tuning.trials)
    assert states(again) == ["complete", "interrupted", "complete", "complete"]
    assert again.trials[1].settings == again.trials[2].settings


def test_a_small_space_is_searched_once(scan, fits):
    fits({"refine_dose": 0.5})
    tuning = tune(scan, choose=("dose", "likelihood"), trials=100)
    assert tuning.ended == "nothing new"
    assert len(tuning.trials) == 4


def test_settings_that_are_stated_are_in_every_trial(scan, fits):
    seen = fits({"refine_dose": 0.5})
    tuning = tune(scan, {"refine_probe": True, "refine_epochs": 7, "smoothness": 0.1}, trials=14)
    assert {(one.refine_probe, one.refine_epochs, one.smoothness) for one in seen} == {(True, 7, 0.1)}
    assert {one.error_bars for one in seen} == {"none"}
    assert not {"probe", "smoothness"} & set(tuning.space.axes)
    assert {"modes", "variation"} <= set(tuning.space.axes)
    assert not any("refine_epochs" in trial.settings for trial in tuning.trials)


def test_a_dark_frame_reaches_the_trials_in_photons(scan):
    dark = np.full((scan.N, scan.N), 3.0)
    eight = tuning_problem(scan.scaled(8), dark=8 * dark)
    np.testing.assert_allclose(eight.dark, dark, rtol=1e-6)
    with_dark = tune(scan, choose=("dose",), dark=dark, trials=1)
    without = tune(scan, choose=("dose",), trials=1)
    assert with_dark.trials[0].deviance > 1.5 * without.trials[0].deviance


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"choose": ("dose", "phase")}, "names among likelihood"),
        ({"choose": ("dose",), "fixed": {"refine_dose": False}}, "something to choose"),
        ({"fixed": {"probe_modes": 3}}, "refine_probe to fit them"),
        ({"trials": None}, "a number of seconds, or a number of trials"),
    ],
)
def test_what_cannot_be_searched_is_refused(scan, change, words):
    arguments = {"fixed": None, "choose": TUNABLE, "trials": 1, **change}
    with pytest.raises(ConfigError, match=words):
        tune(scan, **arguments)


def test_scans_of_which_nothing_can_be_told_are_refused(scan):
    with pytest.raises(ConfigError, match="20 frames are too few"):
        tune(scan.take(np.arange(20)), trials=1)
    near = replace(scan, metadata={"far_field": False, "focus_object_distance_m": 0.0})
    with pytest.raises(ConfigError, match="far field"):
        tune(near, trials=1)


def test_trials_of_another_search_are_refused(scan, fits):
    fits({"refine_dose": 0.5})
    other = tune(scan, choose=("dose",), trials=2)
    with pytest.raises(ConfigError, match="trials that choose likelihood"):
        tune(scan, choose=("likelihood",), trials=2, before=other.trials)


@pytest.mark.rule("REF-067")
def test_without_optuna_the_extra_is_named(scan, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ConfigError, match=r"pip install 'ptycho-torch-core\[tune\]'"):
        tune(scan, trials=1)


def test_defaults_that_none_comes_near_are_said_plainly(scan, fits):
    fits({"refine_dose": 1.05})
    tuning = tune(scan, choose=("dose",), trials=2)
    assert tuning.verdict == "nothing beats the defaults: no other settings predict held-out frames better"


def test_a_search_needs_no_end_but_one(scan, fits, clock):
    fits({"refine_dose": 0.5})
    assert tune(scan, choose=("dose",), budget_s=1000, clock=clock()).ended == "nothing new"
    assert tune(scan, choose=("dose",), budget_s=math.inf, trials=1, clock=clock()).ended == "trials"
