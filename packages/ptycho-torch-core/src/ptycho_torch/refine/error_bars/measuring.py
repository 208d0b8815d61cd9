"""Error bars that further solutions measure."""

from __future__ import annotations

from collections.abc import Callable

from ptycho_config import Problem, RefineConfig, evolve
from ptycho_torch.data import Scan
from ptycho_torch.data.scan.geometry import is_near_field
from ptycho_torch.reassembly import StitchedObject
from ptycho_torch.refine.error_bars.bars import ErrorBars
from ptycho_torch.refine.error_bars.jackknife import by_jackknife, cannot_be_jackknifed
from ptycho_torch.refine.error_bars.thinning import by_thinning, cannot_be_thinned
from ptycho_torch.refine.result import RefineResult

__all__ = ["MEASURED", "Again", "cannot_be_measured", "measured_bars"]

MEASURED = ("thinning", "jackknife")
"""Methods that need further solutions."""
_WARM_EPOCHS = 20

Again = Callable[[Scan, StitchedObject | None, RefineConfig, str], RefineResult]
"""Solution of another scan of the same kind, from a start, with settings; the text says which it is."""


def cannot_be_measured(config: RefineConfig, scan: Scan) -> Problem | None:
    """Why the error bars that settings ask for cannot be had of a scan, or None."""
    if config.error_bars in MEASURED and is_near_field(scan.metadata):
        reason = "shot noise has no map in the near field, beside which they are told"
        return Problem("error_bars", config.error_bars, f"none: {reason}")
    if config.error_bars in MEASURED and config.slices > 1:
        reason = "shot noise has no map of several slices, beside which they are told"
        return Problem("error_bars", config.error_bars, f"none: {reason}")
    if config.error_bars == "thinning":
        return cannot_be_thinned(scan)
    return cannot_be_jackknifed(scan) if config.error_bars == "jackknife" else None


def measured_bars(
    result: RefineResult, scan: Scan, start: StitchedObject | None, again: Again, config: RefineConfig
) -> ErrorBars:
    """Error bars of a result, by the method that its settings name.

    Parameters
    ----------
    result
        With the error bars of shot noise.
    scan, start, config
        What was solved, from where, and how.
    again
        Solves another scan.
    """
    moving = (config.refine_probe, config.refine_positions, config.refine_geometry, config.refine_drift)
    is_fixed = not any(moving)
    if config.error_bars == "thinning":
        return by_thinning(
            result,
            scan,
            lambda half, name: again(half, start, config, name),
            seed=config.refine_seed,
            is_fixed=is_fixed,
        )
    # From where the whole arrived, everything moves at once.
    warm = evolve(config, refine_epochs=_WARM_EPOCHS, refine_warm_up=0)
    return by_jackknife(
        result, scan, lambda part, name: again(part, result.object, warm, name), is_fixed=is_fixed
    )
