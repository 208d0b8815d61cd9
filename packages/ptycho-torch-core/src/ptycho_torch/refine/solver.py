"""Refine an object, and on request probe, positions and doses, against the frames of a scan."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ptycho_config import RefineConfig, evolve
from ptycho_torch.control import Progress, stage_of
from ptycho_torch.data import Scan
from ptycho_torch.data.scan.geometry import is_near_field
from ptycho_torch.denormals import flushed_denormals
from ptycho_torch.errors import DataError, ShapeError, fault
from ptycho_torch.reassembly import StitchedObject, Team, canvas_for
from ptycho_torch.refine.error_bars.measuring import MEASURED, measured_bars
from ptycho_torch.refine.iteration import Iteration, Probes
from ptycho_torch.refine.position_search import PositionsFound, find_positions
from ptycho_torch.refine.result import RefinementInterrupted, RefineResult
from ptycho_torch.refine.settings import check_against, check_together, config_of, epochs_of
from ptycho_torch.refine.several import refine_together
from ptycho_torch.refine.subsets import first_count, subset_counts
from ptycho_torch.refine.tiles import refine_in_tiles

__all__ = ["first_subsets", "refine"]

_PATIENCE = 5
_BYTES_PER_PX = 115
"""What a pixel of the object takes in single precision, measured: ``benchmarks/tiles.md``."""
_MISLED = 1.05
"""Last residual over first, beyond which a run that ends with a larger objective is no matter of noise."""


def refine(
    scan: Scan | Sequence[Scan],
    start: StitchedObject | None = None,
    *,
    config: RefineConfig | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.complex64,
    progress: Progress | None = None,
    processes: Team | None = None,
    dark: npt.NDArray[np.floating] | None = None,
    **settings: Any,
) -> RefineResult:
    """Refine an object against all measured frames of a scan, or of several scans of it.

    Parameters
    ----------
    scan
        Frames, positions and probe. Frames are read batch by batch from its array. Of several scans each has
        its own probe, dose and offset of its positions; the object, and all positions, come in the
        coordinates of the first one.
    start
        Object to start from, in the coordinates of the scan; it is scaled to the measured counts.
        None: one everywhere. It is left out where a search finds frames far from their stated positions.
    config
        What is fitted, and how; the defaults if None.
    device
        Where to compute. Where a process group of :mod:`torch.distributed` is up, every process calls
        this with the same arguments and takes its share of the frames. Repeated runs agree bit for bit
        on a CPU with one thread.
    dtype
        complex64 or complex128.
    progress
        Called after every epoch with its number, all epochs and the forward residual. One that tells stages
        apart hears of the further solutions for error bars too.
    processes
        Those that share the frames; all of the process group when left out. With
        :data:`ptycho_torch.reassembly.ALONE` this one does the work while the others do something else.
    dark
        (N, N) counts that every frame shows without light, as measured with the shutter closed.
    **settings
        Settings of :class:`ptycho_config.RefineConfig` by name, in place of those of ``config``; those
        that begin with ``refine_`` may be given without it: ``epochs``, ``batch_size``, ``tolerance``,
        ``warm_up``, ``seed``, beside ``refine_probe``, ``refine_positions``, ``probe_modes``,
        ``likelihood``, ``sub_pixel`` and ``smoothness``.

    Returns
    -------
    RefineResult

    Raises
    ------
    ConfigError
        If a setting is unknown, outside its range, or does not fit the scan. A ValueError that names it.
    ShapeError
        If the start does not fit the scan.
    DataError
        If the scan holds no counts, or a position is no finite number; or if several scans do not show the
        same part of one object on one grid.
    ValueError
        If ``dtype`` is another one.
    FloatingPointError
        If the objective stops being a finite number.
    MemoryError
        If an array of the object cannot be had; it says how much is needed, and names ``tile_px``.
    RefinementInterrupted
        On Ctrl-C, with what the last complete epoch reached; before the first one, a plain
        KeyboardInterrupt. While error bars are measured: with the whole result and those of shot noise.

    Notes
    -----
    Where positions are fitted their mean stays: with the object it forms one unknown too many. The
    likelihood ``"amplitude"`` forgives a wrong model more than ``"poisson"`` and is biased where frames
    hold few counts. ``sub_pixel`` ``"object"`` is the model of the networks and the simulator,
    ``"probe"`` is band-limited, as an experiment. Smoothness quiets the noise of few counts and takes fine
    detail with it. The fall of the objective is looked at over five epochs and only when a batch holds all
    frames.

    Examples
    --------
    >>> from ptycho_torch.data.simulation.simulate import simulate_scene
    >>> from ptycho_torch.refine import refine
    >>> scan = simulate_scene("random_field", N=32, grid=(6, 6), step_px=4.0, jitter_px=1.0, seed=1)
    >>> result = refine(scan, epochs=20)
    >>> result.residuals[-1] < result.residuals[0]
    True
    """
    scans = (scan,) if isinstance(scan, Scan) else tuple(scan)
    chosen = config_of(config, settings)
    check_together(chosen, len(scans))
    for one in scans:
        check_against(chosen, one)
        _check(one, dark)
    if dtype not in (torch.complex64, torch.complex128):
        raise ValueError(f"dtype: expected torch.complex64 or torch.complex128, got {dtype}")
    how = _How(
        device=torch.device(device),
        dtype=dtype,
        processes=Team.joined() if processes is None else processes,
        progress=progress,
        dark=dark,
    )
    with flushed_denormals(), torch.no_grad():
        if len(scans) > 1:
            return _refined_together(scans, start, chosen, how)
        if chosen.tile_px is not None:
            return _refined_in_tiles(scans[0], start, chosen, how)
        if chosen.position_search_px is not None:
            return _refined_where_found(scans[0], start, chosen, how)
        return _measured(scans[0], start, chosen, how)


@dataclass(frozen=True, kw_only=True)
class _How:
    """Where to compute, who listens, and what is known of the detector, as for :func:`refine`."""

    device: torch.device
    dtype: torch.dtype
    processes: Team
    progress: Progress | None
    dark: npt.NDArray[np.floating] | None

    def telling(self, stage: str, unit: str) -> _How:
        """The same, with a listener to a stage."""
        return replace(self, progress=stage_of(self.progress, stage, unit))


def _check(scan: Scan, dark: npt.NDArray[np.floating] | None) -> None:
    if dark is not None and dark.shape != (scan.N, scan.N):
        raise ShapeError("dark", (scan.N, scan.N), dark.shape, "cut it as the frames were")
    if dark is not None and not (np.isfinite(dark).all() and (dark >= 0).all()):
        raise DataError(fault("dark", "expected counts of zero or more, got others"), scan.source)
    if not np.isfinite(scan.positions).all():
        raise DataError(
            fault(
                "positions", "expected finite values, got NaN or infinity; leave those frames out with take"
            ),
            scan.source,
        )


def _measured(
    scan: Scan, start: StitchedObject | None, config: RefineConfig, how: _How, probes: Probes | None = None
) -> RefineResult:
    """A solution, with error bars that were measured where the settings ask for them."""
    solve = partial(_solve, probes=probes)
    result = solve(scan, start, config, how)
    if config.error_bars not in MEASURED:
        return result

    def again(other: Scan, begin: StitchedObject | None, settings: RefineConfig, name: str) -> RefineResult:
        # Half of the counts come with half of the dark ones.
        share = other.counts_per_frame().mean() / scan.counts_per_frame().mean()
        dark = None if how.dark is None else how.dark * share
        return solve(other, begin, settings, replace(how.telling(name, "epoch"), dark=dark))

    try:
        return replace(result, error_bars=measured_bars(result, scan, start, again, config))
    except KeyboardInterrupt:
        raise RefinementInterrupted(result) from None


def _refined_where_found(
    scan: Scan, start: StitchedObject | None, config: RefineConfig, how: _How
) -> RefineResult:
    """Refine a scan with its frames where a search found them."""
    found = _search(scan, config, how, "finding positions")
    settings = evolve(config, position_search_px=None)
    # An object of frames that lay elsewhere is none to start from.
    begin = start if np.array_equal(found.positions, scan.positions) else None
    try:
        return found.told(_measured(replace(scan, positions=found.positions), begin, settings, how))
    except RefinementInterrupted as stop:
        raise RefinementInterrupted(found.told(stop.result)) from None


def _search(scan: Scan, config: RefineConfig, how: _How, stage: str) -> PositionsFound:
    told = how.telling(stage, "round")
    return find_positions(
        scan,
        config,
        device=told.device,
        dtype=told.dtype,
        processes=told.processes,
        dark=told.dark,
        progress=told.progress,
    )


def _refined_together(
    scans: Sequence[Scan], start: StitchedObject | None, config: RefineConfig, how: _How
) -> RefineResult:
    """Refine several scans of one object."""
    return refine_together(
        scans,
        config,
        search=lambda scan, stage: _search(scan, config, how, stage),
        look=lambda scan, trial, stage: _solve(scan, None, trial, how.telling(stage, "epoch")),
        solve=lambda problem, settings: _measured(problem.scan, start, settings, how, problem.probes),
        device=how.device,
    )


def _refined_in_tiles(
    scan: Scan, start: StitchedObject | None, config: RefineConfig, how: _How
) -> RefineResult:
    """Refine a scan in tiles, one after the other."""

    def solve(
        part: Scan, begin: StitchedObject | None, settings: RefineConfig, progress: Progress | None
    ) -> RefineResult:
        return _solve(part, begin, settings, replace(how, progress=progress))

    return refine_in_tiles(scan, start, config, solve=solve, progress=how.progress, device=how.device)


def _solve(
    scan: Scan,
    start: StitchedObject | None,
    config: RefineConfig,
    how: _How,
    *,
    probes: Probes | None = None,
) -> RefineResult:
    """One solution of one scan, or of several that were joined and have these probes."""
    try:
        return _solved(scan, start, config, how, probes)
    except (MemoryError, RuntimeError) as failed:
        if not _is_of_memory(failed):
            raise
        raise MemoryError(_too_large(scan, how)) from failed


def _is_of_memory(failed: Exception) -> bool:
    """Whether an allocation failed; that of torch on a CPU is told by its text alone."""
    return isinstance(failed, (MemoryError, torch.OutOfMemoryError)) or "allocate memory" in str(failed)


def _too_large(scan: Scan, how: _How) -> str:
    height, width = canvas_for(scan.positions, scan.N).shape
    needed = height * width * _BYTES_PER_PX * how.dtype.itemsize / torch.complex64.itemsize
    return (
        f"the memory of {how.device} does not hold the object: {height} × {width} px take about "
        f"{needed / 1e9:.2g} GB beside the frames of a batch; refine the scan in tiles (--tile-px), or in "
        "smaller ones, or take smaller batches (--refine-batch-size)"
    )


def _solved(
    scan: Scan, start: StitchedObject | None, config: RefineConfig, how: _How, probes: Probes | None
) -> RefineResult:
    solver = Iteration(
        scan,
        start,
        config,
        device=how.device,
        dtype=how.dtype,
        processes=how.processes,
        dark=how.dark,
        probes=probes,
    )
    most = first_subsets(solver)
    plan = subset_counts(most, epochs_of(config, near_field=is_near_field(scan.metadata)))
    return _run(solver, plan, config.refine_tolerance, how.progress)


def first_subsets(solver: Iteration) -> int:
    """How many subsets the first epochs of a solver take a step on each of.

    Parameters
    ----------
    solver
        Before its first epoch.
    """
    config, n_frames = solver.config, solver.n_frames
    if config.refine_batch_size is not None:
        return max(1, round(n_frames / config.refine_batch_size))
    beside = any(one.fitted for one in solver.unknowns if one is not solver.unknowns.object)
    # A penalty shortens the steps of the object: it too takes more of them.
    penalised = config.smoothness > 0 or config.total_variation > 0
    return first_count(n_frames, solver.frames_per_pixel(), quick=beside or penalised)


def _run(
    solver: Iteration,
    plan: Sequence[int],
    tolerance: float,
    progress: Progress | None,
) -> RefineResult:
    """Epochs until the plan ends, the objective stops falling, or somebody interrupts."""
    objectives, residuals = list[float](), list[float]()
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
            raise RefinementInterrupted(_ended(solver, objectives, residuals, stopped=True)) from None
        settled = plan[max(0, epoch - _PATIENCE)] == n_subsets == 1 and epoch >= solver.last_start + _PATIENCE
        if any(unknown.comes_out_late for unknown in solver.unknowns):
            continue
        if settled and epoch + 1 < len(plan) and _has_stalled(objectives, tolerance):
            return _ended(solver, objectives, residuals, stopped=True)
    return _ended(solver, objectives, residuals, stopped=False)


def _ended(
    solver: Iteration, objectives: Sequence[float], residuals: Sequence[float], *, stopped: bool
) -> RefineResult:
    """The result, and in words that it explains the frames worse than what it began with, where it does.

    A residual that rises while the objective falls is what a constraint was asked to cost.
    """
    result = solver.result(list(residuals), stopped=stopped)
    # An epoch is interrupted after it was counted, or before.
    first, last = (objectives[at] for at in (0, len(residuals) - 1))
    if last <= first or residuals[-1] <= _MISLED * residuals[0]:
        return result
    best = min(residuals)
    words = (
        f"the refinement led away from the frames: their residual is {residuals[-1]:.3g} in the last epoch, "
        f"{residuals[0]:.3g} in the first and {best:.3g} in epoch {residuals.index(best) + 1}; do not use "
        "this object, fit fewer unknowns or others, or take larger batches (--refine-batch-size)"
    )
    return replace(result, worse=words)


def _require_finite(objective: float, epoch: int) -> None:
    if not math.isfinite(objective):
        raise FloatingPointError(
            f"objective: expected a finite number, got {objective} in epoch {epoch + 1}; "
            "use larger batches, or start without refining probe and positions"
        )


def _has_stalled(objectives: list[float], tolerance: float) -> bool:
    before, now = objectives[-1 - _PATIENCE], objectives[-1]
    return tolerance > 0 and before - now < tolerance * _PATIENCE * abs(before)
