"""Without a network: ordered-subset steps over a set of frames that grows.

Frames that have just come are solved first, the newest before the others, together with those around them and
from the object that is there. When none is left, sweeps over all frames follow, with momentum and fewer and
fewer subsets, as `ptycho_torch.refine.refine` makes them; they go on until the next frames come.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from scipy.spatial import cKDTree

from ptycho_config import RefineConfig, evolve
from ptycho_torch.data.scan.contract import Scan
from ptycho_torch.denormals import flushed_denormals
from ptycho_torch.live.engine import GoOn
from ptycho_torch.reassembly import StitchedObject
from ptycho_torch.refine.iteration import Iteration
from ptycho_torch.refine.settings import epochs_of
from ptycho_torch.refine.subsets import first_count, subset_counts
from ptycho_torch.refine.unknowns.base import Indices

__all__ = ["Sweeps"]

_AT_ONCE = 256
_EPOCHS = 8


class Sweeps:
    """Engine without a network.

    Parameters
    ----------
    config
        How to refine. Positions, doses, background and what the probe varies by are fitted when the scan is
        over, not while it grows.
    device
        Where to compute.
    """

    def __init__(self, config: RefineConfig, device: torch.device | str = "cpu") -> None:
        self.config = evolve(
            config,
            refine_positions=False,
            refine_geometry=False,
            refine_drift=False,
            position_search_px=None,
            refine_dose=False,
            refine_background="off",
            probe_variation=0,
            probe_variation_smooth=0.0,
        )
        self.device = torch.device(device)
        self.residual: float | None = None
        self._solver: Iteration | None = None
        self._scan: Scan | None = None
        self._numbers = np.empty(0, dtype=np.int64)
        self._unseen = np.empty(0, dtype=np.int64)
        self._most = 1
        self._plan: list[int] = []
        self._epoch = 0

    @property
    def n_unseen(self) -> int:
        """Frames that no step was taken on yet."""
        return len(self._unseen)

    def unseen(self) -> Indices:
        """Rows of these frames in the scan."""
        return self._unseen

    def begin(self, scan: Scan) -> None:
        """Start anew from the object that is there."""
        gone_over = np.delete(self._numbers, self._unseen)
        if self._solver is not None and self.config.refine_probe:
            scan = replace(scan, probe=self._solver.probe())
        with flushed_denormals(), torch.no_grad():
            self._solver = Iteration(
                scan, self.object(), self.config, device=self.device, dtype=torch.complex64
            )
            self._most = first_count(scan.n_frames, self._solver.frames_per_pixel(), quick=True)
        self._unseen = np.flatnonzero(~np.isin(scan.frame_index, gone_over))
        self._scan, self._numbers = scan, scan.frame_index
        self._plan_sweeps()

    def grow(self, scan: Scan) -> None:
        """Take frames more."""
        assert self._solver is not None
        assert self._scan is not None
        scan = replace(scan, probe=self._scan.probe)
        before = self._solver.n_frames
        with flushed_denormals(), torch.no_grad():
            self._solver = self._solver.grown(scan)
        self._unseen = np.concatenate([self._unseen, np.arange(before, scan.n_frames)])
        self._scan, self._numbers = scan, scan.frame_index
        self._plan_sweeps()

    def _plan_sweeps(self) -> None:
        """Sweeps over all frames, to follow when there is time."""
        self._plan, self._epoch = subset_counts(self._most, epochs_of(self.config)), 0

    def work(self, go_on: GoOn) -> bool:
        """Steps on the newest frames that have had none, or else one sweep over all."""
        solver, scan = self._solver, self._scan
        if solver is None or scan is None:
            return False
        with flushed_denormals(), torch.no_grad():
            if len(self._unseen):
                self._take_newest(solver, scan)
                return True
            return self._sweep(solver, go_on)

    def _take_newest(self, solver: Iteration, scan: Scan) -> None:
        """Solve the newest frames and those around them as a problem of their own, from what is known."""
        chosen = self._unseen[-_AT_ONCE:]
        self._unseen = self._unseen[: -len(chosen)]
        around = _around(scan, chosen, np.setdiff1d(np.arange(scan.n_frames), self._unseen))
        local = solver.local(scan.take(np.sort(np.concatenate([chosen, around]))))
        plan = subset_counts(first_count(local.n_frames, local.frames_per_pixel(), quick=True), _EPOCHS)
        for epoch, n_subsets in enumerate(plan):
            misfit = local.run_epoch(epoch, n_subsets)
        self.residual = misfit.residual
        solver.take_over(local)

    def _sweep(self, solver: Iteration, go_on: GoOn) -> bool:
        if self._epoch >= len(self._plan):
            return False
        misfit = solver.run_epoch(self._epoch, self._plan[self._epoch], go_on=go_on)
        if misfit.amplitude:
            self.residual = misfit.residual
        self._epoch += 1
        return self._epoch < len(self._plan)

    def object(self) -> StitchedObject | None:
        """The object as the last piece of work left it."""
        return None if self._solver is None else self._solver.standing()


def _around(scan: Scan, chosen: Indices, seen: Indices) -> Indices:
    """Frames among ``seen`` that overlap with the chosen ones: the nearest, at most as many as these."""
    others = np.setdiff1d(seen, chosen)
    if not len(others):
        return others
    tree = cKDTree(scan.positions[chosen])
    distance, _ = tree.query(scan.positions[others], distance_upper_bound=scan.N / 2)
    nearest = np.argsort(distance, kind="stable")[: len(chosen)]
    return others[nearest[np.isfinite(distance[nearest])]]
