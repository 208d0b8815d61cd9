"""A fault is answered by what pays; a scan without one is left alone."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from ptycho_config import ConfigError
from ptycho_torch.data.simulation import Faults, simulate_scene
from ptycho_torch.trials import try_unknowns
from ptycho_torch.trials.gains import LEAST, SPLITS
from ptycho_torch.trials.paying import NAMES, refine_flags

FEW = ("dose", "background")
SIZE = {"N": 32, "grid": (6, 6), "step_px": 4.0, "jitter_px": 1.0, "photons": 1e5, "seed": 1}


@pytest.mark.rule("REF-060")
def test_two_faults_are_answered_together():
    scan = simulate_scene("random_field", faults=Faults(dose_rms=0.3, background=4.0), **SIZE)
    done = []
    trial = try_unknowns(scan, only=FEW, progress=lambda *counts: done.append(counts[:2]))
    assert trial.settings == {"refine_dose": True, "refine_background": "smooth"}
    assert sorted(trial.flags.split()) == ["--refine-background", "--refine-dose", "smooth"]
    assert trial.gain > 0.5
    assert trial.flags in trial.verdict
    assert f"{trial.gain:.0%}" in trial.verdict
    told = {one.name: one for one in trial.candidates}
    assert set(told) == set(FEW)
    assert {name for name, one in told.items() if one.advised} == {"dose", "background"}
    assert max(one.gain for one in trial.candidates if one.pays) < trial.gain
    assert all(one.gain >= LEAST and one.n_splits == SPLITS for one in told.values() if one.pays)
    assert done[-1][0] == done[-1][1] == len(done) - 1
    assert json.loads(json.dumps(trial.to_dict()))["flags"] == trial.flags


@pytest.mark.rule("REF-060")
@pytest.mark.parametrize(("scene", "photons"), [("lines", 1e4), ("lines", 1e9)])
def test_nothing_is_advised_where_nothing_is_wrong(scene, photons):
    trial = try_unknowns(simulate_scene(scene, **{**SIZE, "photons": photons}))
    assert (trial.flags, trial.gain) == ("", 0.0)
    assert {one.name for one in trial.candidates} == set(NAMES)
    assert not any(one.pays or one.advised for one in trial.candidates)
    # What does not pay is not looked at for longer than it takes to tell.
    assert min(one.n_splits for one in trial.candidates) == 1


@pytest.mark.rule("REF-060")
def test_a_second_mode_is_found():
    scan = simulate_scene("random_field", mode_powers=(0.7, 0.3), **SIZE)
    trial = try_unknowns(replace(scan, probe=scan.probe[:1]), only=("probe", "probe modes"))
    assert trial.settings["refine_probe"]
    assert trial.settings["probe_modes"] >= 2


def test_counts_in_another_unit_are_told_alike():
    """A photon of eight units changes nothing but the unit."""
    scan = simulate_scene("random_field", faults=Faults(dose_rms=0.3), **SIZE)
    one, eight = (try_unknowns(each, only=("dose",)) for each in (scan, scan.scaled(8)))
    assert one.settings == eight.settings == {"refine_dose": True}
    assert eight.gain == pytest.approx(one.gain, rel=1e-3)


def test_what_cannot_be_told_is_said():
    scan = simulate_scene("random_field", **SIZE)
    few = try_unknowns(scan.take(np.arange(20)))
    assert few.flags is None
    assert "20 frames" in few.verdict
    near = try_unknowns(replace(scan, metadata={"far_field": False, "focus_object_distance_m": 0.0}))
    assert near.flags is None
    assert "far field" in near.verdict


def test_unknowns_without_a_name_are_refused():
    scan = simulate_scene("random_field", **SIZE)
    with pytest.raises(ConfigError) as refused:
        try_unknowns(scan, only=("dose", "phase"))
    assert [(one.field, one.value) for one in refused.value.problems] == [("only", "phase")]


def test_flags_are_those_of_the_command():
    settings = {"refine_probe": True, "probe_modes": 3, "refine_background": "smooth"}
    assert refine_flags(settings) == "--refine-probe --probe-modes 3 --refine-background smooth"
