"""Search for settings of a refinement that predict frames best which it did not see."""

from __future__ import annotations

import hashlib
import math
import statistics
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ptycho_config import TUNABLE, ConfigError, Problem, RefineConfig, evolve
from ptycho_torch.control import Progress
from ptycho_torch.data.scan.contract import Scan
from ptycho_torch.denormals import flushed_denormals
from ptycho_torch.refine.settings import check_against, config_of
from ptycho_torch.trials.gains import EPOCHS, SPLITS, region_of, why_untold
from ptycho_torch.trials.hidden import Split, splits_of
from ptycho_torch.trials.tuning.choosing import least_of
from ptycho_torch.trials.tuning.outcome import Ending, Tuning
from ptycho_torch.trials.tuning.proposing import propose, require_optuna
from ptycho_torch.trials.tuning.space import Point, Space, space_of
from ptycho_torch.trials.tuning.trial import State, Trial

__all__ = ["TuningInterrupted", "TuningProblem", "tune", "tuning_problem"]

_WORSE = 1.1
"""Ratio of deviances to those of the best, over the splits so far, from which a trial is not looked at
further: no gain in the other splits makes up for it in each of all."""

_FAILURES = (ValueError, ArithmeticError, RuntimeError)
"""What a fit may end with: settings that are refused, numbers that are none, memory that is not there."""


class TuningInterrupted(KeyboardInterrupt):
    """Ctrl-C during a search; ``tuning`` holds the trials so far.

    ``checkpoint`` is the file that a workflow keeps them in, or None; a search can be resumed from it.
    """

    is_resumable = True

    def __init__(self, tuning: Tuning, checkpoint: object = None) -> None:
        self.tuning = tuning
        self.checkpoint = checkpoint
        super().__init__(f"the search was interrupted after {len(tuning.trials)} trials")


class _OutOfTime(Exception):
    """The budget ended during a fit."""


@dataclass(frozen=True, kw_only=True)
class TuningProblem:
    """What is fitted in trials, and what may be chosen.

    Attributes
    ----------
    scan
        Frames of the region, in photons.
    dark
        (N, N) photons that every frame shows without light, or None.
    config
        Settings of the plain trial.
    fixed
        Those of them that were stated.
    space
        What is searched.
    seed
        Of the pixels that held-out frames show, and of what is drawn.
    """

    scan: Scan = field(repr=False)
    dark: npt.NDArray[np.float64] | None = field(repr=False)
    config: RefineConfig = field(repr=False)
    fixed: Mapping[str, Any]
    space: Space = field(repr=False)
    seed: int

    def told(self, trials: Sequence[Trial], ended: Ending = "running") -> Tuning:
        """What trials say together."""
        return Tuning(
            space=self.space,
            fixed=self.fixed,
            trials=tuple(trials),
            n_frames=self.scan.n_frames,
            ended=ended,
        )

    @property
    def identity(self) -> str:
        """SHA-256 of frames, positions, probe and dark frame, with few digits of what is rounded."""
        digest = hashlib.sha256()
        light = self.scan.counts_per_frame()
        digest.update(f"{self.scan.diffraction.shape}".encode())
        for values in (light, self.scan.positions.ravel(), np.abs(self.scan.probe).sum(axis=(1, 2))):
            digest.update(" ".join(f"{value:.5g}" for value in values.tolist()).encode())
        if self.dark is not None:
            digest.update(f"{self.dark.sum():.5g}".encode())
        return digest.hexdigest()


def tuning_problem(
    scan: Scan,
    fixed: Mapping[str, Any] | None = None,
    *,
    choose: Collection[str] = TUNABLE,
    dark: npt.NDArray[np.floating] | None = None,
    seed: int = 0,
) -> TuningProblem:
    """What a search of settings for a scan consists of; parameters as for `tune`.

    Raises
    ------
    ConfigError
        If nothing can be told of the scan by frames held out, nothing is left to choose, or settings do not
        fit.
    """
    unknown = sorted(set(choose) - set(TUNABLE))
    if unknown:
        raise ConfigError(Problem("choose", unknown[0], f"names among {', '.join(TUNABLE)}"))
    untold = why_untold(scan)
    if untold is not None:
        raise ConfigError(Problem("scan_file", str(scan.source), f"another scan to tune: {untold}"))
    stated = dict(fixed or {})
    region = region_of(scan, whole=True)
    quick = RefineConfig(refine_epochs=EPOCHS, refine_tolerance=0.0)
    config = evolve(config_of(quick, stated), error_bars="none")
    check_against(config, region.scan)
    space = space_of(region.scan, stated, choose)
    if not space.axes:
        expected = "something to choose that is not stated and makes sense for this scan"
        raise ConfigError(
            Problem("choose", ",".join(choose), expected, f"stated: {', '.join(stated) or 'nothing'}")
        )
    return TuningProblem(
        scan=region.scan,
        dark=None if dark is None else np.asarray(dark, dtype=np.float64) / region.photon,
        config=config,
        fixed=stated,
        space=space,
        seed=seed,
    )


def tune(
    scan: Scan | TuningProblem,
    fixed: Mapping[str, Any] | None = None,
    *,
    choose: Collection[str] = TUNABLE,
    budget_s: float = math.inf,
    trials: int | None = None,
    seed: int = 0,
    dark: npt.NDArray[np.floating] | None = None,
    device: torch.device | str = "cpu",
    before: Sequence[Trial] = (),
    on_trial: Callable[[Tuning], None] | None = None,
    progress: Progress | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Tuning:
    """Search settings of a refinement, judged by frames that were held out.

    Every trial refines a region of a hundred frames at most, in four splits, each with a quarter of the
    frames held out: a quarter of their pixels is shown, the others are predicted. What is told of them is the
    Poisson deviance, whichever likelihood was fitted.

    Parameters
    ----------
    scan
        As opened, in the right orientation; or what `tuning_problem` made of it, with ``fixed``, ``choose``,
        ``seed`` and ``dark``, which are not stated again then.
    fixed
        Settings that are not searched, by the names of :class:`ptycho_config.RefineConfig`.
    choose
        What is searched, among :data:`ptycho_config.TUNABLE`.
    budget_s
        When to end; s. No trial begins that would not fit, as far as those before it tell, and one that takes
        longer is stopped.
    trials
        How many trials, those before included, or None.
    seed
        Of the pixels that held-out frames show, and of what optuna proposes.
    dark
        (N, N) counts that every frame shows without light, if known.
    device
        Where to compute.
    before
        Trials of a search of the same problem that is continued.
    on_trial
        Called after every trial with all that is known.
    progress
        Called with trials done and trials that there may be.
    clock
        Tells the time; s.

    Raises
    ------
    ConfigError
        As from `tuning_problem`, if optuna is not installed, if there is neither a budget nor a number of
        trials, or ``before`` are trials of another space.
    TuningInterrupted
        On Ctrl-C.

    Examples
    --------
    >>> from ptycho_torch.data.simulation import Faults, simulate_scene
    >>> from ptycho_torch.trials import tune
    >>> faults = Faults(dose_rms=0.3)
    >>> scan = simulate_scene("random_field", N=32, grid=(6, 6), step_px=4.0, seed=1, faults=faults)
    >>> tune(scan, choose=("dose", "background"), trials=4).flags
    '--refine-dose'
    """
    require_optuna()
    if math.isinf(budget_s) and trials is None:
        raise ConfigError(Problem("budget_s", budget_s, "a number of seconds, or a number of trials"))
    began = clock()
    problem = scan if isinstance(scan, TuningProblem) else None
    if isinstance(scan, Scan):
        problem = tuning_problem(scan, fixed, choose=choose, dark=dark, seed=seed)
    assert problem is not None
    _require_same_space(problem.space, before)
    with flushed_denormals():
        search = _Search(problem, device, list(before), began + budget_s, clock)
        return search.run(trials, on_trial, progress)


def _require_same_space(space: Space, before: Sequence[Trial]) -> None:
    for trial in before:
        if (
            set(trial.point) != set(space.axes)
            or space.settings(space.canonical(trial.point)) != trial.settings
        ):
            expected = f"trials that choose {', '.join(space.axes)}, as this search does"
            got = ", ".join(trial.point)
            raise ConfigError(Problem("before", f"trial {trial.number}, of {got}", expected))


class _Search:
    """Trial after trial."""

    def __init__(
        self,
        problem: TuningProblem,
        device: torch.device | str,
        trials: list[Trial],
        deadline: float,
        clock: Callable[[], float],
    ) -> None:
        self.problem, self.device, self.trials = problem, device, trials
        self.deadline, self.clock = deadline, clock
        self.splits: list[Split] = list(splits_of(problem.scan, SPLITS, seed=problem.seed))

    def run(
        self,
        wanted: int | None,
        on_trial: Callable[[Tuning], None] | None,
        progress: Progress | None,
    ) -> Tuning:
        """Go on until the search ends."""
        try:
            while True:
                ended, point = self._next(wanted)
                if progress is not None:
                    done = self._n_decided()
                    progress(done, done if ended else self._expected(wanted))
                if ended is not None or point is None:
                    return self.problem.told(self.trials, ended or "nothing new")
                self.trials.append(self._tried(point))
                interrupted = self.trials[-1].state == "interrupted"
                if on_trial is not None:
                    on_trial(self.problem.told(self.trials, "interrupted" if interrupted else "running"))
                if interrupted:
                    raise KeyboardInterrupt
        except KeyboardInterrupt:
            raise TuningInterrupted(self.problem.told(self.trials, "interrupted")) from None

    def _n_decided(self) -> int:
        return sum(trial.is_decided for trial in self.trials)

    def _next(self, wanted: int | None) -> tuple[Ending | None, Point | None]:
        """Why the search is over, or what is tried next."""
        if wanted is not None and self._n_decided() >= wanted:
            return "trials", None
        if self.clock() + self._seconds_of_one() > self.deadline:
            return "budget", None
        point = propose(self.problem.space, self.trials, seed=self.problem.seed)
        return (None if point is not None else "nothing new"), point

    def _seconds_of_one(self) -> float:
        """What a trial takes, as those that came to their end tell; 0 while none has."""
        known = [trial.seconds for trial in self.trials if trial.state == "complete"]
        return statistics.median(known) if known else 0.0

    def _expected(self, wanted: int | None) -> int:
        """Trials that there may be."""
        done, each = self._n_decided(), self._seconds_of_one()
        left = math.inf if wanted is None else wanted - done
        if each > 0 and math.isfinite(self.deadline):
            left = min(left, math.ceil((self.deadline - self.clock()) / each))
        return done + (int(left) if math.isfinite(left) else 1)

    def _tried(self, point: Point) -> Trial:
        """One trial, whatever becomes of it."""
        began = self.clock()
        settings = self.problem.space.settings(point)
        deviances: list[npt.NDArray[np.float64]] = []
        state: State = "complete"
        reason = ""
        try:
            config = evolve(self.problem.config, **settings)
            least = least_of(self.trials)
            for split in self.splits:
                deviances.append(self._fitted(split, config))
                if least is not None and _is_worse(deviances, least) and len(deviances) < SPLITS:
                    state = "worse"
                    break
        except KeyboardInterrupt:
            state = "interrupted"
        except _OutOfTime:
            state, reason = "out of time", "the budget ended before it did"
        except _FAILURES as error:
            state, reason = "failed", str(error) or type(error).__name__
        return Trial(
            number=len(self.trials),
            point=point,
            settings=settings,
            state=state,
            deviances=tuple(deviances),
            seconds=self.clock() - began,
            reason=reason,
        )

    def _fitted(self, split: Split, config: RefineConfig) -> npt.NDArray[np.float64]:
        found = split.fit(config, device=self.device, dark=self.problem.dark, progress=self._watch)
        if not np.isfinite(found).all():
            raise FloatingPointError("the fit went astray: it predicts no finite counts for held-out frames")
        return found

    def _watch(self, done: int, total: int, measured: float | None = None, /) -> None:
        """Stop a fit when the budget has ended."""
        if self.clock() > self.deadline:
            raise _OutOfTime


def _is_worse(found: Sequence[npt.NDArray[np.float64]], least: Trial) -> bool:
    """Whether a trial is so much worse than the best, over the splits so far, that it cannot win."""
    seen = least.deviances[: len(found)]
    return float(np.concatenate(found).mean()) > _WORSE * float(np.concatenate(seen).mean())
