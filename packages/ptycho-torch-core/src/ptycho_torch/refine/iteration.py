r"""Preconditioned gradient steps on even subsets of the frames, accelerated from epoch to epoch.

One epoch takes a step on every subset in turn,

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
wandering around it. Probe and positions, where wanted, are part of the same vector.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ptycho_torch.data import Scan
from ptycho_torch.errors import DataError
from ptycho_torch.physics import calibrate, with_power
from ptycho_torch.reassembly import StitchedObject
from ptycho_torch.reassembly.processes import Processes
from ptycho_torch.refine.canvas import WorkingCanvas
from ptycho_torch.refine.frames import FrameSource
from ptycho_torch.refine.likelihood import Likelihood, Misfit
from ptycho_torch.refine.modes import with_modes
from ptycho_torch.refine.placement import SolverPlacement, placement_of
from ptycho_torch.refine.residual import dose_of
from ptycho_torch.refine.result import RefineResult, SubPixel
from ptycho_torch.refine.smoothness import LARGEST_CURVATURE, roughness, roughness_gradient
from ptycho_torch.refine.step import (
    BatchGradient,
    BatchSettings,
    State,
    batch_gradient,
    detector_ramp,
    illumination_map,
)
from ptycho_torch.refine.subsets import deal, z_order

__all__ = ["Iteration"]

_FLOOR = 1e-3
_NOISY_RISE = 1.05
_POSITION_MARGIN_PX = 16
_CPU_CHUNK_VALUES = 1 << 17
_GPU_CHUNK_VALUES = 1 << 24


class Iteration:
    """State of one refinement.

    Attributes
    ----------
    now
        Result of the last epoch, O_k.
    ahead
        Where the next epoch starts, Y_k.
    last_start
        Epoch in which the last of the unknowns begins to move.
    """

    def __init__(
        self,
        scan: Scan,
        start: StitchedObject | None,
        *,
        device: torch.device,
        dtype: torch.dtype,
        likelihood: Likelihood,
        sub_pixel: SubPixel,
        fits: tuple[bool, bool],
        probe_modes: int | None,
        smoothness: float,
        warm_up: int | None,
        seed: int,
    ) -> None:
        self.smoothness = smoothness
        self.fits_probe, self.fits_positions = fits
        mean_counts = float(scan.counts_per_frame().mean())
        if not mean_counts > 0:
            raise DataError("diffraction: expected counts, got none in any frame", scan.source)
        probe = scan.probe if probe_modes is None else with_modes(scan.probe, probe_modes)
        calibration = calibrate(torch.from_numpy(probe), mean_counts)
        self.n_pixels = scan.N
        self.scale = calibration.intensity_scale
        real = torch.float32 if dtype == torch.complex64 else torch.float64
        self.frames = FrameSource(scan, self.scale, device, real)
        self.processes = Processes.joined()
        self.sub_pixel: SubPixel = sub_pixel
        margin = _POSITION_MARGIN_PX if self.fits_positions else 2
        self.canvas = WorkingCanvas.around(scan.positions, scan.N, margin)
        self.origin = self.canvas.origin_tensor(device)
        self.ramp = detector_ramp(scan.N).to(device)
        self.now = State(
            torch.from_numpy(self.canvas.lay(start)).to(device=device, dtype=dtype),
            (calibration.probe.to(device) * self.ramp).to(dtype),
            torch.from_numpy(scan.positions.copy()).to(device),
        )
        if start is not None:
            # The start may come from another gauge: it is scaled to the measured counts.
            gain = dose_of(self.frames, self._placement(self.now), self.now) ** 0.5
            scaled = replace(start, object=np.asarray(start.object) * gain)
            self.now.object = torch.from_numpy(self.canvas.lay(scaled)).to(device=device, dtype=dtype)
        self.start_positions = self.now.positions.clone()
        self.ahead = self.now.clone()
        self.t = 1.0
        self.objective = float("inf")
        self.order = z_order(scan.positions)
        self.rng = np.random.default_rng(seed)
        flat = start is None
        self.probe_start = (2 if flat else 0) if warm_up is None else warm_up
        self.position_start = (5 if flat else 0) if warm_up is None else warm_up
        self.last_start = max(self.probe_start * self.fits_probe, self.position_start * self.fits_positions)
        values = _CPU_CHUNK_VALUES if device.type == "cpu" else _GPU_CHUNK_VALUES
        chunk = max(1, values // (scan.N**2 * len(probe)))
        self.settings = BatchSettings(likelihood=likelihood, probe=False, positions=False, chunk=chunk)
        self.illumination = self._illumination(self.now, np.arange(scan.n_frames))

    def run_epoch(self, epoch: int, n_subsets: int) -> Misfit:
        """One pass over all frames in ``n_subsets`` steps, then the momentum."""
        self.settings = replace(
            self.settings,
            probe=self.fits_probe and epoch >= self.probe_start,
            positions=self.fits_positions and epoch >= self.position_start,
        )
        moving = self.ahead.clone()
        if self.settings.probe or self.settings.positions:
            self.illumination = self._illumination(moving, self.order)
        misfit = Misfit()
        for indices in deal(self.order, n_subsets, self.rng):
            mine = self._share(indices)
            placement = self._placement(moving, mine)
            gradient = batch_gradient(moving, mine, placement, self.frames, self.settings, misfit)
            for part in (gradient.object, gradient.probe, gradient.object_power):
                if part is not None:
                    self.processes.sum(part)
            self._step(moving, gradient, indices, n_subsets)
        self._join(misfit)
        if self.smoothness:
            # With one subset the misfit is that of the place where the epoch began, and so is this.
            misfit.objective += float(self._penalty() * roughness(self.ahead.object))
        if self.settings.positions:
            # Where all positions shift together the object follows: their mean is fixed.
            moving.positions -= (moving.positions - self.start_positions).mean(dim=0)
        self._accelerate(moving, misfit.per_photon, n_subsets)
        return misfit

    def _step(
        self,
        state: State,
        gradient: BatchGradient,
        indices: npt.NDArray[np.int64],
        n_subsets: int,
    ) -> None:
        divisor = self.illumination / n_subsets
        if n_subsets > 1:
            divisor = torch.maximum(divisor, self._illumination(state, indices))
        # With two unknowns in one product, full steps in both would go twice as far as one.
        share = 0.5 if gradient.probe is not None else 1.0
        floor = _FLOOR * float(self.illumination.max()) / n_subsets
        direction = gradient.object
        if self.smoothness:
            penalty = self._penalty() / n_subsets
            direction = direction + penalty * roughness_gradient(state.object)
            divisor = divisor + LARGEST_CURVATURE * penalty
        state.object -= direction * (share / (divisor + floor))
        if gradient.probe is not None and gradient.object_power is not None:
            power = gradient.object_power
            if self.sub_pixel == "probe":
                # Moved back by fractions of a pixel the power is no diagonal curvature any more; its largest
                # value bounds it, as in ePIE (Maiden and Rodenburg, Ultramicroscopy 109, 1256, 2009).
                power = power.max().expand_as(power)
            divisor = power + _FLOOR * power.max()
            state.probe -= gradient.probe * (share / divisor)
        if self.settings.positions:
            moves = torch.zeros_like(state.positions)
            if gradient.moves is not None:
                moves[torch.from_numpy(self._share(indices))] = gradient.moves
            self.processes.sum(moves)
            state.positions += moves
            limit = _POSITION_MARGIN_PX - 2.0
            state.positions = torch.clamp(
                state.positions, self.start_positions - limit, self.start_positions + limit
            )

    def _penalty(self) -> float:
        """Weight of the roughness in the units of the misfit."""
        return self.smoothness * float(self.illumination.max())

    def _accelerate(self, reached: State, objective: float, n_subsets: int) -> None:
        """Put the next epoch's start ahead of what this one reached, or on it where momentum misled."""
        step = reached.object - self.now.object
        uphill = ((self.ahead.object - reached.object).conj() * step).real.sum() > 0
        # While several subsets pull in turn the objective also rises by their noise.
        allowed = 1.0 if n_subsets == 1 else _NOISY_RISE
        if bool(uphill) or objective > allowed * self.objective:
            self.t = 1.0
        self.objective = objective
        longer = (1 + (1 + 4 * self.t**2) ** 0.5) / 2
        momentum = (self.t - 1) / longer
        self.ahead = State(
            reached.object + momentum * step,
            reached.probe + momentum * (reached.probe - self.now.probe),
            reached.positions + momentum * (reached.positions - self.now.positions),
        )
        self.now, self.t = reached, longer

    def _placement(self, state: State, indices: npt.NDArray[np.int64] | None = None) -> SolverPlacement:
        chosen = state.positions if indices is None else state.positions[torch.from_numpy(indices)]
        real = state.object.real.dtype
        return placement_of(self.sub_pixel, chosen, self.n_pixels, self.canvas.shape, self.origin, real)

    def _share(self, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Frames of a batch that this process works on; their sums are joined by an all-reduce."""
        return indices[self.processes.number :: self.processes.count]

    def _illumination(self, state: State, indices: npt.NDArray[np.int64]) -> Tensor:
        """Summed probe intensity of frames."""
        total = illumination_map(self._placement(state, self._share(indices)), state.probe)
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

    def result(self, residuals: list[float], objectives: list[float], stopped: bool) -> RefineResult:
        """What was reached, in the gauge of the calibration."""
        state = self.now
        probe = state.probe * self.ramp.conj().to(state.probe.dtype)
        image = state.object
        if self.fits_probe:
            power = (self.n_pixels / 2) ** 2
            gauged = with_power(_orthogonal(probe), power)
            image = image * (probe.abs().square().sum() / power).sqrt()
            probe = gauged
        # Without the other processes: after an interruption they may be gone.
        weight = illumination_map(self._placement(state), state.probe)
        stitched = StitchedObject(
            object=self.canvas.crop(image.to(torch.complex64)),
            weight=self.canvas.crop(weight.float()),
            origin=np.array(self.canvas.geometry.origin),
        )
        return RefineResult(
            object=stitched,
            probe=probe.to(torch.complex64).cpu().numpy(),
            positions=state.positions.cpu().numpy(),
            intensity_scale=self.scale,
            residuals=tuple(residuals),
            objectives=tuple(objectives),
            stopped_early=stopped,
            sub_pixel=self.sub_pixel,
        )


def _orthogonal(probe: Tensor) -> Tensor:
    """Orthogonal modes of the same mutual intensity, strongest first.

    Incoherent modes are known up to a unitary mixture; the singular vectors single one out
    (Thibault and Menzel, Nature 494, 68, 2013).
    """
    if len(probe) == 1:
        return probe
    _, values, modes = torch.linalg.svd(probe.reshape(len(probe), -1), full_matrices=False)
    return (values.to(probe.dtype)[:, None] * modes).reshape(probe.shape)
