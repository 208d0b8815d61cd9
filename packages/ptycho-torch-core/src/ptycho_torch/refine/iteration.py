r"""Preconditioned gradient steps on even subsets of the frames, accelerated from epoch to epoch.

One epoch takes a step on every subset in turn, for the object

.. math:: O \leftarrow O - \frac{\nabla_O L_m}{\max(D_m, D/M) + \epsilon},

with the gradient of :mod:`ptycho_torch.refine.step` over subset m of M, its summed illumination
:math:`D_m` and that of all frames :math:`D`. This is the parallel form of ePIE/rPIE (Maiden,
Johnson and Li, Optica 4, 736, 2017) on ordered subsets. The epoch as a whole is then one step of
Nesterov's accelerated gradient method (1983) as in FISTA (Beck and Teboulle, SIAM J. Imaging
Sci. 2, 183, 2009),

.. math:: Y_{k+1} = O_{k+1} + \frac{t_k - 1}{t_{k+1}} (O_{k+1} - O_k), \qquad
          t_{k+1} = \tfrac12\left(1 + \sqrt{1 + 4 t_k^2}\right),

restarted when the momentum points uphill (O'Donoghue and Candes, Found. Comput. Math. 15, 715,
2015). Subsets and momentum together are those of Kim, Ramani and Fessler (IEEE Trans. Med. Imaging
34, 167, 2015). M is halved step by step down to one (:func:`ptycho_torch.refine.subsets.subset_counts`):
the last epochs see all frames at once and converge to the maximum of the likelihood instead of
wandering around it. The other unknowns, where wanted, are part of the same vector; their steps are those of
:mod:`ptycho_torch.refine.unknowns`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ptycho_config import RefineConfig
from ptycho_torch.data import Scan
from ptycho_torch.physics.propagation import FarField
from ptycho_torch.reassembly import StitchedObject
from ptycho_torch.reassembly.team import ALONE, Team
from ptycho_torch.refine.canvas import WorkingCanvas
from ptycho_torch.refine.compiled import arithmetic_for
from ptycho_torch.refine.error_bars.shot_noise import shot_noise
from ptycho_torch.refine.frames import FrameSource, mean_counts
from ptycho_torch.refine.likelihood import Likelihood, Misfit
from ptycho_torch.refine.modes import calibrated
from ptycho_torch.refine.propagation import propagation_of
from ptycho_torch.refine.residual import light_ratio
from ptycho_torch.refine.result import RefineResult, SubPixel
from ptycho_torch.refine.slow_phases import SlowPhases, waits_of
from ptycho_torch.refine.step import (
    Batching,
    batch_gradient,
    detector_ramp,
    frames_at_once,
    illumination_map,
)
from ptycho_torch.refine.sub_pixel import SolverPlacement, placement_of
from ptycho_torch.refine.subsets import deal, frames_per_pixel, z_order
from ptycho_torch.refine.tilt import tilt_of
from ptycho_torch.refine.unknowns import POSITION_MARGIN_PX, Published, Setup, Step, unknowns_of
from ptycho_torch.refine.unknowns.base import Indices
from ptycho_torch.refine.unknowns.geometry import room_px

__all__ = ["Iteration", "Probes"]

_NOISY_RISE = 1.05
_MARGIN_PX = 2

Probes = npt.NDArray[np.complex64]
"""Those of several scans, (scans, modes, N, N)."""


class Iteration:
    """State of one refinement.

    Parameters
    ----------
    scan, start, config
        As for :func:`ptycho_torch.refine.refine`; the settings fit the scan.
    device, dtype
        Where to compute, and in which complex dtype.
    processes
        Those that share the frames.
    like
        Another problem of the same measurement, whose gauge and probe hold here too; the start is in it.
    dark
        (N, N) counts that every frame shows without light, where they are known.
    probes
        (scans, modes, N, N): those of several scans, which ``scan.scan_index`` numbers, the first one that of
        the scan; None: all frames have the probe of the scan.
    canvas, illumination
        Array that the object is refined on, and the illumination of the frames there, where the caller knows
        them. See :meth:`grown`.

    Attributes
    ----------
    unknowns
        What is fitted, and what the model needs beside it.
    canvas
        Array that the object is refined on.
    illumination
        Real, ``(height, width)`` of the canvas: summed probe intensity of all frames.
    last_start
        Epoch in which the last of the unknowns begins to move.

    Raises
    ------
    DataError
        If the scan holds no counts, or its near field cannot be.
    ShapeError
        If the start does not fit the scan.
    """

    def __init__(
        self,
        scan: Scan,
        start: StitchedObject | None,
        config: RefineConfig,
        *,
        device: torch.device,
        dtype: torch.dtype,
        processes: Team = ALONE,
        like: Iteration | None = None,
        canvas: WorkingCanvas | None = None,
        illumination: Tensor | None = None,
        dark: npt.NDArray[np.floating] | None = None,
        probes: Probes | None = None,
    ) -> None:
        self.mean_counts: float = mean_counts(scan) if like is None else like.mean_counts
        given = scan.probe[None] if probes is None else probes
        calibrations = calibrated(given, config.probe_modes, self.mean_counts)
        self.config, self.dtype, self.n_pixels, self.n_frames = config, dtype, scan.N, scan.n_frames
        self.scale, self.real = calibrations[0].intensity_scale, dtype.to_real()
        self.frames = FrameSource(scan, self.scale, device, self.real)
        self.processes = processes
        self.sub_pixel = cast(SubPixel, config.sub_pixel)
        margin = POSITION_MARGIN_PX if config.refine_positions else _MARGIN_PX
        margin += room_px(config, scan.positions, scan.N, several=probes is not None)
        self.canvas = canvas or WorkingCanvas.around(scan.positions, scan.N, margin)
        self.origin = self.canvas.origin_tensor(device)
        ramp = detector_ramp(scan.N).to(device)
        # An object that is given has found its own tilt.
        self.tilt: tuple[int, int] = (0, 0) if like is None else like.tilt
        if like is None and start is None:
            self.tilt = tilt_of(scan if probes is None else scan.take(scan.scan_index == 0))
        ramped = [(one.probe.to(device) * ramp).to(dtype) for one in calibrations]
        setup = Setup(
            scan=scan,
            start=start,
            config=config,
            canvas=self.canvas,
            probe=ramped[0],
            probes=None if probes is None else torch.stack(ramped),
            ramp=ramp,
            intensity_scale=self.scale,
            dtype=dtype,
            tilt=self.tilt,
            dark=dark,
        )
        self.unknowns = unknowns_of(setup)
        propagation = propagation_of(scan, device, dtype)
        frames = np.arange(scan.n_frames)
        # Placement of all frames, for as long as none of them moves.
        self.everywhere: SolverPlacement | None = None
        if like is not None:
            self.unknowns.probe.go_on_from(like.unknowns.probe)
        elif start is not None:
            # The start may come from another gauge: it is scaled to the measured counts.
            gain = light_ratio(self.frames, self._placement(frames), self.unknowns, propagation) ** 0.5
            self.unknowns.object.start_from(setup, gain)
        self.t = 1.0
        self.objective = float("inf")
        self.order = z_order(scan.positions)
        self.rng = np.random.default_rng(config.refine_seed)
        self.last_start = max(unknown.first_epoch * unknown.fitted for unknown in self.unknowns)
        self.batching = Batching(
            likelihood=cast(Likelihood, config.likelihood),
            chunk=frames_at_once(device, scan.N**2 * len(ramped[0])),
            arithmetic=arithmetic_for(device, dtype, compiled=config.compiled_steps, propagation=propagation),
        )
        self.illumination = self._illumination(frames) if illumination is None else illumination
        counts = self.mean_counts * scan.n_frames if self.frames.knows_dose else None
        self.slow_phases = SlowPhases(scan.N, self.illumination, counts, waits_of(self.unknowns, config))

    def grown(self, scan: Scan) -> Iteration:
        """The problem with more frames, from where this one stands; momentum begins anew.

        What it costs grows with the frames that are added, and not with those that are there.

        Parameters
        ----------
        scan
            Holds the frames of this problem first, in the same order and with the same positions and probe.
        """
        canvas = self.canvas.with_room(scan.positions, scan.N)
        more = self._beside(scan, canvas, canvas.carried(self.illumination, self.canvas))
        more.illumination += more._illumination(np.arange(self.n_frames, scan.n_frames))
        return more

    def local(self, scan: Scan) -> Iteration:
        """The problem of some of the frames alone, on a canvas around them, from where this one stands.

        Parameters
        ----------
        scan
            Some of the frames of this problem.
        """
        part = self._beside(scan, WorkingCanvas.around(scan.positions, scan.N, self.canvas.margin_px))
        for unknown in part.unknowns:
            # What a part says of a probe belongs to its place; here it is as the whole has it.
            unknown.fitted = unknown is part.unknowns.object
        return part

    def take_over(self, local: Iteration) -> None:
        """Put what a local problem has reached into the object.

        Where other frames light the object too, what they have said of it keeps its share. The phase of an
        object is not measured: that of the local one is turned to what was there.

        Parameters
        ----------
        local
            From :meth:`local`.
        """
        top, left = np.rint(self.canvas.origin - local.canvas.origin).astype(int).tolist()
        height, width = local.canvas.shape
        here = (slice(top, top + height), slice(left, left + width))
        image = self.unknowns.object.now.clone()
        known, found, light = image[here], local.unknowns.object.now, local.illumination
        others = (self.illumination[here] - light).clamp_(min=0)
        agreement = (known * found.conj() * others * light).sum()
        size = agreement.abs()
        if float(size) > 0:
            found = found * (agreement / size)
        share = light / (light + others).clamp_(min=torch.finfo(self.real).tiny)
        image[here] = known + share * (found - known)
        for unknown in self.unknowns:
            unknown.go_back()
        self.unknowns.object.value = image
        self._stand()

    def _beside(self, scan: Scan, canvas: WorkingCanvas, illumination: Tensor | None = None) -> Iteration:
        """A problem in the gauge of this one, from where this one stands."""
        return Iteration(
            scan,
            self.standing(),
            self.config,
            device=self.origin.device,
            dtype=self.dtype,
            processes=self.processes,
            like=self,
            canvas=canvas,
            illumination=illumination,
        )

    def standing(self) -> StitchedObject:
        """The object as the last complete epoch left it, in the gauge of this problem."""
        return StitchedObject(
            object=self.canvas.crop(self.unknowns.object.now.to(torch.complex64)),
            weight=self.canvas.crop(self.illumination.float()),
            origin=np.array(self.canvas.geometry.origin),
        )

    def probe(self) -> npt.NDArray[np.complex64]:
        """The probe as the last complete epoch left it, (modes, N, N)."""
        ramp = detector_ramp(self.n_pixels).to(self.origin.device)
        light: npt.NDArray[np.complex64] = (
            (self.unknowns.probe.now * ramp.conj()).to(torch.complex64).cpu().numpy()
        )
        return light

    def frames_per_pixel(self) -> float:
        """How many frames light a pixel of the object: see the function of that name."""
        squares = self._illumination(np.arange(self.n_frames), order=2)
        return frames_per_pixel(self.illumination, squares)

    def run_epoch(self, epoch: int, n_subsets: int, *, go_on: Callable[[], bool] = lambda: True) -> Misfit:
        """One pass over all frames in ``n_subsets`` steps, then the momentum.

        Parameters
        ----------
        epoch
            Its number, from 0.
        n_subsets
            Steps.
        go_on
            Asked before every step; the first no ends the pass where it is, without momentum.

        Returns
        -------
        Misfit
            Of the frames that were looked at.
        """
        for unknown in self.unknowns:
            unknown.begin(epoch)
        moving = self.unknowns.moving()
        if any(unknown.moves_places for unknown in moving):
            self.everywhere = None
        elif self.everywhere is None:
            self.everywhere = self._placement(np.arange(self.n_frames))
        if any(unknown.moves_light for unknown in moving):
            self.illumination = self._illumination(self.order)
        misfit = Misfit()
        self.slow_phases.begin(n_subsets, self._share_of_step())
        batches = deal(self.order, n_subsets, self.rng)
        whole = self._steps(batches, n_subsets, misfit, go_on)
        self._join(misfit)
        if whole:
            self.slow_phases.carry(
                self.unknowns, self.illumination, self._placement, self.frames, self.batching, misfit.residual
            )
        # With one subset the misfit is that of the place where the epoch began, and so is this.
        misfit.objective += self.unknowns.object.objective(self.illumination)
        for unknown in moving:
            unknown.settle()
        if whole:
            for unknown in moving:
                unknown.take_along(self.unknowns.object, self.unknowns.probe)
            self._accelerate(misfit.per_photon, n_subsets)
        else:
            self._stand()
        return misfit

    def _steps(
        self, batches: list[Indices], n_subsets: int, misfit: Misfit, go_on: Callable[[], bool]
    ) -> bool:
        """A step on each batch; whether all were taken."""
        for indices in batches:
            if not go_on():
                return False
            self._step(indices, n_subsets, misfit)
        return True

    def _stand(self) -> None:
        """Take what was reached for the result, and lose the momentum."""
        self.t, self.objective = 1.0, float("inf")
        for unknown in self.unknowns:
            unknown.advance(0.0)

    def _step(self, indices: Indices, n_subsets: int, misfit: Misfit) -> None:
        """One step of all unknowns that move, on one batch."""
        mine, moving = self._share(indices), self.unknowns.moving()
        lit = self.illumination if n_subsets == 1 else torch.zeros_like(self.illumination)
        into = None if n_subsets == 1 else lit
        batch_gradient(self.unknowns, mine, self._placement(mine), self.frames, self.batching, misfit, into)
        if into is not None:
            self.processes.sum(into)
        for unknown in moving:
            for part in unknown.sums():
                self.processes.sum(part)
        step = Step(
            frames=indices,
            mine=mine,
            n_subsets=n_subsets,
            share=self._share_of_step(),
            illumination=self.illumination,
            batch_illumination=lit,
            processes=self.processes,
        )
        for unknown in moving:
            unknown.step(step)
        self.slow_phases.stepped(lit, self.illumination)

    def _share_of_step(self) -> float:
        """Length of a step: with several unknowns in one product, full ones in all would go too far."""
        return 1.0 / sum(unknown.n_factors for unknown in self.unknowns.moving())

    def _accelerate(self, objective: float, n_subsets: int) -> None:
        """Put the next epoch's start ahead of what this one reached, or on it where momentum misled."""
        image = self.unknowns.object
        back, step = (
            torch.view_as_real(part) for part in (image.ahead - image.value, image.value - image.now)
        )
        uphill = (back * step).sum() > 0
        # While several subsets pull in turn the objective also rises by their noise.
        allowed = 1.0 if n_subsets == 1 else _NOISY_RISE
        if bool(uphill) or objective > allowed * self.objective:
            self.t = 1.0
        self.objective = objective
        longer = (1 + (1 + 4 * self.t**2) ** 0.5) / 2
        for unknown in self.unknowns:
            unknown.advance((self.t - 1) / longer)
        self.t = longer

    def _placement(self, frames: Indices) -> SolverPlacement:
        if self.everywhere is not None:
            return self.everywhere.part(torch.from_numpy(frames))
        places = self.unknowns.places(frames)
        return placement_of(self.sub_pixel, places, self.n_pixels, self.canvas.shape, self.origin, self.real)

    def _share(self, indices: Indices) -> Indices:
        """Indices of a batch that this process works on; their sums are joined by an all-reduce."""
        return indices[self.processes.number :: self.processes.count]

    def _illumination(self, indices: Indices, *, order: int = 1) -> Tensor:
        """Summed probe intensity of frames, to a power."""
        mine = self._share(indices)
        arithmetic = self.batching.arithmetic
        total = illumination_map(self.unknowns, self._placement(mine), mine, arithmetic, order=order)
        self.processes.sum(total)
        return total

    def _join(self, misfit: Misfit) -> None:
        """Sums over the frames of all processes."""
        sums = torch.tensor(
            [misfit.difference, misfit.amplitude, misfit.objective, misfit.intensity],
            dtype=torch.float64,
            device=self.origin.device,
        )
        self.processes.sum(sums)
        misfit.difference, misfit.amplitude, misfit.objective, misfit.intensity = sums.tolist()

    def result(self, residuals: list[float], stopped: bool) -> RefineResult:
        """What the last complete epoch reached, in the gauge of the calibration."""
        for unknown in self.unknowns:
            unknown.go_back()
        fitted = self.unknowns
        made = Published(object=fitted.object.now, probe=fitted.probe.now, positions=fitted.positions.now)
        for unknown in self.unknowns:
            unknown.publish(made)
        # Without the other processes: after an interruption they may be gone.
        every = np.arange(self.n_frames)
        where = self._placement(every)
        # What the object took of the light when unknowns were published, the light lost.
        gain = 1.0 if self.config.slices > 1 else made.growth(self.unknowns.object.now)
        weight = illumination_map(self.unknowns, where, every, self.batching.arithmetic) / gain**2
        canvas = self.canvas
        if any(unknown.moves_places for unknown in self.unknowns.others):
            canvas = canvas.showing(made.positions.cpu().numpy(), self.n_pixels)
        stitched = StitchedObject(
            object=canvas.crop(made.object.to(torch.complex64)),
            weight=canvas.crop(weight.float()),
            origin=np.array(canvas.shown.origin),
        )
        # What shot noise leaves of slow phases in the near field, and of slices, is not in the formula.
        is_far = isinstance(self.batching.arithmetic.propagation, FarField) and self.config.slices == 1
        wanted = self.config.error_bars != "none" and self.frames.knows_dose and is_far
        scale = self.scale / gain**2
        return RefineResult(
            object=stitched,
            probe=made.probe.to(torch.complex64).cpu().numpy(),
            positions=made.positions.cpu().numpy(),
            others=made.others,
            said=made.said,
            intensity_scale=self.scale,
            residuals=tuple(residuals),
            stopped_early=stopped,
            sub_pixel=self.sub_pixel,
            error_bars=shot_noise(self.unknowns, where, weight, scale, canvas) if wanted else None,
        )
