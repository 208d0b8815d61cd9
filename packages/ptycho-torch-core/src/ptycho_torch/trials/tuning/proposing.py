"""What is tried next: a few sensible starts, then the neighbours of the best, then what optuna proposes.

A proposal follows from the trials so far and the seed alone. So a search that was killed goes on as it would
have without that.

The starts are the defaults and every option alone. Around the best that was found, options that gained
something alone are added one by one, and those that are on are taken away or moved by a step, as
``inspect --deep`` does, for as long as that leads further. From there on the tree-structured Parzen estimator
of optuna proposes (Bergstra, Bardenet, Bengio and Kégl, NIPS 24, 2011), of all axes together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from ptycho_config import ConfigError, Problem
from ptycho_torch.trials.gains import share_of_gain
from ptycho_torch.trials.tuning.choosing import best_of
from ptycho_torch.trials.tuning.space import Point, Space
from ptycho_torch.trials.tuning.trial import Trial

if TYPE_CHECKING:
    import optuna

__all__ = ["propose", "require_optuna", "study_of"]

_DRAWS = 20
"""Proposals that were tried before, after which nothing new is expected."""

_WEIGHT = " weight"


def require_optuna() -> None:
    """Refuse to search without optuna.

    Raises
    ------
    ConfigError
        If it is not installed; it names the extra.
    """
    _optuna()


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        hint = "pip install 'ptycho-torch-core[tune]'"
        raise ConfigError(
            Problem("tune", "optuna is missing", "optuna, which proposes trials", hint)
        ) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def propose(space: Space, trials: Sequence[Trial], *, seed: int = 0) -> Point | None:
    """The point to try next; None where nothing new is proposed any more.

    Parameters
    ----------
    space
        What is searched.
    trials
        All that were tried, in order. Those that did not come to an end do not count.
    seed
        Of what optuna draws.
    """
    decided = [trial for trial in trials if trial.is_decided]
    tried = [dict(trial.settings) for trial in decided]
    for point in chain(_starts(space), _around_best(space, decided), _drawn(space, decided, seed)):
        found = space.canonical(point)
        if space.settings(found) not in tried:
            return found
    return None


def _starts(space: Space) -> Iterator[Point]:
    """The defaults, and every axis alone."""
    yield space.plain
    for name, axis in space.axes.items():
        yield {**space.plain, name: axis.start}


def _around_best(space: Space, decided: Sequence[Trial]) -> Iterator[Point]:
    """Neighbours of the best trial, those that gained most alone first."""
    best = best_of(space, decided)
    if best is None:
        return
    alone = _gains_alone(space, decided)
    for name in sorted(space.axes, key=lambda name: -alone.get(name, -np.inf)):
        here = best.point[name]
        for value in space.axes[name].beside(here):
            if here or alone.get(name, -np.inf) > 0:
                yield {**best.point, name: value}


def _gains_alone(space: Space, decided: Sequence[Trial]) -> dict[str, float]:
    """Share of the deviance of the defaults that every axis alone takes away, where that is known."""
    plain = next((one for one in decided if not one.settings and one.state == "complete"), None)
    if plain is None:
        return {}
    found = {}
    for name, axis in space.axes.items():
        settings = dict(axis.settings(axis.start))
        trial = next((one for one in decided if one.settings == settings and len(one.deviances)), None)
        if trial is not None:
            found[name] = share_of_gain(plain.deviances[: len(trial.deviances)], trial.deviances)
    return found


def _drawn(space: Space, decided: Sequence[Trial], seed: int) -> Iterator[Point]:
    """What the estimator draws, again and again with other seeds."""
    if not space.axes:
        return
    optuna = _optuna()
    study = study_of(space, decided)
    for draw in range(_DRAWS):
        state = np.random.SeedSequence((seed, len(decided), draw)).generate_state(1)
        study.sampler = optuna.samplers.TPESampler(seed=int(state[0]), multivariate=True)
        params = study.ask(_distributions(space)).params
        yield {name: params[name] * params.get(name + _WEIGHT, 1) for name in space.axes}


def _distributions(space: Space) -> dict[str, Any]:
    kinds = _optuna().distributions
    found: dict[str, Any] = {}
    for name, axis in space.axes.items():
        count = 2 if axis.weights else len(axis.options)
        found[name] = kinds.CategoricalDistribution(list(range(count)))
        if axis.weights:
            found[name + _WEIGHT] = kinds.FloatDistribution(*axis.weights, log=True)
    return found


def study_of(space: Space, trials: Sequence[Trial]) -> optuna.study.Study:
    """A study of optuna, in memory, with all trials, such as its pictures are drawn from.

    Raises
    ------
    ConfigError
        If optuna is not installed.
    """
    optuna = _optuna()
    states = optuna.trial.TrialState
    known = {"complete": states.COMPLETE, "worse": states.PRUNED}
    study = optuna.create_study(direction="minimize")
    for trial in trials:
        params: dict[str, Any] = {}
        for name, axis in space.axes.items():
            value = trial.point[name]
            params[name] = int(bool(value)) if axis.weights else int(value)
            if axis.weights:
                params[name + _WEIGHT] = min(max(value or axis.start, axis.weights[0]), axis.weights[1])
        seen = [float(one.mean()) for one in trial.deviances]
        study.add_trial(
            optuna.trial.create_trial(
                state=known.get(trial.state, states.FAIL),
                value=trial.deviance if trial.state == "complete" else None,
                params=params,
                distributions=_distributions(space),
                intermediate_values={step: float(np.mean(seen[: step + 1])) for step in range(len(seen))},
                user_attrs={"settings": dict(trial.settings), "seconds": trial.seconds},
            )
        )
    return study
