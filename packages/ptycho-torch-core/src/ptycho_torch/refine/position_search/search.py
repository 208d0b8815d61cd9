"""Positions of frames that may lie many pixels beside the stated ones, from coarse to fine."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

from ptycho_config import RefineConfig
from ptycho_torch.control import Progress
from ptycho_torch.data import Scan
from ptycho_torch.reassembly.team import Team
from ptycho_torch.refine.position_search.levels import Level, levels_of, with_middle
from ptycho_torch.refine.position_search.others import Positions, Rows
from ptycho_torch.refine.position_search.rounds import Round, Rounds, without_smooth_part
from ptycho_torch.refine.result import RefineResult

__all__ = ["PositionsFound", "find_positions"]

_MOST_FAR = 12
_MOST_NEAR = 4
_SETTLED = 0.005
_MANY = 0.1
_LEAST_SHARE = 0.3
_LEVELLINGS = 2
_ROUNDS_BETWEEN = 3
_WARM_UP = 4
_BETTER = 0.95
_UNEXPLAINED = 8.0
_WORTH_TELLING_PX = 2.0


@dataclass(frozen=True, kw_only=True)
class PositionsFound:
    """Positions to refine from.

    Attributes
    ----------
    positions
        (n, 2) float64 ``[y, x]``; px.
    unsettled
        Rows of the frames that fit nowhere, or elsewhere as well. They are where they were stated if they fit
        there as well, or nowhere, and where they fit best otherwise.
    stated
        (n, 2) float64 ``[y, x]``; px. Positions of the scan.
    """

    positions: Positions
    unsettled: Rows
    stated: Positions

    def told(self, result: RefineResult) -> RefineResult:
        """A result, with what the search has to say of it."""
        moves = result.positions - self.stated
        distance = np.hypot(*(moves - np.median(moves, axis=0)).T)
        words = (
            f"{np.count_nonzero(distance > _WORTH_TELLING_PX)} of {len(distance)} frames lay more than "
            f"{_WORTH_TELLING_PX:g} px beside their stated positions, the farthest {distance.max():.1f} px"
        )
        if len(self.unsettled):
            words += f"; not settled: {', '.join(map(str, self.unsettled))}"
        return replace(
            result,
            others={**result.others, "unsettled_frames": self.unsettled},
            said={**result.said, "positions": words},
        )


def find_positions(
    scan: Scan,
    config: RefineConfig,
    *,
    device: torch.device,
    dtype: torch.dtype,
    processes: Team,
    dark: npt.NDArray[np.floating] | None,
    progress: Progress | None = None,
) -> PositionsFound:
    """Find frames within ``position_search_px`` of their stated positions.

    The positions come back as they were stated if others do not explain the frames clearly better.

    Parameters
    ----------
    scan, device, dtype, processes, dark
        As for :func:`ptycho_torch.refine.refine`. The first process searches, the others wait.
    config
        Settings of the refinement.
    progress
        Called after every round with its number, the most there may be, and the mean misfit.
    """
    assert config.position_search_px is not None
    n = scan.n_frames
    found = torch.zeros(n, 3, dtype=torch.float64)
    if processes.number == 0:
        search = _Search(scan, config, device, dtype, dark, progress)
        places, unsettled = search.run()
        found[:, :2], found[unsettled, 2] = torch.from_numpy(places), 1.0
    found = processes.sum(found.to(device)).cpu()
    return PositionsFound(
        positions=found[:, :2].numpy().copy(),
        unsettled=np.flatnonzero(found[:, 2].numpy()),
        stated=scan.positions,
    )


class _Search:
    """One search."""

    def __init__(
        self,
        scan: Scan,
        config: RefineConfig,
        device: torch.device,
        dtype: torch.dtype,
        dark: npt.NDArray[np.floating] | None,
        progress: Progress | None,
    ) -> None:
        self.scan, self.progress, self.n_rounds = scan, progress, 0
        self.settings = RefineConfig(
            refine_positions=True,
            refine_probe=config.refine_probe,
            refine_dose=config.refine_dose,
            refine_background=config.refine_background,
            likelihood=config.likelihood,
            sub_pixel=config.sub_pixel,
            compiled_steps=config.compiled_steps,
            error_bars="none",
        )
        assert config.position_search_px is not None
        self.reach_px = config.position_search_px
        self.levels = levels_of(scan, dark)
        self.device, self.dtype = device, dtype

    def run(self) -> tuple[Positions, Rows]:
        """Positions, and the frames whose place nothing settles."""
        coarse = self._rounds(self.levels[0])
        pixel = coarse.level.pixel_px
        positions = self._far(coarse) * pixel
        fine = self._rounds(self.levels[-1])
        fine.probe = with_middle(fine.probe, coarse.probe)
        last = self._near(fine, positions / fine.level.pixel_px)
        stated = fine.near(fine.stated, _WARM_UP)
        if last.misfit.mean() > _BETTER * stated.misfit.mean():
            return self.scan.positions.copy(), np.flatnonzero(_unexplained(stated))
        assert last.as_well_stated is not None
        assert last.as_well_elsewhere is not None
        back = _unexplained(last) | last.as_well_stated
        unsettled = np.flatnonzero(back | last.as_well_elsewhere)
        places = last.positions * fine.level.pixel_px
        places += np.median(self.scan.positions - places, axis=0)
        places[back] = self.scan.positions[back]
        return places, unsettled

    def _rounds(self, level: Level) -> Rounds:
        return Rounds(
            level=level, reach_px=self.reach_px, config=self.settings, device=self.device, dtype=self.dtype
        )

    def _far(self, rounds: Rounds) -> Positions:
        """Rounds in which every frame may go anywhere within reach; px of the level."""
        width = _diameter(rounds.level.scan.probe) / 2
        positions, levelled, since, share = rounds.stated, 0, 0, 1.0
        for _ in range(_MOST_FAR):
            made = rounds.far(positions, _WARM_UP, share=share)
            share = 1.0 if made.n_far > _MANY * len(positions) else _LEAST_SHARE
            self._tell(made)
            positions, since = made.positions, since + 1
            settled = made.n_far <= _SETTLED * len(positions)
            if levelled < _LEVELLINGS and (settled or since == _ROUNDS_BETWEEN):
                positions = without_smooth_part(positions, rounds.stated, width)
                levelled, since = levelled + 1, 0
            elif settled:
                break
        return positions

    def _near(self, rounds: Rounds, positions: Positions) -> Round:
        """Rounds in which most frames stay about where they are."""
        made = rounds.near(positions, _WARM_UP)
        for _ in range(_MOST_NEAR - 1):
            self._tell(made)
            if made.n_far <= _SETTLED * len(positions):
                break
            made = rounds.near(made.positions, _WARM_UP)
        return made

    def _tell(self, made: Round) -> None:
        self.n_rounds += 1
        if self.progress is not None:
            self.progress(self.n_rounds, _MOST_FAR + _MOST_NEAR, float(made.misfit.mean()))


def _unexplained(made: Round) -> npt.NDArray[np.bool_]:
    return np.asarray(made.misfit > _UNEXPLAINED * np.median(made.misfit))


def _diameter(probe: npt.NDArray[np.complex64]) -> float:
    """Diameter of the disk that is as bright as the probe in the mean; px."""
    power = (np.abs(probe) ** 2).sum(axis=0, dtype=np.float64)
    return float(np.sqrt(4 / np.pi * power.sum() ** 2 / (power**2).sum()))
