"""Refine an object, and on request probe, positions and doses, against the frames of a scan."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch

from ptycho_torch.data import Scan
from ptycho_torch.denormals import flushed_denormals
from ptycho_torch.errors import DataError
from ptycho_torch.reassembly import StitchedObject
from ptycho_torch.refine.iteration import Iteration
from ptycho_torch.refine.likelihood import LIKELIHOODS, Likelihood
from ptycho_torch.refine.result import SUB_PIXEL, RefinementInterrupted, RefineResult, SubPixel
from ptycho_torch.refine.subsets import subset_counts

__all__ = ["refine"]

_PATIENCE = 5


def refine(
    scan: Scan,
    start: StitchedObject | None = None,
    *,
    epochs: int = 60,
    batch_size: int | None = None,
    refine_probe: bool = False,
    refine_positions: bool = False,
    probe_modes: int | None = None,
    likelihood: Likelihood = "poisson",
    sub_pixel: SubPixel = "object",
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.complex64,
    smoothness: float = 0.0,
    tolerance: float = 1e-5,
    warm_up: int | None = None,
    seed: int = 0,
    progress: Callable[[int, int, float], None] | None = None,
) -> RefineResult:
    """Refine an object against all measured frames of a scan.

    Parameters
    ----------
    scan
        Frames, positions and probe. Frames are read batch by batch from its array.
    start
        Object to start from, in the coordinates of the scan; it is scaled to the measured counts.
        None: one everywhere.
    epochs
        Passes over all frames, at most.
    batch_size
        Frames per step in the first epochs, 1 to n; later batches grow. None: a 32nd of the frames.
    refine_probe, refine_positions
        Fit the probe modes, and the position of every frame, together with the object. The mean of
        all positions stays: with the object it forms one unknown too many.
    probe_modes
        Incoherent modes to fit, no fewer than the probe has; weak ones are added to it, see
        :func:`ptycho_torch.refine.modes.with_modes`. Needs ``refine_probe``. None: those it has.
    likelihood
        ``"poisson"`` for counts with shot noise, ``"amplitude"`` for the distance of amplitudes, which
        forgives a wrong model more and is biased where frames hold few counts.
    sub_pixel
        What moves by fractions of a pixel. ``"object"``: bilinear interpolation, the model of the networks
        and the simulator. ``"probe"``: Fourier shift of the probe, band-limited, as in an experiment.
    device
        Where to compute. Where a process group of :mod:`torch.distributed` is up, every process calls
        this with the same arguments and takes its share of the frames. Repeated runs agree bit for bit
        on a CPU with one thread.
    dtype
        complex64 or complex128.
    smoothness
        Weight of the squared differences between neighbouring pixels of the object, as a share of the
        brightest illumination; 0 leaves the object to the frames alone. It quiets the noise of few counts and
        takes fine detail with it.
    tolerance
        Relative fall of the objective, per epoch, below which the run ends. It is looked at over five
        epochs and only when a batch holds all frames; 0 runs all epochs.
    warm_up
        Epochs in which only the object moves. None: 0 with a start; 2 before the probe and 5 before
        the positions without one.
    seed
        Seed of the order of frames.
    progress
        Called after every epoch with its number, ``epochs`` and the forward residual.

    Returns
    -------
    RefineResult

    Raises
    ------
    ShapeError
        If the start does not fit the scan.
    DataError
        If the scan holds no counts.
    ValueError
        If a setting is outside its range.
    FloatingPointError
        If the objective stops being a finite number.
    RefinementInterrupted
        On Ctrl-C, with what the last complete epoch reached; before the first one, a plain
        KeyboardInterrupt.

    Examples
    --------
    >>> from ptycho_torch.data.simulation.simulate import simulate_scene
    >>> from ptycho_torch.refine import refine
    >>> scan = simulate_scene("random_field", N=32, grid=(6, 6), step_px=4.0, jitter_px=1.0, seed=1)
    >>> result = refine(scan, epochs=20)
    >>> result.residuals[-1] < result.residuals[0]
    True
    """
    _check_settings(scan, epochs, batch_size, likelihood, dtype, tolerance, warm_up)
    if not 0 <= smoothness < math.inf:
        raise ValueError(f"smoothness: expected 0 or more, got {smoothness}")
    if probe_modes is not None and (probe_modes < scan.n_modes or not refine_probe):
        needed = f"{scan.n_modes} or more, and refine_probe"
        raise ValueError(
            f"probe_modes: expected {needed}, got {probe_modes} with refine_probe={refine_probe}"
        )
    if sub_pixel not in SUB_PIXEL:
        raise ValueError(f"sub_pixel: expected one of {', '.join(SUB_PIXEL)}, got {sub_pixel!r}")
    with flushed_denormals(), torch.no_grad():
        solver = Iteration(
            scan,
            start,
            device=torch.device(device),
            dtype=dtype,
            likelihood=likelihood,
            sub_pixel=sub_pixel,
            fits=(refine_probe, refine_positions),
            probe_modes=probe_modes,
            smoothness=smoothness,
            warm_up=warm_up,
            seed=seed,
        )
        size = max(1, scan.n_frames // 32) if batch_size is None else batch_size
        plan = subset_counts(scan.n_frames, size, epochs)
        return _run(solver, plan, tolerance, progress)


def _run(
    solver: Iteration,
    plan: Sequence[int],
    tolerance: float,
    progress: Callable[[int, int, float], None] | None,
) -> RefineResult:
    """Epochs until the plan ends, the objective stops falling, or somebody interrupts."""
    objectives: list[float] = []
    residuals: list[float] = []
    for epoch, n_subsets in enumerate(plan):
        try:
            misfit = solver.run_epoch(epoch, n_subsets)
            objectives.append(misfit.per_photon)
            residuals.append(misfit.residual)
            _require_finite(misfit.per_photon, epoch)
            if progress is not None:
                progress(epoch + 1, len(plan), misfit.residual)
        except KeyboardInterrupt:
            if not residuals:
                raise
            raise RefinementInterrupted(solver.result(residuals, objectives, stopped=True)) from None
        settled = plan[max(0, epoch - _PATIENCE)] == n_subsets == 1 and epoch >= solver.last_start + _PATIENCE
        if settled and epoch + 1 < len(plan) and _has_stalled(objectives, tolerance):
            return solver.result(residuals, objectives, stopped=True)
    return solver.result(residuals, objectives, stopped=False)


def _require_finite(objective: float, epoch: int) -> None:
    if not math.isfinite(objective):
        raise FloatingPointError(
            f"objective: expected a finite number, got {objective} in epoch {epoch + 1}; "
            "use larger batches, or start without refining probe and positions"
        )


def _has_stalled(objectives: list[float], tolerance: float) -> bool:
    before, now = objectives[-1 - _PATIENCE], objectives[-1]
    return tolerance > 0 and before - now < tolerance * _PATIENCE * abs(before)


def _check_settings(
    scan: Scan,
    epochs: int,
    batch_size: int | None,
    likelihood: str,
    dtype: torch.dtype,
    tolerance: float,
    warm_up: int | None,
) -> None:
    if epochs < 1:
        raise ValueError(f"epochs: expected 1 or more, got {epochs}")
    if batch_size is not None and not 1 <= batch_size <= scan.n_frames:
        raise ValueError(f"batch_size: expected 1 to {scan.n_frames} frames, got {batch_size}")
    if likelihood not in LIKELIHOODS:
        raise ValueError(f"likelihood: expected one of {', '.join(LIKELIHOODS)}, got {likelihood!r}")
    if dtype not in (torch.complex64, torch.complex128):
        raise ValueError(f"dtype: expected torch.complex64 or torch.complex128, got {dtype}")
    if not 0 <= tolerance < 1:
        raise ValueError(f"tolerance: expected 0 or more and less than 1, got {tolerance}")
    if warm_up is not None and warm_up < 0:
        raise ValueError(f"warm_up: expected 0 epochs or more, got {warm_up}")
    if not np.isfinite(scan.positions).all():
        raise DataError(
            "positions: expected finite values, got NaN or infinity; leave those frames out with take",
            scan.source,
        )
