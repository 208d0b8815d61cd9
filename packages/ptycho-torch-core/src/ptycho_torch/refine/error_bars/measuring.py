"""Error bars that further solutions measure."""

from __future__ import annotations

from ptycho_config import RefineConfig
from ptycho_torch.data import Scan
from ptycho_torch.refine.error_bars.bars import ErrorBars
from ptycho_torch.refine.error_bars.thinning import Solve, by_thinning
from ptycho_torch.refine.result import RefineResult

__all__ = ["measured_bars"]


def measured_bars(result: RefineResult, scan: Scan, solve: Solve, config: RefineConfig) -> ErrorBars:
    """Error bars of a result, by the method that its settings name.

    Parameters
    ----------
    result
        With the error bars of shot noise.
    scan
        Its scan.
    solve
        Solves another scan as this one was solved.
    config
        How it was solved.
    """
    is_fixed = not (config.refine_probe or config.refine_positions)
    return by_thinning(result, scan, solve, seed=config.refine_seed, is_fixed=is_fixed)
