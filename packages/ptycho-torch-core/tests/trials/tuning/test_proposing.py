"""What is searched, what is tried next, and what optuna is told."""

from __future__ import annotations

import json

import numpy as np
import pytest

from ptycho_config import TUNABLE, ConfigError, RefineConfig
from ptycho_torch.data.simulation import simulate_scene
from ptycho_torch.trials.tuning import Trial, study_of, trials_from
from ptycho_torch.trials.tuning.proposing import propose
from ptycho_torch.trials.tuning.space import space_of

SPLITS = 4


def made(space, point, deviance, *, number=0, state="complete"):
    """A trial of a point, of so large a deviance in every split."""
    point = space.canonical({**space.plain, **point})
    return Trial(
        number=number,
        point=point,
        settings=space.settings(point),
        state=state,
        deviances=tuple(np.full(5, deviance) for _ in range(SPLITS)),
        seconds=1.0,
    )


def searched(space, told, count, **options):
    """Points in order, each told to be as ``told`` says of its settings."""
    trials = []
    for number in range(count):
        point = propose(space, trials, **options)
        if point is None:
            break
        trials.append(made(space, point, told(space.settings(point)), number=number))
    return trials


def test_everything_of_a_scan_is_searched_by_default(scan):
    space = space_of(scan, {}, TUNABLE)
    assert tuple(space.axes) == TUNABLE
    # Every option is a setting that a refinement takes.
    for axis in space.axes.values():
        for value in (0, axis.start, *axis.beside(axis.start)):
            RefineConfig(**axis.settings(value))
    assert [dict(one) for one in space.axes["modes"].options] == [
        {},
        {"refine_probe": True, "probe_modes": 2},
        {"refine_probe": True, "probe_modes": 3},
    ]


def test_weights_of_smoothness_follow_the_light(scan):
    weights = {}
    for photons in (1e3, 1e4):
        dim = simulate_scene("lines", N=32, grid=(6, 6), step_px=4.0, photons=photons, seed=1)
        weights[photons] = space_of(dim, {}, TUNABLE).axes["smoothness"].weights
    np.testing.assert_allclose(weights[1e3], 10 * np.array(weights[1e4]), rtol=0.1)
    assert weights[1e3][1] == pytest.approx(1000 * weights[1e3][0], rel=0.1)
    bright = simulate_scene("lines", N=32, grid=(6, 6), step_px=4.0, photons=1e8, seed=1)
    assert "smoothness" not in space_of(bright, {}, TUNABLE).axes


def test_what_was_stated_is_not_searched(scan):
    fixed = {"refine_probe": False, "smoothness": 0.0, "likelihood": "poisson"}
    axes = space_of(scan, fixed, TUNABLE).axes
    assert set(TUNABLE) - set(axes) == {"probe", "modes", "variation", "smoothness", "likelihood"}


def test_more_modes_fit_the_probe(scan):
    space = space_of(scan, {}, ("probe", "modes"))
    assert space.canonical({"probe": 0, "modes": 2}) == {"probe": 1, "modes": 2}
    assert space.departures(space.canonical({"probe": 0, "modes": 2})) == 3


def test_the_defaults_come_first_then_each_alone_then_the_best_together(scan):
    space = space_of(scan, {}, ("dose", "background", "positions"))

    def told(settings):
        gains = {"refine_dose": 0.5, "refine_background": 0.7, "refine_positions": 1.05}
        return float(np.prod([gains[name] for name in settings]))

    found = [dict(trial.settings) for trial in searched(space, told, 5)]
    dose, background = {"refine_dose": True}, {"refine_background": "smooth"}
    assert found == [{}, dose, background, {"refine_positions": True}, {**dose, **background}]


def test_a_weight_is_followed_to_where_it_is_best(scan):
    space = space_of(scan, {}, ("smoothness",))
    low, high = space.axes["smoothness"].weights
    best = low * 2

    def told(settings):
        weight = settings.get("smoothness", low / 10)
        return 1 + abs(np.log(weight / best))

    trials = searched(space, told, 14)
    least = min(trials, key=lambda trial: trial.deviance)
    assert least.settings["smoothness"] == pytest.approx(best, rel=0.6)
    assert all(low <= trial.settings["smoothness"] <= high for trial in trials if trial.settings)


def test_a_proposal_follows_from_trials_and_seed(scan):
    space = space_of(scan, {}, TUNABLE)

    def points(seed):
        trials = searched(space, lambda settings: 1.0 + 0.01 * len(settings), 18, seed=seed)
        return [dict(trial.settings) for trial in trials]

    assert points(1) == points(1)
    assert points(1)[:12] == points(2)[:12]
    assert points(1)[12:] != points(2)[12:]


def test_what_did_not_end_is_proposed_again(scan):
    space = space_of(scan, {}, ("dose",))
    plain = made(space, {}, 1.0)
    for state in ("interrupted", "out of time"):
        stopped = made(space, {"dose": 1}, 1.0, number=1, state=state)
        assert propose(space, [plain, stopped]) == {"dose": 1}
    for state in ("complete", "worse", "failed"):
        ended = made(space, {"dose": 1}, 1.0, number=1, state=state)
        assert propose(space, [plain, ended]) is None


@pytest.mark.rule("REF-066")
def test_trials_are_read_as_they_were_written(scan):
    space = space_of(scan, {}, TUNABLE)
    trials = searched(space, lambda settings: 1.0 + 0.01 * len(settings), 14)
    again = trials_from(json.loads(json.dumps([trial.to_dict() for trial in trials])))
    assert [trial.to_dict() for trial in again] == [trial.to_dict() for trial in trials]
    assert propose(space, again) == propose(space, trials)


@pytest.mark.parametrize(
    "rows", [3, [{"number": 0}], [{"number": 1, "state": "complete"}], [{"number": 0, "state": "done"}]]
)
def test_rows_that_are_no_trials_are_refused(rows):
    with pytest.raises(ConfigError, match="trials that a search wrote"):
        trials_from(rows)


def test_optuna_is_told_every_trial(scan):
    import optuna

    space = space_of(scan, {}, ("dose", "smoothness"))
    trials = [
        made(space, {}, 1.0),
        made(space, {"dose": 1}, 0.5, number=1),
        made(space, {"smoothness": 0.01}, 2.0, number=2, state="worse"),
        made(space, {"dose": 1, "smoothness": 0.01}, 2.0, number=3, state="failed"),
    ]
    study = study_of(space, trials)
    states = optuna.trial.TrialState
    assert [one.state for one in study.trials] == [
        states.COMPLETE, states.COMPLETE, states.PRUNED, states.FAIL
    ]  # fmt: skip
    assert study.best_trial.user_attrs["settings"] == {"refine_dose": True}
    assert study.best_value == 0.5
    assert study.trials[2].params == {"dose": 0, "smoothness": 1, "smoothness weight": 0.01}
    assert study.trials[2].intermediate_values == dict.fromkeys(range(SPLITS), 2.0)
