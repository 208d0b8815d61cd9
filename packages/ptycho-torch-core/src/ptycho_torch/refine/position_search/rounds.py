r"""A round: solve for the object with the positions so far, then look for a better place for every frame.

Frames are moved all at once, and only where another place fits clearly better. Few misplaced frames come home
in one round; of many, some have to come home before the object shows the others where they belong, as in the
annealing of positions by Maiden et al. (Ultramicroscopy 120, 64, 2012), where trial shifts are random.
Stated positions count as prior knowledge: a place at distance d has to fit better by
:math:`\exp(d^2 / \nu\sigma^2)`, with :math:`\sigma` a third of the reach.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import torch

from ptycho_config import RefineConfig, evolve
from ptycho_torch.refine.canvas import WorkingCanvas
from ptycho_torch.refine.iteration import Iteration
from ptycho_torch.refine.position_search.levels import Level
from ptycho_torch.refine.position_search.others import Misfits, OtherFrames, Positions, Rows
from ptycho_torch.refine.subsets import first_count, subset_counts

__all__ = ["Round", "Rounds", "without_smooth_part"]

_EPOCHS = 10
_MARGIN_PX = 32
_CLEARLY = 0.95
_PRIOR_WEIGHT = 8.0
_NEAR_PX = 6.0
_FAR_PX = 1.5
_AWAY_PX = 4.0
_MEANS_NOTHING = 0.5
_BAD = 2.0
_MOST_BAD = 0.1
_LEAST_BAD = 4
_CHUNK_FRAMES = 256


@dataclass(frozen=True, kw_only=True)
class Round:
    """What a round found.

    Attributes
    ----------
    positions
        (n, 2) float64 ``[y, x]``; px of the level. After the moves.
    misfit
        (n,) float64: of every frame at its place, or at the better one that was found.
    n_far
        Frames that moved farther than the solver would have moved them.
    as_well_stated, as_well_elsewhere
        (n,) bool: the stated position, some pixels away, fits as well; another place some pixels away does.
        None where that was not looked at.
    """

    positions: Positions
    misfit: npt.NDArray[np.float64]
    n_far: int
    as_well_stated: npt.NDArray[np.bool_] | None = None
    as_well_elsewhere: npt.NDArray[np.bool_] | None = None


@dataclass(kw_only=True, eq=False)
class Rounds:
    """Rounds at one level.

    Attributes
    ----------
    level
        The scan.
    reach_px
        How far frames may lie beside their stated positions; px of the whole scan.
    config
        Likelihood and unknowns of the refinement.
    device, dtype
        Where to compute, and in which complex dtype.
    """

    level: Level
    reach_px: float
    config: RefineConfig
    device: torch.device
    dtype: torch.dtype
    canvas: WorkingCanvas = field(init=False)
    probe: npt.NDArray[np.complex64] = field(init=False)

    def __post_init__(self) -> None:
        self.probe = self.level.scan.probe
        around = [self.stated - self.reach, self.stated + self.reach]
        self.canvas = WorkingCanvas.around(np.concatenate(around), self.level.scan.N, _MARGIN_PX)

    @property
    def stated(self) -> Positions:
        """Positions of the scan, px of the level."""
        return self.level.scan.positions

    @property
    def reach(self) -> float:
        """The reach in px of the level."""
        return self.reach_px / self.level.pixel_px

    def far(self, positions: Positions, warm_up: int, *, share: float = 1.0) -> Round:
        """Look for frames at all places within reach of their stated positions.

        Parameters
        ----------
        positions
            (n, 2) float64 ``[y, x]``; px of the level.
        warm_up
            Epochs before positions and probe follow the object.
        share
            Share of the frames that is looked for, those that fit worst; the others a few pixels around their
            place.
        """
        others, positions = self._solved(positions, warm_up)
        made = self._around(others, positions) if share < 1 else None
        n_frames = len(positions)
        rows = np.arange(n_frames) if made is None else np.argsort(-made.misfit)[: int(share * n_frames)]
        maps = others.misfits(rows, self.stated, self._whole(self.reach_px), self.level.stride)
        if made is None:
            return self._moved(positions, dict(zip(rows, maps, strict=True)))
        return self._moved(made.positions, dict(zip(rows, maps, strict=True)), made)

    def near(self, positions: Positions, warm_up: int) -> Round:
        """Look for every frame some pixels beside its place, and for those that fit badly everywhere."""
        others, positions = self._solved(positions, warm_up)
        rows = np.arange(len(positions))
        maps = others.misfits(rows, positions, self._whole(_NEAR_PX), 1)
        made = self._moved(positions, dict(zip(rows, maps, strict=True)))
        made = self._restarted(made, others, _worst(made.misfit))
        # What frames miss where they belong is the error of the model: smaller differences mean nothing.
        allowed = made.misfit + _MEANS_NOTHING * np.median(made.misfit)
        stated = [float(one.misfit[0, 0]) for one in others.misfits(rows, self.stated, 0, 1)]
        away = np.hypot(*(made.positions - self.stated).T) * self.level.pixel_px > _AWAY_PX
        return replace(
            made,
            as_well_stated=away & (np.array(stated) < allowed),
            as_well_elsewhere=np.array(
                [self._fits_beside(one, made.positions[row], allowed[row]) for row, one in enumerate(maps)]
            ),
        )

    def _fits_beside(self, found: Misfits, place: Positions, allowed: float) -> bool:
        """Whether a frame fits as well some pixels beside its place."""
        distance = np.hypot(*np.moveaxis(found.places - place, -1, 0)) * self.level.pixel_px
        return bool((found.misfit[distance >= _AWAY_PX] < allowed).any())

    def _around(self, others: OtherFrames, positions: Positions) -> Round:
        """Look for every frame some pixels beside its place."""
        rows = np.arange(len(positions))
        maps = others.misfits(rows, positions, self._whole(_NEAR_PX), 1)
        return self._moved(positions, dict(zip(rows, maps, strict=True)))

    def _restarted(self, made: Round, others: OtherFrames, bad: Rows) -> Round:
        """Look for frames that fit badly at all places, with and without those that fit badly too."""
        places, misfit, n_far = made.positions.copy(), made.misfit.copy(), made.n_far
        for without in (bad[:0], bad):
            # Two frames that were misplaced together hold each other.
            others.leave_out(without)
            for row, one in zip(
                bad, others.misfits(bad, self.stated, self._whole(self.reach_px), 1), strict=True
            ):
                at = np.unravel_index(int(one.misfit.argmin()), one.misfit.shape)
                if one.misfit[at] < _CLEARLY * misfit[row]:
                    n_far += int(np.hypot(*(one.places[at] - places[row])) > _FAR_PX)
                    places[row], misfit[row] = one.places[at], one.misfit[at]
        return replace(made, positions=places, misfit=misfit, n_far=n_far)

    def _whole(self, distance_px: float) -> int:
        return max(1, int(np.ceil(distance_px / self.level.pixel_px)))

    def _solved(self, positions: Positions, warm_up: int) -> tuple[OtherFrames, Positions]:
        """The object of the positions, which move a little with it."""
        config = evolve(self.config, refine_warm_up=warm_up)
        scan = replace(self.level.scan, positions=positions, probe=self.probe)
        solved = Iteration(
            scan,
            None,
            config,
            device=self.device,
            dtype=self.dtype,
            canvas=self.canvas,
            dark=self.level.dark,
        )
        counts = subset_counts(first_count(scan.n_frames, solved.frames_per_pixel(), quick=True), _EPOCHS)
        for epoch, n_subsets in enumerate(counts):
            solved.run_epoch(epoch, n_subsets)
        self.probe = solved.probe()
        places = solved.unknowns.positions
        places.now = torch.from_numpy(self._within(places.now.cpu().numpy())).to(self.device)
        return OtherFrames(solved, self.level.dark), places.now.cpu().numpy()

    def _within(self, positions: Positions) -> Positions:
        """Positions with the mean that was stated, none out of reach."""
        moves = positions - self.stated
        return self.stated + np.clip(moves - moves.mean(axis=0), -self.reach, self.reach)

    def _best(self, row: int, found: Misfits) -> tuple[Positions, float]:
        """Best place of a frame, prior knowledge counted, and the misfit there."""
        weighted = found.misfit * self._prior(row, found.places)
        at = np.unravel_index(int(weighted.argmin()), weighted.shape)
        return found.places[at], float(found.misfit[at])

    def _prior(self, row: int, places: Positions) -> npt.NDArray[np.float64]:
        distance = ((places - self.stated[row]) ** 2).sum(axis=-1)
        factor: npt.NDArray[np.float64] = np.exp(distance / (_PRIOR_WEIGHT * (self.reach / 3) ** 2))
        return factor

    def _moved(self, positions: Positions, maps: dict[int, Misfits], before: Round | None = None) -> Round:
        """Move the frames that fit clearly better elsewhere.

        Parameters
        ----------
        positions
            Where all frames are.
        maps
            Misfits of some of them, by number; of all, if this is the first look.
        before
            What an earlier look found.
        """
        misfit = np.full(len(positions), np.inf) if before is None else before.misfit.copy()
        places, n_far = positions.copy(), 0 if before is None else before.n_far
        for row, one in maps.items():
            place, best = self._best(row, one)
            if before is None and not np.isnan(one.here):
                misfit[row] = one.here
            prior = self._prior(row, np.stack([place, positions[row]]))
            if best * prior[0] < _CLEARLY * misfit[row] * prior[1]:
                n_far += int(np.hypot(*(place - positions[row])) > _FAR_PX)
                places[row], misfit[row] = place, best
        return Round(positions=places, misfit=misfit, n_far=n_far)


def _worst(misfit: npt.NDArray[np.float64]) -> Rows:
    """Frames that fit much worse than most, the worst of them if they are many."""
    order = np.argsort(-misfit)
    bad = order[misfit[order] > _BAD * np.median(misfit)]
    return bad[: max(_LEAST_BAD, int(_MOST_BAD * len(misfit)))]


def without_smooth_part(positions: Positions, stated: Positions, width: float) -> Positions:
    """Positions without what their displacements have in common with those of their neighbours.

    Errors of single frames leave no such part. Where whole groups of frames were moved together, they hold
    on to each other at a wrong place.

    Parameters
    ----------
    positions, stated
        (n, 2) float64; any unit.
    width
        Standard deviation of the Gaussian that weighs the neighbours; in that unit.
    """
    moves, smooth = positions - stated, np.empty_like(positions)
    for start in range(0, len(positions), _CHUNK_FRAMES):
        chosen = slice(start, start + _CHUNK_FRAMES)
        distance = ((positions[chosen, None] - positions[None]) ** 2).sum(axis=-1)
        weight = np.exp(-distance / (2 * width**2))
        smooth[chosen] = weight @ moves / weight.sum(axis=1, keepdims=True)
    return np.asarray(positions - smooth)
